"""Instance masks as short vectors of DCT coefficients, and the way between box and image."""

from importlib.metadata import version

from .codec import DCTMaskCodec as DCTMaskCodec
from .frames import crop_masks as crop_masks
from .frames import paste_masks as paste_masks
from .rle import masks_to_rle as masks_to_rle
from .rle import rle_to_masks as rle_to_masks
from .zigzag import zigzag_order as zigzag_order

__version__ = version("solq-maskcodec")
