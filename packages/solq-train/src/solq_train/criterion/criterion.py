"""The criterion: match, weigh, sum over decoder layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from solq_maskcodec import MaskCodec
from solq_model.records import Predictions, Proposals
from solq_model.spatial_masks import SpatialMasks
from solq_train.criterion import losses
from solq_train.criterion.matcher import HungarianMatcher, Matches
from solq_train.criterion.targets import EncodedTargets


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the loss terms and of the matching cost. The defaults are the published ones."""

    class_weight: float = 2.0
    box_l1_weight: float = 5.0
    giou_weight: float = 2.0
    vector_weight: float = 3.0
    vector_space: Literal["raw", "whitened"] = "raw"
    """whitened: coefficients are compared in units of their deviation over the training set."""
    vector_distance: Literal["l1", "mse"] = "l1"
    vector_reduction: Literal["mean", "sum"] = "mean"
    """mean: over coefficients, too; sum: of an object's coefficients (published:
    --no_vector_loss_norm)."""
    dice_weight: float = 0.0
    """Dice of the decoded masks of every layer that predicts some (published: solq_pca); 0 leaves
    it out."""
    mask_weight: float = 0.0
    """Cross-entropy plus dice of the last layer's decoded masks; 0 leaves it out (published)."""
    mask_loss_size: int = 32
    """Side of the grid on which decoded masks are compared."""
    spatial_mask_weight: float = 1.0
    """Focal loss of spatial masks, pixel by pixel."""
    spatial_dice_weight: float = 1.0
    """Dice loss of spatial masks."""

    def __post_init__(self) -> None:
        weights = ("class", "box_l1", "giou", "vector", "dice", "mask")
        for name in (*weights, "spatial_mask", "spatial_dice"):
            if getattr(self, f"{name}_weight") < 0:
                value = getattr(self, f"{name}_weight")
                msg = f"LossConfig.{name}_weight must be at least 0, got {value}"
                raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class Losses:
    """The weighted total, its terms without their weights, and figures that are only logged.

    Terms have their published names: `loss_ce`, `loss_bbox`, `loss_giou`, `loss_vector` of the last
    layer, `_0`, `_1`, … of the layers before, `_enc` of the encoder's proposals; of spatial masks
    `loss_mask` and `loss_dice`, of the last layer only.
    """

    total: Float[Tensor, ""]
    terms: dict[str, Tensor]
    diagnostics: dict[str, Tensor]
    matches: Matches


@dataclass(frozen=True, kw_only=True)
class Share:
    """What a portion's losses are multiplied by to be its share of those of the whole batch.

    Terms are normalised by the objects of what they are computed on, or by its matched pairs; the
    factors replace these numbers by those of the whole batch.
    """

    objects: float = 1.0
    pairs: float = 1.0


WHOLE = Share()


