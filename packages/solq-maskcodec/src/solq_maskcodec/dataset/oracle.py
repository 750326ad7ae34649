"""A data set → how much of it a codec keeps, and the mask AP that perfect boxes and vectors get."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..image.boxed_rle import boxed_masks_to_rle
from ..image.frames import crop_masks
from ..protocol import OWN, MaskCodec, Threshold
from ..quality import check_threshold, encode, overlaps
from .annotations import AnnotatedImage, AnnotatedObject, AnnotationFile, read_annotations
from .coco_eval import (
    MaskAp,
    Rle,
    ground_truth,
    mask_ap,
    object_area,
    require_pycocotools,
    rle_ious,
    size_of,
)

Progress = Callable[[int, int], None]  # steps done, steps in all

# Objects of several images are encoded together: codecs with large matrices, such as PCA, would
# read those once an image.
_OBJECTS_PER_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class ObjectQuality:
    """The quality of the objects of one size, all in 0..1; NaN where there are none.

    IoUs are means over objects: of the foreground in the box, and its 5th percentile; of the mean
    with the background's in the box; of the inner boundaries in the box; of the foreground in the
    image. `ap` is COCO's mean over IoU 0.50 to 0.95 and over categories.
    """

    num_objects: int
    iou: float
    iou_p5: float
    two_class_iou: float
    boundary_iou: float
    image_iou: float
    ap: float
    ap50: float
    ap75: float


@dataclass(frozen=True, kw_only=True)
class DatasetQuality:
    """The quality of a data set, by COCO's sizes: areas below 32², below 96², and from there on.

    `num_left_out` objects have nothing in their box to encode: they count for no IoU, and as
    missed for the AP.
    """

    all: ObjectQuality
    small: ObjectQuality
    medium: ObjectQuality
    large: ObjectQuality
    num_left_out: int


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """A codec and how it is used: rounds of refining, and where decoded values are cut."""

    codec: MaskCodec
    refine: int = 0
    threshold: Threshold = OWN


def dataset_quality(
    codec: MaskCodec,
    annotations: Path | str | Mapping[str, Any],
    *,
    refine: int = 0,
    threshold: Threshold = OWN,
    progress: Progress | None = None,
) -> DatasetQuality:
    """How much of the objects of a COCO annotation file is left after encode and decode.

    Each object is cropped to its annotated box as far as that lies in the image, encoded, decoded
    and pasted back. The AP takes them as detections with score 1: it is what a network with
    perfect boxes, classes and vectors would get. Crowds are no objects, but part of what is
    compared with. Needs pycocotools (extra `coco`).
    """
    encoding = Encoding(codec=codec, refine=refine, threshold=threshold)
    file = read_annotations(annotations)
    return dataset_qualities([encoding], file, progress=progress)[0]


def dataset_qualities(
    encodings: Sequence[Encoding], file: AnnotationFile, *, progress: Progress | None = None
) -> list[DatasetQuality]:
    """The quality by each of the encodings, from one pass over the data set."""
    require_pycocotools()
    for encoding in encodings:
        check_threshold(encoding.codec, encoding.threshold)
    if not any(image.encodable() for image in file.images):
        msg = f"{file.name}: must have an object with a box in its image, got none"
        raise ValueError(msg)
    tallies = [_Tally(encoding) for encoding in encodings]
    total, done = len(file.images) + len(encodings), 0
    rles: dict[int, Rle] = {}
    for batch in _batches(file, {encoding.codec.mask_size for encoding in encodings}):
        for tally in tallies:
            tally.add(batch)
        for cropped in batch:
            rles |= cropped.rles
            done += 1
        if progress is not None:
            progress(done, total)
    truth = ground_truth(file, rles)
    qualities = []
    for tally in tallies:
        qualities.append(tally.quality(truth, file.num_objects))
        done += 1
        if progress is not None:
            progress(done, total)
    return qualities


class _Cropped(NamedTuple):
    """An image, the RLEs of all its objects by id, and the encodable ones in their boxes."""

    image: AnnotatedImage
    rles: dict[int, Rle]
    objects: list[AnnotatedObject]
    boxes: NDArray[np.float32]  # [objects, 4]
    masks: dict[int, NDArray[np.bool_]]  # [objects, size, size] by size


def _batches(file: AnnotationFile, mask_sizes: Collection[int]) -> Iterator[list[_Cropped]]:
    """All images, as many at a time as have `_OBJECTS_PER_BATCH` objects."""
    batch: list[_Cropped] = []
    for image in file.images:
        batch.append(_cropped(file, image, mask_sizes))
        if sum(len(cropped.objects) for cropped in batch) >= _OBJECTS_PER_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _cropped(file: AnnotationFile, image: AnnotatedImage, mask_sizes: Collection[int]) -> _Cropped:
    rles = {item.id: file.rle(image, item) for item in image.objects}
    objects = image.encodable()
    boxes = image.boxes(objects)
    own = [rles[item.id] for item in objects]
    masks = {size: crop_masks(own, boxes, size, image.size) for size in mask_sizes}
    return _Cropped(image, rles, objects, boxes, masks)


class _Tally:
    """What one encoding made of the objects so far."""

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        self._results: list[dict[str, Any]] = []
        self._numbers: list[NDArray[np.float64]] = []  # [4, objects] of each batch
        self._sizes: list[str] = []

    def add(self, batch: Sequence[_Cropped]) -> None:
        """Takes the objects of some images."""
        codec, threshold = self._encoding.codec, self._encoding.threshold
        masks = np.concatenate([cropped.masks[codec.mask_size] for cropped in batch])
        if len(masks) == 0:
            return
        decoded = codec.decode(encode(codec, masks, self._encoding.refine), threshold)
        in_box = overlaps(decoded, masks)
        is_kept: NDArray[np.bool_] = np.any(masks, axis=(1, 2))
        in_image, start = [], 0
        for cropped in batch:
            part = slice(start, start + len(cropped.objects))
            in_image.append(self._add_image(cropped, decoded[part], is_kept[part]))
            start = part.stop
        self._numbers.append(np.stack([*in_box, np.concatenate(in_image)])[:, is_kept])

    def _add_image(
        self, cropped: _Cropped, decoded: NDArray[np.bool_], is_kept: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Takes the objects of an image; their IoUs there, [objects]."""
        # As the codec's `decode_to_rle`, without decoding anew.
        found = boxed_masks_to_rle(decoded, cropped.boxes, cropped.image.size)
        own = [cropped.rles[item.id] for item in cropped.objects]
        # Results have no box: pycocotools would sort masks into sizes by the area of that.
        self._results += [
            {
                "image_id": cropped.image.id,
                "category_id": item.category_id,
                "segmentation": rle,
                "score": 1.0,
            }
            for item, rle in zip(cropped.objects, found, strict=True)
        ]
        self._sizes += [
            size_of(object_area(item, rle))
            for item, rle, kept in zip(cropped.objects, own, is_kept.tolist(), strict=True)
            if kept
        ]
        return rle_ious(found, own)

    def quality(self, truth: Any, num_objects: int) -> DatasetQuality:
        """The numbers of all objects that were taken, of `num_objects` that there are.

        `truth` is pycocotools' object of the annotations.
        """
        ap = mask_ap(truth, self._results)
        numbers, sizes = np.concatenate(self._numbers, axis=1), np.array(self._sizes)
        return DatasetQuality(
            all=_object_quality(numbers, ap["all"]),
            small=_object_quality(numbers[:, sizes == "small"], ap["small"]),
            medium=_object_quality(numbers[:, sizes == "medium"], ap["medium"]),
            large=_object_quality(numbers[:, sizes == "large"], ap["large"]),
            num_left_out=num_objects - numbers.shape[1],
        )


def _object_quality(numbers: NDArray[np.float64], ap: MaskAp) -> ObjectQuality:
    """From IoUs [4, objects]: foreground, two-class, boundary, in the image."""
    num_objects = numbers.shape[1]
    numbers = numbers if num_objects else np.full((4, 1), np.nan)
    iou, two_class_iou, boundary_iou, image_iou = numbers.mean(axis=1).tolist()
    return ObjectQuality(
        num_objects=num_objects,
        iou=iou,
        iou_p5=float(np.percentile(numbers[0], 5)),
        two_class_iou=two_class_iou,
        boundary_iou=boundary_iou,
        image_iou=image_iou,
        ap=ap.ap,
        ap50=ap.ap50,
        ap75=ap.ap75,
    )
