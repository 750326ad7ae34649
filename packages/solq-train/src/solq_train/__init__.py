"""solq-train: training, evaluation and prediction with SOLQ."""

from importlib.metadata import version

from solq_train.config import DataConfig as DataConfig
from solq_train.config import OptimizerConfig as OptimizerConfig
from solq_train.config import TrainConfig as TrainConfig
from solq_train.criterion import Criterion as Criterion
from solq_train.criterion import LossConfig as LossConfig
from solq_train.evaluation import evaluate as evaluate
from solq_train.recipes import RECIPES as RECIPES

__version__ = version("solq-train")