class Criterion:
    """Losses of a batch; the same for every layer but for what `LossConfig` leaves to the last."""

    def __init__(
        self, config: LossConfig, codec: MaskCodec | None, deviation: Tensor | None = None
    ) -> None:
        """`codec` is that of the mask vectors, None for a detector of boxes.

        `deviation` is that of each coefficient, for `vector_space="whitened"`.
        """
        if config.vector_space == "whitened" and deviation is None:
            msg = "vector_space='whitened' needs a model with ModelConfig.whitened_vectors"
            raise ValueError(msg)
        self.config = config
        self.codec = codec
        self.deviation = deviation if config.vector_space == "whitened" else None
        self.matcher = HungarianMatcher(
            class_cost=config.class_weight,
            box_l1_cost=config.box_l1_weight,
            giou_cost=config.giou_weight,
        )

    def __call__(
        self, predictions: Predictions, targets: EncodedTargets, share: Share = WHOLE
    ) -> Losses:
        num_objects = float(max(sum(targets.counts), 1))
        terms: dict[str, Tensor] = {}
        diagnostics: dict[str, Tensor] = {}
        matches = self._match(predictions, targets)
        for suffix, layer in self._layers(predictions):
            last = suffix == ""
            pairs = matches if last else self._match(layer, targets)
            found = self._detection_terms(layer, targets.labels, targets, pairs, num_objects)
            found |= self._mask_terms(layer, targets, pairs, num_objects, last=last)
            terms |= {name + suffix: value for name, value in found.items()}
            diagnostics["cardinality_error" + suffix] = _cardinality_error(layer.logits, targets)
        if predictions.proposals is not None:
            found = self._proposal_terms(predictions.proposals, targets, num_objects)
            terms |= {f"{name}_enc": value for name, value in found.items()}
        diagnostics["class_error"] = losses.class_error(
            predictions.logits[matches.images, matches.queries].detach(),
            targets.labels[matches.objects],
        )
        if predictions.spatial_masks is not None:
            terms |= self._spatial_terms(predictions.spatial_masks, targets, matches, num_objects)
        terms = {name: value * self._factor(name, share) for name, value in terms.items()}
        weights = self._weights(is_spatial=predictions.spatial_masks is not None)
        total = torch.stack([weights[_kind(name)] * value for name, value in terms.items()]).sum()
        return Losses(total=total, terms=terms, diagnostics=diagnostics, matches=matches)

    def _layers(self, predictions: Predictions) -> list[tuple[str, Predictions]]:
        before = [(f"_{index}", layer) for index, layer in enumerate(predictions.auxiliary)]
        return [("", predictions), *before]

    def _match(self, layer: Predictions, targets: EncodedTargets) -> Matches:
        return self.matcher(layer.logits, layer.boxes, targets.labels, targets)

    def _detection_terms(
        self,
        layer: Predictions | Proposals,
        labels: Tensor,
        targets: EncodedTargets,
        pairs: Matches,
        num_objects: float,
    ) -> dict[str, Tensor]:
        one_hot = torch.zeros_like(layer.logits)
        one_hot[pairs.images, pairs.queries, labels[pairs.objects]] = 1.0
        boxes = layer.boxes[pairs.images, pairs.queries]
        target_boxes = targets.boxes[pairs.objects]
        return {
            "loss_ce": losses.focal_loss(layer.logits, one_hot, num_objects),
            "loss_bbox": losses.box_l1_loss(boxes, target_boxes, num_objects),
            "loss_giou": losses.giou_loss(boxes, target_boxes, num_objects),
        }

    def _mask_terms(
        self,
        layer: Predictions,
        targets: EncodedTargets,
        pairs: Matches,
        num_objects: float,
        *,
        last: bool,
    ) -> dict[str, Tensor]:
        if layer.mask_vectors is None:
            return {}
        assert self.codec is not None
        assert targets.mask_vectors is not None
        assert targets.box_masks is not None
        vectors = layer.mask_vectors[pairs.images, pairs.queries]
        expected = targets.mask_vectors[pairs.objects]
        distance = losses.vector_loss(
            vectors,
            expected,
            self.deviation,
            distance=self.config.vector_distance,
            reduction=self.config.vector_reduction,
            num_objects=num_objects,
        )
        # Published: the coefficient is part of the term itself (solq.py:374-376).
        terms = {"loss_vector": self.config.vector_weight * distance}
        box_masks = targets.box_masks[pairs.objects]
        if self.config.dice_weight:
            terms["loss_dice"] = losses.soft_dice_loss(vectors, box_masks, self.codec, num_objects)
        if last and self.config.mask_weight:
            terms["loss_mask"] = losses.mask_loss(
                vectors, box_masks, self.codec, self.config.mask_loss_size, num_objects
            )
        return terms

    def _spatial_terms(
        self, masks: SpatialMasks, targets: EncodedTargets, pairs: Matches, num_objects: float
    ) -> dict[str, Tensor]:
        """Published: of all queries' masks those of the matched ones count; no others are made."""
        focal, dice = [], []
        for image, (start, expected) in enumerate(
            zip(targets.offsets, targets.image_masks, strict=True)
        ):
            own = pairs.images == image
            objects = pairs.objects[own].to(expected.device) - start
            found = masks.at(image, pairs.queries[own])
            terms = losses.spatial_mask_losses(found, expected[objects], num_objects)
            focal.append(terms[0])
            dice.append(terms[1])
        return {"loss_mask": torch.stack(focal).sum(), "loss_dice": torch.stack(dice).sum()}

    def _proposal_terms(
        self, proposals: Proposals, targets: EncodedTargets, num_objects: float
    ) -> dict[str, Tensor]:
        # Published: "object" is class slot 0 (solq.py:447-449).
        agnostic = proposals.class_agnostic
        labels = torch.zeros_like(targets.labels) if agnostic else targets.labels
        pairs = self.matcher(proposals.logits, proposals.boxes, labels, targets)
        return self._detection_terms(proposals, labels, targets, pairs, num_objects)

    def _factor(self, name: str, share: Share) -> float:
        is_mean = _kind(name) == "loss_vector" and self.config.vector_reduction == "mean"
        return share.pairs if is_mean else share.objects

    def _weights(self, *, is_spatial: bool) -> dict[str, float]:
        config = self.config
        return {
            "loss_ce": config.class_weight,
            "loss_bbox": config.box_l1_weight,
            "loss_giou": config.giou_weight,
            "loss_vector": 1.0,
            "loss_dice": config.spatial_dice_weight if is_spatial else config.dice_weight,
            "loss_mask": config.spatial_mask_weight if is_spatial else config.mask_weight,
        }


def _kind(name: str) -> str:
    """The term's name without its layer."""
    return "_".join(name.split("_")[:2])


@torch.no_grad()
def _cardinality_error(logits: Tensor, targets: EncodedTargets) -> Float[Tensor, ""]:
    """How far the number of queries whose best class is not the last one is from the truth.

    A figure of DETR's log; with sigmoid classes it says little, but logs stay comparable.
    """
    predicted = (logits.argmax(-1) != logits.shape[-1] - 1).sum(1).float()
    counts = torch.tensor(targets.counts, dtype=torch.float32, device=logits.device)
    return (predicted - counts).abs().mean()
