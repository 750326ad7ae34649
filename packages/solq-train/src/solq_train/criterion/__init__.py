"""The criterion: Predictions x targets → losses."""

from solq_train.criterion.criterion import Criterion as Criterion
from solq_train.criterion.criterion import LossConfig as LossConfig
from solq_train.criterion.criterion import Losses as Losses
from solq_train.criterion.criterion import Share as Share
from solq_train.criterion.matcher import HungarianMatcher as HungarianMatcher
from solq_train.criterion.targets import EncodedTargets as EncodedTargets
from solq_train.criterion.targets import encode_targets as encode_targets
