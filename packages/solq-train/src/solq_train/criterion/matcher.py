"""Predictions x targets → pairs: each object gets the query that fits it best, one to one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from solq_model.boxes import cxcywh_to_xyxy, generalized_iou
from solq_train.criterion.targets import EncodedTargets

FOCAL_ALPHA = 0.25  # arXiv:1708.02002, table 1b
FOCAL_GAMMA = 2.0
NO_NUMBER_COST = 1e6


@dataclass(frozen=True, kw_only=True)
class Matches:
    """Pairs (image, query, object); objects are counted over the whole batch."""

    images: Int[Tensor, " pairs"]
    queries: Int[Tensor, " pairs"]
    objects: Int[Tensor, " pairs"]


@dataclass(frozen=True, kw_only=True)
class HungarianMatcher:
    """The assignment of least cost (DETR, arXiv:2005.12872, equation 1, with focal class cost)."""

    class_cost: float = 2.0
    box_l1_cost: float = 5.0
    giou_cost: float = 2.0

    @torch.no_grad()
    def __call__(
        self,
        logits: Float[Tensor, "batch queries classes"],
        boxes: Float[Tensor, "batch queries 4"],
        labels: Int[Tensor, " instances"],
        targets: EncodedTargets,
    ) -> Matches:
        """Pairs ordered by image, then by query; with more objects than queries some stay alone.

        `labels` replaces the targets' own, for proposals that only tell objects from nothing.
        """
        images, queries, objects = [], [], []
        for image, (start, count) in enumerate(zip(targets.offsets, targets.counts, strict=True)):
            own = slice(start, start + count)
            cost = self._cost(logits[image], boxes[image], labels[own], targets.boxes[own])
            rows, columns = linear_sum_assignment(cost.cpu().numpy())
            images.append(torch.full((len(rows),), image, dtype=torch.int64))
            queries.append(torch.from_numpy(rows))
            objects.append(torch.from_numpy(columns) + start)
        device = logits.device
        return Matches(
            images=torch.cat(images).to(device),
            queries=torch.cat(queries).to(device),
            objects=torch.cat(objects).to(device),
        )

    def _cost(
        self, logits: Tensor, boxes: Tensor, labels: Tensor, target_boxes: Tensor
    ) -> Float[Tensor, "queries instances"]:
        probability = logits.float().sigmoid()[:, labels]
        negative = (1 - FOCAL_ALPHA) * probability**FOCAL_GAMMA * -(1 - probability + 1e-8).log()
        positive = FOCAL_ALPHA * (1 - probability) ** FOCAL_GAMMA * -(probability + 1e-8).log()
        l1 = (boxes[:, None] - target_boxes[None]).abs().sum(-1)
        giou = generalized_iou(cxcywh_to_xyxy(boxes)[:, None], cxcywh_to_xyxy(target_boxes)[None])
        cost = (
            self.box_l1_cost * l1 + self.class_cost * (positive - negative) - self.giou_cost * giou
        )
        # Predictions that are no numbers must reach the loss, where the engine reports them.
        return cost.nan_to_num(nan=NO_NUMBER_COST, posinf=NO_NUMBER_COST, neginf=-NO_NUMBER_COST)
