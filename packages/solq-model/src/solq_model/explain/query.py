"""Image and query (or detection) → Explanation: runs the network and writes down what it did."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from solq_model.boxes import cxcywh_to_xyxy
from solq_model.categories import Category
from solq_model.explain.explanation import Explanation
from solq_model.explain.recording import recording
from solq_model.images import ImageInput, open_image
from solq_model.postprocess import postprocess
from solq_model.records import Predictions
from solq_model.solq import SOLQ


def explain(
    model: SOLQ,
    image: ImageInput,
    *,
    query: int | None,
    instance: int | None,
    threshold: float,
) -> Explanation:
    """See `SOLQ.explain`."""
    if query is not None and instance is not None:
        msg = f"expected a query or an instance, got query={query} and instance={instance}"
        raise ValueError(msg)
    if not 0 <= threshold <= 1:
        msg = f"threshold must be in 0..1, got {threshold}"
        raise ValueError(msg)
    picture = open_image(image)
    weights = next(model.parameters())
    pixels = model.preprocessing(picture).to(weights.device, weights.dtype)
    with torch.inference_mode(), _evaluation(model), recording(model.decoder) as taken:
        predictions = model([pixels])
        scores = predictions.logits[0].float().sigmoid()
        if query is None:
            query, category = _instance(model, scores, instance or 0, threshold)
        else:
            category = _best_category(model, scores, query)
        size = (picture.height, picture.width)
        only = _only(predictions, query, category)
        found = postprocess(only, [size], model.codec, top_k=1)[0]
        mask = found.masks[0].cpu() if found.has_masks else None
    readings, layers = taken.readings, (*predictions.auxiliary, predictions)
    return Explanation(
        image=picture,
        query=query,
        category=category,
        categories=model.categories,
        locations=_in_pixels(torch.stack([r.locations[query] for r in readings]), size),
        weights=torch.stack([r.weights[query] for r in readings]).cpu(),
        self_attention=torch.stack([w[:, query] for w in taken.self_attention]).cpu(),
        references=tuple(_in_pixels(_corners(r.references[query]), size) for r in readings),
        boxes=_in_pixels(torch.stack([_corners(p.boxes[0, query]) for p in layers]), size),
        class_scores=torch.stack([p.logits[0, query].float().sigmoid() for p in layers]).cpu(),
        mask=mask,
        level_sizes=readings[0].level_sizes,
        input_size=(pixels.shape[1], pixels.shape[2]),
    )


@contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards every module has its own mode again."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _instance(
    model: SOLQ, scores: Float[Tensor, "queries classes"], instance: int, threshold: float
) -> tuple[int, Category]:
    """The query and the category of a detection, counted as `SOLQ.predict` does."""
    categories = model.categories.entries
    by_category = scores[:, [category.slot for category in categories]].flatten()
    ranked, pairs = by_category.sort(descending=True, stable=True)
    num_found = int((ranked >= threshold).sum())
    if not 0 <= instance < num_found:
        found = f"instances 0..{num_found - 1}" if num_found else "no instance"
        best = f"the best of all scores is {ranked[0].item():.3f}"
        msg = f"instance {instance}: {found} with a score of at least {threshold:g}; {best}"
        raise ValueError(msg)
    query, place = divmod(int(pairs[instance]), len(categories))
    return query, categories[place]


def _best_category(model: SOLQ, scores: Float[Tensor, "queries classes"], query: int) -> Category:
    if not 0 <= query < len(scores):
        msg = f"query must be in 0..{len(scores) - 1}, got {query}"
        raise ValueError(msg)
    return max(model.categories.entries, key=lambda category: float(scores[query, category.slot]))


def _only(predictions: Predictions, query: int, category: Category) -> Predictions:
    """The predictions as if this query, as this category, were the only object."""
    logits = torch.full_like(predictions.logits, -math.inf)
    logits[0, query, category.slot] = math.inf
    return replace(predictions, logits=logits)


def _corners(reference: Tensor) -> Tensor:
    """A point (x, y) as it is; corners of a box, with no fewer digits than single precision."""
    reference = reference.to(torch.promote_types(reference.dtype, torch.float32))
    return cxcywh_to_xyxy(reference) if reference.shape[-1] == 4 else reference


def _in_pixels(places: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Places (x, y), or twice that, in pixels instead of shares of the image; on the CPU."""
    height, width = image_size
    places = places.cpu()
    return places * places.new_tensor([width, height]).repeat(places.shape[-1] // 2)
