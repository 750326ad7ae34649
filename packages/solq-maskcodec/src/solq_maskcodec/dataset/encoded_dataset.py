"""The objects of an annotation file → their vectors → COCO results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..codecs.dct_codec import DCTMaskCodec
from ..image.frames import crop_masks
from .annotations import AnnotationFile


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedDataset:
    """The vectors of objects, with where they belong. Objects of an image stand together."""

    codec: DCTMaskCodec  # its threshold is the one to decode with
    vectors: NDArray[np.float32]  # [instances, coefficients]
    boxes: NDArray[np.float32]  # (x0, y0, x1, y1) in pixels, [instances, 4]
    image_sizes: NDArray[np.int64]  # (height, width), [instances, 2]
    image_ids: NDArray[np.int64]  # [instances]
    category_ids: NDArray[np.int64]  # [instances]
    annotation_ids: NDArray[np.int64]  # [instances]

    def images(self) -> Iterator[slice]:
        """The slices of instances that share an image."""
        changes = np.flatnonzero(np.diff(self.image_ids)) + 1
        for start, stop in pairwise([0, *changes.tolist(), len(self.image_ids)]):
            if stop > start:
                yield slice(start, stop)

    def coco_results(self, instances: slice) -> list[dict[str, Any]]:
        """COCO results, with RLEs and score 1, of the instances of one image.

        They have no box: pycocotools would sort masks into sizes by the box's area.
        """
        height, width = self.image_sizes[instances.start].tolist()
        rles = self.codec.decode_to_rle(
            self.vectors[instances], self.boxes[instances], (height, width)
        )
        return [
            {
                "image_id": image_id,
                "category_id": category_id,
                "annotation_id": annotation_id,
                "segmentation": rle,
                "score": 1.0,
            }
            for image_id, category_id, annotation_id, rle in zip(
                self.image_ids[instances].tolist(),
                self.category_ids[instances].tolist(),
                self.annotation_ids[instances].tolist(),
                rles,
                strict=True,
            )
        ]


def encode_dataset(
    codec: DCTMaskCodec,
    file: AnnotationFile,
    *,
    refine: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> EncodedDataset:
    """The vectors of all objects that have a box in their image; crowds have none.

    `progress` is told the images done and the images in all.
    """
    vectors, boxes = [], []
    places: list[tuple[int, int, int, int, int]] = []
    for index, image in enumerate(file.images):
        objects = image.encodable()
        if objects:
            boxes.append(image.boxes(objects))
            rles = [file.rle(image, item) for item in objects]
            masks = crop_masks(rles, boxes[-1], codec.mask_size, image.size)
            vectors.append(codec.encode(masks, refine=refine))
            places += [(*image.size, image.id, item.category_id, item.id) for item in objects]
        if progress is not None:
            progress(index + 1, len(file.images))
    if not vectors:
        msg = f"{file.name}: must have an object with a box in its image, got none"
        raise ValueError(msg)
    numbers = np.array(places, np.int64)
    return EncodedDataset(
        codec=codec,
        vectors=np.concatenate(vectors),
        boxes=np.concatenate(boxes),
        image_sizes=numbers[:, :2],
        image_ids=numbers[:, 2],
        category_ids=numbers[:, 3],
        annotation_ids=numbers[:, 4],
    )
