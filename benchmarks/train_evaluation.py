"""What a network says of 100 objects an image → COCO numbers, by each path.

What it says is made up from the ground truth: its vectors with noise, its boxes shifted a little,
as often as it takes to have 100 an image. So masks are as large and as ragged as real ones.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from train_published import PublishedEvaluation

from solq_maskcodec import DCTMaskCodec, crop_masks
from solq_model import Instances
from solq_model.categories import Categories
from solq_train.data.coco import CocoImage, annotation_mask, read_coco
from solq_train.data.dataset import clipped_boxes, has_area
from solq_train.metrics import CocoEvaluator, Evaluator

PREDICTIONS = 100
CODEC = DCTMaskCodec(threshold="midrange")


class EvaluationPaths:
    """The same predictions of some images, and the paths from them to numbers and run lengths."""

    def __init__(self, annotations: Path, num_images: int, checkout: Path | None) -> None:
        coco = read_coco(annotations)
        self.annotations = annotations
        self.categories = Categories.contiguous(coco.categories)
        pairs = [(image.id, predicted(image, self.categories)) for image in coco.images]
        self.found = [(number, one) for number, one in pairs if one is not None][:num_images]
        self.published = PublishedEvaluation(checkout, annotations) if checkout else None

    def evaluations(self) -> dict[str, Callable[[], object]]:
        """Vectors of all images → the numbers of boxes and masks."""
        paths: dict[str, Callable[[], object]] = {"pycocotools": lambda: self.ours("pycocotools")}
        if importlib.util.find_spec("hotcoco"):
            paths["hotcoco"] = lambda: self.ours("hotcoco")
        if self.published is not None:
            published = self.published
            paths["published"] = lambda: published.numbers(self.found, self.categories)
        return paths

    def run_lengths(self) -> dict[str, Callable[[], object]]:
        """Vectors of all images → run lengths."""
        paths: dict[str, Callable[[], object]] = {
            "decode_to_rle": lambda: [one.rle() for _, one in self.found]
        }
        if self.published is not None:
            path = self.published.path
            paths["published"] = lambda: [
                path.to_rle(one.mask_vectors, one.boxes, one.image_size) for _, one in self.found
            ]
        return paths

    def ours(self, evaluator: Evaluator) -> dict[str, float]:
        """The numbers as `solq evaluate` computes them."""
        ids = [image_id for image_id, _ in self.found]
        scorer = CocoEvaluator(self.annotations, image_ids=ids, evaluator=evaluator)
        for image_id, instances in self.found:
            scorer.add(image_id, instances, self.categories)
        return scorer.summarize().to_dict()

    def largest_difference(self) -> dict[str, float]:
        """Of the 24 numbers, to those by pycocotools; published strings differ in single pixels."""
        expected = np.array(list(self.ours("pycocotools").values()))
        others: dict[str, list[float]] = {}
        if importlib.util.find_spec("hotcoco"):
            others["hotcoco"] = list(self.ours("hotcoco").values())
        if self.published is not None:
            numbers = self.published.numbers(self.found, self.categories)
            others["published"] = numbers["bbox"] + numbers["segm"]
        return {name: float(abs(np.array(one) - expected).max()) for name, one in others.items()}


def predicted(image: CocoImage, categories: Categories) -> Instances | None:
    """100 predictions like the objects of the image; None for an image without any."""
    image_size = (image.height, image.width)
    objects = [entry for entry in image.annotations if not entry.is_crowd]
    boxes = clipped_boxes(objects, image_size)
    kept = has_area(boxes)
    if not kept.any():
        return None
    masks = np.stack([annotation_mask(entry, image_size) for entry in objects])
    crops = crop_masks(masks[kept.numpy()], boxes[kept].numpy(), CODEC.mask_size)
    vectors = torch.from_numpy(CODEC.encode(crops))
    slots = torch.tensor([categories.slot_of(entry.category_id) for entry in objects])[kept]
    random = torch.Generator().manual_seed(image.id)
    chosen = torch.randint(len(vectors), (PREDICTIONS,), generator=random)
    noise = 0.1 * torch.randn(PREDICTIONS, CODEC.num_coefficients, generator=random)
    shift = 0.05 * torch.randn(PREDICTIONS, 4, generator=random)
    corners = boxes[kept][chosen]
    sides = (corners[:, 2:] - corners[:, :2]).repeat(1, 2)
    return Instances(
        scores=torch.rand(PREDICTIONS, generator=random).sort(descending=True).values,
        labels=slots[chosen],
        boxes=corners + shift.clamp(-0.2, 0.2) * sides,
        mask_vectors=vectors[chosen] + noise * vectors.std(0, correction=0).clamp_min(0.1),
        codec=CODEC,
        image_size=image_size,
    )
