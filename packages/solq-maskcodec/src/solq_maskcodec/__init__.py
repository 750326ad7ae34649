"""Instance masks as short vectors of DCT coefficients, and the way between box and image."""

from importlib.metadata import version

from .codec import DCTMaskCodec as DCTMaskCodec
from .frames import crop_masks as crop_masks
from .frames import paste_masks as paste_masks
from .packing import pack as pack
from .packing import unpack as unpack
from .quality import MaskQuality as MaskQuality
from .quality import mask_quality as mask_quality
from .rle import masks_to_rle as masks_to_rle
from .rle import rle_to_masks as rle_to_masks
from .symmetry import flip_horizontal as flip_horizontal
from .symmetry import flip_vertical as flip_vertical
from .symmetry import transpose as transpose
from .zigzag import zigzag_order as zigzag_order

__version__ = version("solq-maskcodec")
