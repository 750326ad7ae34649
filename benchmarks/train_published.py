"""Training and evaluation out of a checkout of megvii-research/SOLQ, made to run on a CPU.

As for the network (model_published.py), modules are imported as they are. What losses and
evaluation need of detectron2, which has no wheels, is given to them anew, with the same operators.
"""

import contextlib
import importlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision
from maskcodec_published import PublishedPath, paste_one_by_one
from model_published import importable, published_model_and_criterion
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from solq_model import Categories, Instances
from solq_train.data import Split

# configs/r50_solq_train.sh, and the defaults of main.py beside it.
LEARNING_RATE, WEIGHT_DECAY, CLIP_NORM = 2e-4, 1e-4, 0.1


class CroppedMasks:
    """What the losses use of detectron2's BitMasks: its ROIAlign, which is torchvision's."""

    def __init__(self, masks: Tensor) -> None:
        self.masks = masks

    def crop_and_resize(self, boxes: Tensor, size: int) -> Tensor:
        """Masks in their boxes, bool [instances, size, size]."""
        places = torch.arange(len(boxes)).to(boxes)[:, None]
        cropped: Tensor = torchvision.ops.roi_align(
            self.masks.float()[:, None],
            torch.cat([places, boxes], dim=1),
            (size, size),
            1.0,
            0,
            True,
        )
        return cropped[:, 0] >= 0.5


class PublishedTraining:
    """The published network, losses and optimizer."""

    def __init__(self, checkout: Path) -> None:
        model, self.criterion = published_model_and_criterion(checkout)
        self.model: nn.Module = model.train()
        # The module that the losses are of; it can no longer be imported.
        names = type(self.criterion).forward.__globals__
        names["cv2"] = importlib.import_module("cv2")
        names["cv2"].setNumThreads(0)
        names["BitMasks"] = CroppedMasks
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY
        )

    def loss(self, outputs: dict[str, Any], targets: Sequence[dict[str, Tensor]]) -> Tensor:
        """The weighted sum that the published engine differentiates."""
        losses: dict[str, Tensor] = self.criterion(outputs, targets)
        weights: dict[str, float] = self.criterion.weight_dict
        return torch.stack(
            [losses[name] * weights[name] for name in losses if name in weights]
        ).sum()


def published_loader(
    checkout: Path,
    split: Split,
    *,
    batch_size: int,
    num_workers: int,
    num_images: int | None = None,
    short_side: int | None = None,
) -> DataLoader[Any]:
    """Batches of the published data set in the order of image ids.

    By the published transforms, or all with a `short_side` and nothing left to chance.
    """
    with importable(checkout), contextlib.redirect_stdout(io.StringIO()):
        coco = importlib.import_module("datasets.coco")
        misc = importlib.import_module("util.misc")
        transforms = coco.make_coco_transforms("train")
        if short_side is not None:
            resize = coco.T.RandomResize([short_side], max_size=1333)
            transforms = coco.T.Compose([resize, transforms.transforms[-1]])
        dataset = coco.CocoDetection(
            split.images, split.annotations, transforms=transforms, return_masks=True
        )

    def collate(samples: list[Any]) -> tuple[Tensor, list[dict[str, Tensor]]]:
        # Its own class of padded images cannot be sent by workers: it is nowhere to be imported.
        images, targets = misc.collate_fn(samples)
        return images.tensors, list(targets)

    chosen = Subset(dataset, range(len(dataset) if num_images is None else num_images))
    return DataLoader(chosen, batch_size=batch_size, num_workers=num_workers, collate_fn=collate)


class PublishedEvaluation:
    """Vectors → masks in the image → run lengths → COCO numbers, as the published code does it."""

    def __init__(self, checkout: Path, annotations: Path) -> None:
        from pycocotools.coco import COCO

        self.path = PublishedPath()
        with importable(checkout):
            self.module = importlib.import_module("datasets.coco_eval")
        with contextlib.redirect_stdout(io.StringIO()):
            self.truth = COCO(annotations)

    def numbers(
        self, found: Sequence[tuple[int, Instances]], categories: Categories
    ) -> dict[str, list[float]]:
        """The twelve numbers of masks and of boxes."""
        with contextlib.redirect_stdout(io.StringIO()):
            evaluator = self.module.CocoEvaluator(self.truth, ("segm", "bbox"))
            for image_id, instances in found:
                evaluator.update({image_id: self.prediction(instances, categories)})
            evaluator.synchronize_between_processes()
            evaluator.accumulate()
            evaluator.summarize()
        return {kind: one.stats.tolist() for kind, one in evaluator.coco_eval.items()}

    def prediction(self, instances: Instances, categories: Categories) -> dict[str, Tensor]:
        """What the published postprocessing gives for an image."""
        decoded = self.path.decode(instances.mask_vectors)
        masks = paste_one_by_one(decoded, instances.boxes, instances.image_size)
        found = [categories.category_of(slot) for slot in instances.labels.tolist()]
        return {
            "scores": instances.scores,
            "labels": torch.tensor([category.id for category in found if category is not None]),
            "boxes": instances.boxes,
            "masks": masks.unsqueeze(1),
        }
