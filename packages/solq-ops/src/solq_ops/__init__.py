"""Multi-scale deformable attention as a torch operator."""

from importlib.metadata import version

from .ops import ms_deform_attn as ms_deform_attn

__version__ = version("solq-ops")
