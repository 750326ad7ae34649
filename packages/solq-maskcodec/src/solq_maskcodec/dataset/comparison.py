"""Codecs and lengths of vectors → the quality of each on one data set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..codecs.dct_codec import DCTMaskCodec
from ..codecs.fourier_codec import EllipticFourierCodec
from ..codecs.pca_codec import PCAMaskCodec
from ..image.frames import crop_masks
from ..protocol import MaskCodec
from .annotations import AnnotatedImage, AnnotationFile
from .oracle import DatasetQuality, Encoding, Progress, dataset_qualities

CodecName = Literal["dct", "pca", "efd"]

# Memory and time of fitting grow with the square and the cube of this.
_MOST_FITTED_MASKS = 4000


@dataclass(frozen=True, kw_only=True)
class ComparedCodec:
    """One line of a comparison."""

    codec: CodecName
    num_coefficients: int
    refine: int
    quality: DatasetQuality

    @property
    def name(self) -> str:
        """The codec and how it was used, without the length."""
        words = {"dct": "DCT", "pca": "PCA", "efd": "elliptic Fourier"}[self.codec]
        return f"{words}, refine={self.refine}" if self.refine else words


@dataclass(frozen=True, kw_only=True)
class FittedOn:
    """What PCA was fitted to: none of it is evaluated on."""

    num_images: int
    num_masks: int  # mirror images too


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Codecs on the same objects of one annotation file."""

    annotations: str
    num_images: int
    num_objects: int
    num_left_out: int  # with nothing in their box to encode
    threshold: float | str
    fitted_on: FittedOn | None  # None where nothing was to be fitted
    codecs: tuple[ComparedCodec, ...]

    def caption(self) -> str:
        """What was measured on what, in a sentence or two."""
        text = (
            f"{self.annotations}: {self.num_objects} objects in {self.num_images} images, "
            f"threshold {self.threshold}."
        )
        if self.num_left_out:
            text += f" {self.num_left_out} more have nothing in their box."
        if self.fitted_on is not None:
            masks, images = self.fitted_on.num_masks, self.fitted_on.num_images
            text += f" PCA was fitted to {masks} masks of {images} other images."
        return text

    def to_json(self) -> dict[str, Any]:
        """All numbers as JSON can hold them: null where there is none."""
        content: dict[str, Any] = _without_nan(asdict(self))
        return content


def compare_codecs(
    file: AnnotationFile,
    codecs: Sequence[CodecName],
    num_coefficients: Sequence[int],
    *,
    refine: Sequence[int] = (0,),
    threshold: float | str = 0.5,
    mask_size: int = 128,
    fit_share: float = 0.5,
    progress: Progress | None = None,
) -> Comparison:
    """The quality of the codecs ("dct", "pca", "efd") at each number of coefficients.

    Only "dct" is refined. "efd" has vectors of 4 * harmonics + 2 numbers and gets the next shorter
    one. "pca" is fitted to `fit_share` of the images, spread evenly over the file, and all codecs
    are evaluated on the others; numbers of coefficients beyond what it can be fitted to are left
    out.
    """
    if not 0 < fit_share < 1:
        msg = f"fit_share must be between 0 and 1, got {fit_share}"
        raise ValueError(msg)
    fitted_on, evaluated, longest = None, file, None
    if "pca" in codecs:
        fitting, evaluated = _split(file, fit_share)
        masks = _masks_to_fit(fitting, mask_size)
        fitted_on = FittedOn(num_images=len(fitting.images), num_masks=len(masks))
        longest = _longest_pca(masks, num_coefficients)
    plans: list[tuple[CodecName, MaskCodec, int]] = []
    for number in num_coefficients:
        for name in codecs:
            codec = _codec(name, number, mask_size, longest)
            if codec is not None:
                plans += [(name, codec, rounds) for rounds in (refine if name == "dct" else (0,))]
    if not plans:
        found = 0 if fitted_on is None else fitted_on.num_masks
        msg = (
            f"{file.name}: must have more than {min(num_coefficients)} different masks in "
            f"fit_share = {fit_share} of its images to fit PCA to, got {found} with mirror images"
        )
        raise ValueError(msg)
    encodings = [
        Encoding(codec=codec, refine=rounds, threshold=threshold) for _, codec, rounds in plans
    ]
    qualities = dataset_qualities(encodings, evaluated, progress=progress)
    return Comparison(
        annotations=Path(file.name).name,
        num_images=len(evaluated.images),
        num_objects=qualities[0].all.num_objects,
        num_left_out=qualities[0].num_left_out,
        threshold=threshold,
        fitted_on=fitted_on,
        codecs=tuple(
            ComparedCodec(
                codec=name, num_coefficients=codec.num_coefficients, refine=rounds, quality=quality
            )
            for (name, codec, rounds), quality in zip(plans, qualities, strict=True)
        ),
    )


def _codec(
    name: CodecName, number: int, mask_size: int, longest: PCAMaskCodec | None
) -> MaskCodec | None:
    """The codec of this length; None where there were too few masks to fit PCA to."""
    if name == "dct":
        return DCTMaskCodec(number, mask_size)
    if name == "efd":
        return EllipticFourierCodec(max((number - 2) // 4, 1) * 4 + 2, mask_size)
    if longest is None or number > longest.num_coefficients:
        return None
    return replace(
        longest,
        components=longest.components[:number],
        explained_variance=longest.explained_variance[:number],
    )


def _split(file: AnnotationFile, fit_share: float) -> tuple[AnnotationFile, AnnotationFile]:
    """The images to fit to and the others, both spread evenly over the file."""
    fitting: list[AnnotatedImage] = []
    evaluated: list[AnnotatedImage] = []
    for index, image in enumerate(file.images):
        is_fitting = math.floor((index + 1) * fit_share) > math.floor(index * fit_share)
        (fitting if is_fitting else evaluated).append(image)
    return replace(file, images=tuple(fitting)), replace(file, images=tuple(evaluated))


def _masks_to_fit(file: AnnotationFile, mask_size: int) -> NDArray[np.bool_]:
    """Masks of objects in their boxes, with their mirror images where they are few."""
    places = [(image, item) for image in file.images for item in image.encodable()]
    step = math.ceil(len(places) / _MOST_FITTED_MASKS) or 1
    masks = np.zeros((len(places[::step]), mask_size, mask_size), np.bool_)
    for index, (image, item) in enumerate(places[::step]):
        rles, boxes = [file.rle(image, item)], image.boxes([item])
        masks[index] = crop_masks(rles, boxes, mask_size, image.size)[0]
    masks = masks[np.any(masks, axis=(1, 2))]
    if 4 * len(masks) <= _MOST_FITTED_MASKS:
        masks = np.concatenate([masks, masks[:, ::-1]])
        masks = np.concatenate([masks, masks[:, :, ::-1]])
    return masks


def _longest_pca(masks: NDArray[np.bool_], num_coefficients: Sequence[int]) -> PCAMaskCodec | None:
    """The codec with the largest of these numbers that the masks suffice for."""
    num_distinct = len({mask.tobytes() for mask in np.packbits(masks, axis=2)})
    feasible = [number for number in num_coefficients if number < num_distinct]
    if not feasible:
        return None
    # As they are, masks decode to values around 0.5, like DCT's, whatever the threshold.
    return PCAMaskCodec.fit(masks, max(feasible), whiten=False, logit=False)


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content
