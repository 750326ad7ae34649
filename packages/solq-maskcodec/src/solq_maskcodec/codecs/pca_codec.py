"""Masks → vectors of their first principal components → masks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from functools import cached_property
from math import isqrt
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays import Array, Table, array_namespace, as_float, in_chunks
from ..protocol import OWN, MaskCodec, Threshold
from ..validate import masks_of_codec, positive_integer, vectors_of_codec
from .log_odds import from_log_odds, log_odds
from .pca_file import Settings, read_components, write_components
from .pca_fit import PrincipalComponents, principal_components
from .resample import resampled
from .threshold import checked_threshold, foreground

# The components of 256 numbers of 128x128 take 16 MiB and are read once for a chunk. A mask takes a
# third less time in chunks of 64 than in chunks of 16.
_PIXELS_PER_CHUNK = 64 * 128 * 128


@dataclass(frozen=True, eq=False, repr=False)
class PCAMaskCodec(MaskCodec):
    """Encodes square masks by the directions in which the masks of a data set vary most.

    After the formulas of MEInst (Zhang et al., Mask Encoding for Single Shot Instance Segmentation,
    CVPR 2020): with the components T, orthonormal rows, and the mean of the masks m it was fitted
    to, v = T (m - mean) and the decoded values are Tᵀ v + mean. `whiten` divides each number of v
    by the root of its `explained_variance`, so that all vary alike. `logit` puts the log-odds of
    masks (0 and 1 count as 0.03 and 0.97) in their place, and a sigmoid behind the decoder: soft
    values are then between 0 and 1, and cut at 0.5 a decoded mask is the same with and without.

    `fit` and `load` make codecs. components are [coefficients, mask_size ** 2], mean is
    [mask_size ** 2], explained_variance [coefficients]; they are copied in float64. `threshold` is
    that of `decode`: a number, None for soft values, or a rule of `DCTMaskCodec`. A shorter codec
    is `dataclasses.replace(codec, components=codec.components[:n],
    explained_variance=codec.explained_variance[:n])`. Codecs are equal if all they hold is.
    """

    components: NDArray[Any]
    mean: NDArray[Any]
    explained_variance: NDArray[Any]
    whiten: bool = True
    logit: bool = True
    threshold: float | str | None = 0.5

    def __post_init__(self) -> None:
        for name in PrincipalComponents._fields:
            object.__setattr__(self, name, _frozen(name, getattr(self, name)))
        for name in ("whiten", "logit"):
            object.__setattr__(self, name, _flag(name, getattr(self, name)))
        object.__setattr__(self, "threshold", checked_threshold(self.threshold))
        shapes = self.components.shape, self.mean.shape, self.explained_variance.shape
        if not _fit(*shapes):
            msg = (
                "components, mean and explained_variance must be [coefficients, mask_size ** 2], "
                f"[mask_size ** 2] and [coefficients], got shapes {', '.join(map(str, shapes))}"
            )
            raise ValueError(msg)
        least = float(self.explained_variance.min())
        if least < 0 or (self.whiten and least == 0):
            expected = "more than 0 to whiten by" if self.whiten else "at least 0"
            msg = f"explained_variance must be {expected}, got {least}"
            raise ValueError(msg)

    @classmethod
    def fit(
        cls,
        masks: Array,
        num_coefficients: int,
        *,
        whiten: bool = True,
        logit: bool = True,
        threshold: float | str | None = 0.5,
    ) -> PCAMaskCodec:
        """The codec of the first components of masks [instances, size, size], exactly.

        Masks are bool or numbers in 0..1. The same masks give the same codec, bit for bit on one
        machine, and other orders of them the same but for rounding; of each component the largest
        loading is positive. Raises ValueError for more coefficients than the masks have directions
        to vary in.

        Takes, beyond the masks, 0.1 GB and about five matrices of float64 with as many rows and
        columns as the smaller of instances and pixels, and time with the cube of that. For any
        number of masks, 0.1 GB at 28x28 and 0.7 GB at 64x64; at 128x128, 0.3 GB for 2000 masks and
        4 GB for 10,000.
        """
        array_namespace(masks=masks)
        number = positive_integer("num_coefficients", num_coefficients)
        if masks.ndim != 3 or masks.shape[1] != masks.shape[2] or 0 in masks.shape:
            msg = f"masks must be [instances, size, size], got shape {tuple(masks.shape)}"
            raise ValueError(msg)
        if masks.shape[0] < 2:
            msg = f"masks must be at least 2 to vary, got {masks.shape[0]}"
            raise ValueError(msg)
        found = principal_components(masks, number, logit=_flag("logit", logit))
        return cls(*found, whiten=whiten, logit=logit, threshold=threshold)

    @classmethod
    def load(
        cls, path: str | PathLike[str], *, whiten: bool | None = None, logit: bool | None = None
    ) -> PCAMaskCodec:
        """The codec of a file that `save` wrote, or that was published for MEInst or SOLQ.

        Published files (.npz with components_c, mean_c and explained_variance_c) do not say whether
        they whiten and take log-odds: both, as published, unless told otherwise here. Files of
        `save` say it, and what is given here has to agree. Raises ValueError, with the name of the
        file, for one that is damaged, of an unknown version or something else.
        """
        path = Path(path)
        found, settings = read_components(path)
        flags = {"whiten": whiten, "logit": logit}
        given = {name: _flag(name, flag) for name, flag in flags.items() if flag is not None}
        if settings is None:
            settings = Settings(whiten=True, logit=True, threshold=0.5)._replace(**given)
        for name, flag in given.items():
            if flag != getattr(settings, name):
                msg = f"{name} must be {not flag}, as {path} says, or left out, got {flag}"
                raise ValueError(msg)
        try:
            return cls(*found, *settings)
        except ValueError as error:
            msg = f"{path} must hold the parameters of a codec: {error}"
            raise ValueError(msg) from error

    def save(self, path: str | PathLike[str]) -> None:
        """Writes a file (.npz) for `load`, whole or not at all."""
        found = PrincipalComponents(self.components, self.mean, self.explained_variance)
        write_components(Path(path), found, Settings(self.whiten, self.logit, self.threshold))

    @property
    def num_coefficients(self) -> int:
        """The length of a vector."""
        return len(self.components)

    @property
    def mask_size(self) -> int:
        """The side of the masks, in pixels."""
        return isqrt(len(self.mean))

    def encode(self, masks: Array) -> Array:
        """Vectors [..., coefficients] of masks [..., mask_size, mask_size].

        Masks are bool or numbers in 0..1; vectors are float32, or float64 for float64 masks, and
        differentiable for tensors; without `logit` they are linear in the masks but for a constant.
        """
        xp = array_namespace(masks=masks)
        size = self.mask_size
        masks_of_codec(masks, size)

        def encode_chunk(chunk: Any) -> Any:
            values = as_float("masks", chunk)
            weights = self._weights(values)
            values = log_odds(values) if self.logit else values
            vectors = values @ weights.components.T - weights.projected_mean
            return vectors / weights.scales if self.whiten else vectors

        batch = xp.reshape(masks, (-1, size**2))
        vectors = in_chunks(encode_chunk, batch, _chunk_length(size))
        return xp.reshape(vectors, (*masks.shape[:-2], self.num_coefficients))  # type: ignore[no-any-return]

    def decode(self, vectors: Array, threshold: Threshold = OWN, size: int | None = None) -> Array:
        """Masks [..., size, size] of vectors [..., coefficients].

        bool, by the codec's threshold or the one given here; with None the values themselves, float
        and differentiable. `size` is `mask_size` unless given. Components are known at the pixels
        they were fitted to only: on a coarser grid values are the means of what its pixels cover,
        on a finer one they are interpolated bilinearly, before the threshold. A vector with NaN
        gives NaN values and an empty mask.
        """
        vectors_of_codec(vectors, self.num_coefficients)
        rule = self.threshold if threshold is OWN else checked_threshold(threshold)
        new_size = self.mask_size if size is None else positive_integer("size", size)
        xp = array_namespace(vectors=vectors)

        def decode_chunk(chunk: Any) -> Any:
            coefficients = as_float("vectors", chunk)
            weights = self._weights(coefficients)
            coefficients = coefficients * weights.scales if self.whiten else coefficients
            values = coefficients @ weights.components + weights.mean
            values = from_log_odds(values) if self.logit else values
            values = xp.reshape(values, (-1, self.mask_size, self.mask_size))
            values = resampled(values, new_size)
            return values if rule is None else foreground(values, rule)

        batch = xp.reshape(vectors, (-1, self.num_coefficients))
        masks = in_chunks(decode_chunk, batch, _chunk_length(max(self.mask_size, new_size)))
        return xp.reshape(masks, (*vectors.shape[:-1], new_size, new_size))  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return (
            f"PCAMaskCodec(num_coefficients={self.num_coefficients}, mask_size={self.mask_size}, "
            f"whiten={self.whiten}, logit={self.logit}, threshold={self.threshold!r})"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PCAMaskCodec) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)

    def __reduce__(self) -> tuple[Any, ...]:
        # What is derived, `_tables` and `_digest`, is not pickled.
        return PCAMaskCodec, tuple(getattr(self, entry.name) for entry in fields(self))

    @cached_property
    def _digest(self) -> bytes:
        settings = repr((self.components.shape, self.whiten, self.logit, self.threshold))
        digest = hashlib.sha256(settings.encode())
        for array in (self.components, self.mean, self.explained_variance):
            digest.update(array.data)
        return digest.digest()

    @cached_property
    def _tables(self) -> _Weights:
        projected_mean = self.components @ self.mean
        scales = np.sqrt(self.explained_variance)
        return _Weights(*map(Table, (self.components, self.mean, projected_mean, scales)))

    def _weights(self, like: Any) -> _Weights:
        """The weights where `like` lives, of its dtype."""
        return _Weights(*(table.like(like) for table in self._tables))


class _Weights(NamedTuple):
    """What encode and decode multiply by and add."""

    components: Any  # [coefficients, pixels]
    mean: Any  # [pixels]
    projected_mean: Any  # [coefficients]
    scales: Any  # the standard deviation of each coefficient, [coefficients]


def _frozen(name: str, values: Any) -> NDArray[np.float64]:
    """A copy in float64 that cannot be changed, if all values are finite numbers."""
    array = np.array(values, order="C")
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        found = "NaN or infinity" if array.dtype.kind in "iuf" else f"dtype {array.dtype}"
        msg = f"{name} must hold finite numbers, got {found}"
        raise ValueError(msg)
    array = array.astype(np.float64, copy=False)
    array.setflags(write=False)
    return array


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        msg = f"{name} must be True or False, got {value!r}"
        raise ValueError(msg)
    return bool(value)


def _fit(components: tuple[int, ...], mean: tuple[int, ...], variance: tuple[int, ...]) -> bool:
    """Whether arrays of these shapes are the parameters of a codec."""
    if len(components) != 2 or min(components) < 1:
        return False
    num_coefficients, pixels = components
    is_square = isqrt(pixels) ** 2 == pixels
    return is_square and mean == (pixels,) and variance == (num_coefficients,)


def _chunk_length(size: int) -> int:
    """How many masks of this size go through at once: 4 MiB in float32."""
    return max(_PIXELS_PER_CHUNK // size**2, 1)
