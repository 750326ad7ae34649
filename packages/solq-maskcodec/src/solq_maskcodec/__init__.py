"""Instance masks as short vectors, and the way between box and image."""

from .codecs.dct_codec import DCTMaskCodec as DCTMaskCodec
from .codecs.fourier_codec import EllipticFourierCodec as EllipticFourierCodec
from .codecs.pca_codec import PCAMaskCodec as PCAMaskCodec
from .codecs.symmetry import flip_horizontal as flip_horizontal
from .codecs.symmetry import flip_vertical as flip_vertical
from .codecs.symmetry import transpose as transpose
from .codecs.zigzag import zigzag_order as zigzag_order
from .image.adapters import from_coco as from_coco
from .image.adapters import from_sam as from_sam
from .image.adapters import from_supervision as from_supervision
from .image.adapters import to_coco as to_coco
from .image.adapters import to_supervision as to_supervision
from .image.boxed_rle import boxed_masks_to_rle as boxed_masks_to_rle
from .image.frames import crop_masks as crop_masks
from .image.frames import paste_masks as paste_masks
from .image.outlines import rle_to_polygons as rle_to_polygons
from .image.polygons import polygons_to_rle as polygons_to_rle
from .image.rle import masks_to_rle as masks_to_rle
from .image.rle import rle_areas as rle_areas
from .image.rle import rle_to_masks as rle_to_masks
from .native import Backend as Backend
from .native import backend as backend
from .packing import pack as pack
from .packing import unpack as unpack
from .protocol import OWN as OWN
from .protocol import MaskCodec as MaskCodec
from .protocol import Threshold as Threshold
from .quality import MaskQuality as MaskQuality
from .quality import mask_quality as mask_quality

__version__: str


def __getattr__(name: str) -> object:
    """The version, read when it is asked for: that takes as long as all else of the import."""
    if name != "__version__":
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib.metadata import version

    return version("solq-maskcodec")
