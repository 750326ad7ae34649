"""The codec of a network's mask vectors: what the configuration gives, and what it must be told."""

from __future__ import annotations

from solq_maskcodec import DCTMaskCodec
from solq_maskcodec import MaskCodec as MaskCodec
from solq_maskcodec import PCAMaskCodec as PCAMaskCodec
from solq_model.config import ModelConfig


def configured_codec(config: ModelConfig) -> MaskCodec | None:
    """The codec that follows from the configuration, with the published threshold.

    None for a network without mask vectors, and for `codec="pca"`, whose components are those of a
    data set.
    """
    if not config.has_vectors or config.codec == "pca":
        return None
    return DCTMaskCodec(config.num_coefficients, config.mask_size, threshold="midrange")


def check_codec(config: ModelConfig, codec: MaskCodec) -> None:
    """ValueError unless a network of this configuration can be given the codec."""
    if not config.has_vectors or config.codec != "pca":
        msg = "codec can be set with ModelConfig.codec='pca' only; others follow from the config"
        raise ValueError(msg)
    size, side = config.num_coefficients, config.mask_size
    is_pca = isinstance(codec, PCAMaskCodec)
    if not is_pca or (codec.num_coefficients, codec.mask_size) != (size, side):
        expected = f"a PCAMaskCodec of {size} coefficients and mask_size {side}"
        msg = f"codec must be {expected}, got {codec!r}"
        raise ValueError(msg)
