"""Ground truth → the codec's ceiling: the mask AP that perfect boxes and vectors would get."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from solq_maskcodec import MaskCodec, crop_masks
from solq_train.data.coco import CocoAnnotation, CocoImage, annotation_mask
from solq_train.data.dataset import clipped_boxes, has_area
from solq_train.metrics.ap_stats import CocoMetrics
from solq_train.metrics.coco_ap import coco_metrics, selected_images
from solq_train.metrics.detections import Detection


def codec_ceiling(
    annotations: Path, codec: MaskCodec, *, image_ids: Collection[int] | None = None
) -> CocoMetrics:
    """The COCO numbers of the training targets themselves after encode and decode, every score 1.

    Boxes are the targets' boxes; crowds and objects without an area in the image are no targets.
    """
    coco = selected_images(annotations, image_ids)
    detections = [detection for image in coco.images for detection in _targets(image, codec)]
    return coco_metrics(coco, detections)


def ceiling_numbers(ceiling: CocoMetrics | None) -> dict[str, float]:
    """What is written down of a ceiling; nothing where there is none."""
    if ceiling is None or ceiling.segm is None:
        return {}
    return {"ceiling.segm.AP": ceiling.segm.AP}


def _targets(image: CocoImage, codec: MaskCodec) -> Iterator[Detection]:
    image_size = (image.height, image.width)
    objects = [annotation for annotation in image.annotations if not annotation.is_crowd]
    boxes = clipped_boxes(objects, image_size)
    for annotation, box, is_target in zip(objects, boxes, has_area(boxes).tolist(), strict=True):
        if is_target:
            x0, y0, x1, y1 = box.tolist()
            yield {
                "image_id": image.id,
                "category_id": annotation.category_id,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "segmentation": _round_trip(annotation, box[None].numpy(), image_size, codec),
                "score": 1.0,
            }


def _round_trip(
    annotation: CocoAnnotation,
    box_xyxy: Float32[np.ndarray, "1 4"],
    image_size: tuple[int, int],
    codec: MaskCodec,
) -> dict[str, Any]:
    """The object's run lengths after crop, encode, decode and paste, as a prediction gets them."""
    mask = annotation_mask(annotation, image_size)[None]
    vectors = codec.encode(crop_masks(mask, box_xyxy, codec.mask_size))
    return codec.decode_to_rle(vectors, box_xyxy, image_size)[0]
