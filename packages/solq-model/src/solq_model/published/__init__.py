"""Published checkpoints: a file → which network it is → our names → a model, or a saved one."""

from solq_model.published.convert import Conversion as Conversion
from solq_model.published.convert import OfficialModel as OfficialModel
from solq_model.published.convert import convert_official as convert_official
from solq_model.published.convert import load_official as load_official
from solq_model.published.file import OfficialCheckpoint as OfficialCheckpoint
from solq_model.published.file import load_official_checkpoint as load_official_checkpoint
from solq_model.published.file import read_official_checkpoint as read_official_checkpoint
from solq_model.published.names import load_official_state_dict as load_official_state_dict
from solq_model.published.recognition import recognise as recognise
