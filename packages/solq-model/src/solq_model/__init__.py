"""solq-model: the SOLQ networks, their published weights, and prediction on images."""

from importlib.metadata import version

from solq_model import presets as presets
from solq_model.categories import Categories as Categories
from solq_model.categories import Category as Category
from solq_model.config import ModelConfig as ModelConfig
from solq_model.postprocess import postprocess as postprocess
from solq_model.published import Conversion as Conversion
from solq_model.published import OfficialCheckpoint as OfficialCheckpoint
from solq_model.published import OfficialModel as OfficialModel
from solq_model.published import convert_official as convert_official
from solq_model.published import load_official as load_official
from solq_model.published import load_official_checkpoint as load_official_checkpoint
from solq_model.published import load_official_state_dict as load_official_state_dict
from solq_model.published import read_official_checkpoint as read_official_checkpoint
from solq_model.published import recognise as recognise
from solq_model.records import Instances as Instances
from solq_model.records import PaddedImages as PaddedImages
from solq_model.records import Predictions as Predictions
from solq_model.records import Proposals as Proposals
from solq_model.result import Result as Result
from solq_model.solq import SOLQ as SOLQ
from solq_model.solq import build_model as build_model

__version__ = version("solq-model")
