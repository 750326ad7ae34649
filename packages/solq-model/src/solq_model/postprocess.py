"""Predictions → Instances: the best queries of each image, with pixel boxes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from solq_maskcodec import MaskCodec
from solq_model.boxes import cxcywh_to_xyxy
from solq_model.records import Instances, Predictions


@torch.no_grad()
def postprocess(
    predictions: Predictions,
    image_sizes: Sequence[tuple[int, int]],
    codec: MaskCodec | None,
    top_k: int = 100,
) -> list[Instances]:
    """The `top_k` best (query, class) pairs of each image, best first.

    `image_sizes` are the (height, width) the results are wanted at, one per image of the batch.
    `codec` is that of the mask vectors, `SOLQ.codec`; a detector has neither.
    A query may appear more than once, with different classes, as published (solq.py:487-497).
    """
    batch = predictions.logits.shape[0]
    if len(image_sizes) != batch:
        msg = (
            f"image_sizes must hold one (height, width) per image ({batch}), got {len(image_sizes)}"
        )
        raise ValueError(msg)
    vectors, spatial = predictions.mask_vectors, predictions.spatial_masks
    expected = None if vectors is None else vectors.shape[-1]
    if expected != (None if codec is None else codec.num_coefficients):
        what = "None" if expected is None else f"one of {expected} coefficients"
        msg = f"codec must be {what}, as the predictions are, got {codec}"
        raise ValueError(msg)
    scores, labels, queries = best_pairs(predictions.logits, top_k)
    results = []
    for image, (height, width) in enumerate(image_sizes):
        scale = predictions.boxes.new_tensor([width, height, width, height])
        boxes = cxcywh_to_xyxy(predictions.boxes[image, queries[image]]) * scale
        results.append(
            Instances(
                scores=scores[image],
                labels=labels[image],
                boxes=boxes,
                mask_vectors=None if vectors is None else vectors[image, queries[image]],
                codec=codec,
                image_size=(int(height), int(width)),
                queries=queries[image],
                mask_logits=None if spatial is None else spatial.best(image, queries[image]),
            )
        )
    return results


def best_pairs(
    logits: Float[Tensor, "batch queries classes"], top_k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Score, class slot and query of the `top_k` best pairs, each `[batch, pairs]`, best first."""
    if top_k < 1:
        msg = f"top_k must be at least 1, got {top_k}"
        raise ValueError(msg)
    _, num_queries, num_classes = logits.shape
    probabilities = logits.float().sigmoid().flatten(1)
    scores, indices = probabilities.topk(min(top_k, num_queries * num_classes), dim=1)
    return scores, indices % num_classes, indices // num_classes
