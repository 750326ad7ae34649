"""Detections → pictures of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from solq_maskcodec import rle_to_masks
from solq_model.draw import draw_instances
from solq_train.data import Legend


def draw_detections(
    picture: Image.Image,
    detections: Sequence[dict[str, Any]],
    legend: Legend,
) -> Image.Image:
    """The picture under detections in COCO's result format, with names and scores."""
    size = (picture.height, picture.width)
    rles = [d["segmentation"] for d in detections if "segmentation" in d]
    masks = [torch.from_numpy(mask) for mask in rle_to_masks(rles)]
    drawn = None if len(rles) < len(detections) else _stack(masks, size)
    boxes = torch.tensor([d["bbox"] for d in detections], dtype=torch.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    labels = [f"{legend.names[d['category_id']]} {d['score']:.2f}" for d in detections]
    colors = [legend.colors[d["category_id"]] for d in detections]
    return draw_instances(picture, drawn, boxes, labels, colors=colors)


def _stack(masks: Sequence[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
    return torch.stack(list(masks)) if masks else torch.zeros((0, *size), dtype=torch.bool)
