"""How far an exported file is from the model it came from, and how fast."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from solq_model.export.inference import InferenceModule
from solq_model.export.runtime import Runtime

# Vectors count in shares of their largest number, masks in shares of their pixels: rounding flips
# pixels that lie on the threshold.
TOLERANCES = {"scores": 1e-4, "labels": 0.0, "boxes": 1e-4, "mask_vectors": 1e-4, "masks": 1e-3}
# Of float16, whose rounding is 2^13 times as large.
HALF_TOLERANCES = {
    "scores": 0.02,
    "labels": 0.0,
    "boxes": 0.02,
    "mask_vectors": 0.05,
    "masks": 0.02,
}


@dataclass(frozen=True, kw_only=True)
class Parity:
    """One image size: the largest difference of each output, and milliseconds per image."""

    image_size: tuple[int, int]
    tolerances: dict[str, float]
    differences: dict[str, float]
    model_milliseconds: float
    file_milliseconds: float

    @property
    def failures(self) -> list[str]:
        """The outputs that differ by more than rounding explains."""
        return [
            name
            for name, difference in self.differences.items()
            if not difference <= self.tolerances[name]  # NaN is not either
        ]


def measure_parity(
    module: InferenceModule, runtime: Runtime, image_sizes: Sequence[tuple[int, int]]
) -> list[Parity]:
    """The file beside the module it was made from, on one image of each size."""
    is_half = module.model.level_embedding.dtype.itemsize == 2
    tolerances = HALF_TOLERANCES if is_half else TOLERANCES
    measured = []
    for seed, image_size in enumerate(image_sizes):
        images = example_images(module, image_size, seed)
        with torch.no_grad():
            expected, model_time = _timed(module, images)
        found, file_time = _timed(runtime, images)
        measured.append(
            Parity(
                image_size=image_size,
                tolerances=tolerances,
                differences=differences(expected, found),
                model_milliseconds=model_time,
                file_milliseconds=file_time,
            )
        )
    return measured


def example_images(
    module: InferenceModule, image_size: tuple[int, int], seed: int, batch: int = 1
) -> Tensor:
    """Images with something on them, in the module's pixels: noise, coarse and fine."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.zeros(batch, 3, *image_size)
    for cells in (4, 16, 64):
        noise = torch.randn(batch, 3, cells, cells, generator=generator)
        images += F.interpolate(noise, image_size, mode="bilinear", align_corners=False)
    if module.pixels == "uint8":
        return ((images / 4 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return images


def differences(expected: dict[str, Tensor], found: dict[str, Tensor]) -> dict[str, float]:
    """The largest difference of each output, between detections of the same rank.

    Two detections whose scores differ by rounding may change places: each is then compared with
    the one that is like it.
    """
    order = _matched(expected, found)
    largest = {}
    for name, theirs in found.items():
        index = order.reshape(*order.shape, *[1] * (theirs.ndim - 2)).expand_as(theirs)
        ours = expected[name].gather(1, index)
        if name == "masks":
            largest[name] = (ours != theirs).float().mean((-2, -1)).max().item()
            continue
        difference = (ours.double() - theirs.double()).abs().max().item()
        if name == "mask_vectors":
            difference /= max(1.0, ours.abs().max().item())
        largest[name] = difference
    return largest


def _matched(expected: dict[str, Tensor], found: dict[str, Tensor]) -> Tensor:
    """For each detection `[batch, top_k]` found, the rank of the expected one like it."""
    score = (found["scores"][:, :, None] - expected["scores"][:, None]).abs()
    label = (found["labels"][:, :, None] != expected["labels"][:, None]).float()
    box = (found["boxes"][:, :, None] - expected["boxes"][:, None]).abs().amax(-1)
    return (score + label + box).argmin(-1)


def _timed(function: Runtime | InferenceModule, images: Tensor) -> tuple[dict[str, Tensor], float]:
    """What the function returns, and the milliseconds of its best of three calls after the first.

    Per image.
    """
    outputs = function(images)
    return outputs, min(_seconds(function, images) for _ in range(3)) * 1000 / len(images)


def _seconds(function: Runtime | InferenceModule, images: Tensor) -> float:
    started = time.perf_counter()
    function(images)
    return time.perf_counter() - started
