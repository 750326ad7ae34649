"""Objects of a data set → how much of them a mask codec keeps, by size: the ceiling of training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from solq_maskcodec import DCTMaskCodec
from solq_maskcodec.dataset.annotations import AnnotatedImage, AnnotatedObject, AnnotationFile
from solq_maskcodec.dataset.oracle import DatasetQuality, Encoding, dataset_qualities
from solq_train.data.coco import CocoFile


@dataclass(frozen=True, kw_only=True)
class CodecQuality:
    """What vectors of this length keep of so many images' objects."""

    num_coefficients: int
    num_images: int
    sizes: DatasetQuality

    def table(self) -> list[list[str]]:
        """The numbers by COCO's sizes, as text under titles; a dash where there are no objects."""
        titles = ["objects", "number", "mask IoU", "worst 5 %", "boundary IoU", "mask AP ceiling"]
        rows = [titles]
        for name in ("all", "small", "medium", "large"):
            quality = getattr(self.sizes, name)
            numbers = (quality.iou, quality.iou_p5, quality.boundary_iou, quality.ap)
            rows.append([name, str(quality.num_objects), *map(_format, numbers)])
        return rows


def codec_quality(
    coco: CocoFile, num_coefficients: int, *, most_objects: int
) -> CodecQuality | None:
    """The quality on every n-th image, so that about `most_objects` come together.

    None where nothing is asked for or no object could be encoded.
    """
    if most_objects < 1:
        return None
    file = _annotation_file(coco)
    with_objects = [image for image in file.images if image.encodable()]
    if not with_objects:
        return None
    num_objects = sum(len(image.encodable()) for image in with_objects)
    chosen = with_objects[:: math.ceil(num_objects / most_objects)]
    sample = AnnotationFile(name=file.name, images=tuple(chosen), category_ids=file.category_ids)
    encoding = Encoding(codec=DCTMaskCodec(num_coefficients))
    return CodecQuality(
        num_coefficients=num_coefficients,
        num_images=len(chosen),
        sizes=dataset_qualities([encoding], sample)[0],
    )


def _annotation_file(coco: CocoFile) -> AnnotationFile:
    """The records as the codec's package has them."""
    images = tuple(
        AnnotatedImage(
            id=image.id,
            size=(image.height, image.width),
            objects=tuple(
                AnnotatedObject(
                    id=item.id,
                    category_id=item.category_id,
                    bbox_xywh=item.bbox_xywh,
                    segmentation=item.segmentation,
                    area=item.area,
                    is_crowd=item.is_crowd,
                )
                for item in image.annotations
            ),
        )
        for image in coco.images
    )
    ids = tuple(sorted(category["id"] for category in coco.categories))
    return AnnotationFile(name=str(coco.path), images=images, category_ids=ids)


def _format(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
