"""Multi-scale deformable attention as a torch operator."""

from importlib.metadata import version

from . import registration as registration

# isort: split
# The operators are defined first: the libraries that `native` loads register kernels for them.
from . import native as native
from .backend import Backend as Backend
from .backend import backend as backend
from .native import select_instruction_set as select_instruction_set
from .ops import ms_deform_attn as ms_deform_attn
from .ops import ms_deform_attn_fused as ms_deform_attn_fused

__version__ = version("solq-ops")
