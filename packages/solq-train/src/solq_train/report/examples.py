"""Detections → the images a report shows: the first, the best and the worst, and attention."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from solq_model.solq import SOLQ
from solq_train.data import CocoFile, CocoImage, load_image
from solq_train.data.drawing import Legend, draw_ground_truth
from solq_train.metrics.detections import Detection
from solq_train.metrics.image_quality import image_quality
from solq_train.report.pictures import draw_detections
from solq_train.report.report import AttentionPicture, ExamplePicture

NUM_PICTURES = 6  # of each kind
NUM_QUERIES = 3  # whose attention is shown, each in an image of its own


@dataclass(frozen=True, kw_only=True)
class Examples:
    """The images that a report shows, most telling first."""

    first: tuple[ExamplePicture, ...]
    best: tuple[ExamplePicture, ...]
    worst: tuple[ExamplePicture, ...]
    best_images: tuple[CocoImage, ...]  # with objects, best first


def choose_examples(
    coco: CocoFile,
    folder: Path,
    detections: Sequence[Detection],
    *,
    threshold: float,
    has_masks: bool,
) -> Examples:
    """The first images with objects, and those with the highest and the lowest quality.

    Of detections those with at least the threshold's score are drawn and judged.
    """
    by_image: defaultdict[int, list[Detection]] = defaultdict(list)
    for detection in detections:
        if detection["score"] >= threshold:
            by_image[detection["image_id"]].append(detection)
    quality = {
        image.id: image_quality(image, by_image[image.id], has_masks=has_masks)
        for image in coco.images
    }
    ranked = sorted(coco.images, key=lambda image: quality[image.id])
    with_objects = [image for image in coco.images if _num_objects(image)]
    best = [image for image in reversed(ranked) if _num_objects(image)]
    legend = Legend.of(coco)

    def draw(chosen: Sequence[CocoImage]) -> tuple[ExamplePicture, ...]:
        return tuple(
            _example(image, folder, by_image[image.id], legend, quality[image.id])
            for image in chosen[:NUM_PICTURES]
        )

    return Examples(
        first=draw(with_objects), best=draw(best), worst=draw(ranked), best_images=tuple(best)
    )


def attention_pictures(
    model: SOLQ, images: Sequence[CocoImage], folder: Path
) -> tuple[AttentionPicture, ...]:
    """Where the query of the surest object looks, in the first of these images."""
    pictures = []
    for image in images[:NUM_QUERIES]:
        found = model.explain(load_image(folder, image), instance=0, threshold=0.0)
        pictures.append(
            AttentionPicture(
                title=image.file_name,
                picture=found.plot(),
                caption=f"query {found.query}: {found.name}, score {found.score:.2f}",
            )
        )
    return tuple(pictures)


def _num_objects(image: CocoImage) -> int:
    return sum(not annotation.is_crowd for annotation in image.annotations)


def _example(
    image: CocoImage,
    folder: Path,
    detections: Sequence[Detection],
    legend: Legend,
    quality: float,
) -> ExamplePicture:
    picture = load_image(folder, image)
    objects = [annotation for annotation in image.annotations if not annotation.is_crowd]
    names = sorted({legend.names[annotation.category_id] for annotation in objects})
    truth = draw_ground_truth(picture, image, legend, only={item.id for item in objects})
    return ExamplePicture(
        title=image.file_name,
        ground_truth=truth,
        prediction=draw_detections(picture, detections, legend),
        caption=f"{', '.join(names) or 'no object'}: {len(objects)} objects, "
        f"{len(detections)} found; quality {quality:.2f}",
    )
