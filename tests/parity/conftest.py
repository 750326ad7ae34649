"""What the published code computed, and our network with the same weights."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from solq_maskcodec import crop_masks
from solq_model import SOLQ, build_model, load_official_state_dict, presets
from solq_train.data import Target

FIXTURES = Path(__file__).parent / "fixtures"
NETWORKS = {"r50": presets.r50, "swin_t": presets.swin_t, "sqr_r50": presets.sqr_r50}


class Published:
    """One set of published numbers: `numbers` from JSON, arrays, images and targets from npz."""

    def __init__(self, name: str) -> None:
        self.name = name
        with gzip.open(FIXTURES / f"{name}.json.gz", "rt", encoding="utf-8") as file:
            self.numbers: dict[str, Any] = json.load(file)
        self._arrays = np.load(FIXTURES / f"{name}.npz")

    def array(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def images(self, prefix: str = "") -> list[Tensor]:
        """The two images, enlarged from how they are stored."""
        return [
            F.interpolate(
                torch.from_numpy(self.array(f"{prefix}image{i}"))[None], size, mode="bilinear"
            )[0]
            for i, size in enumerate(map(tuple, self.numbers["image_sizes"]))
        ]

    def targets(self, prefix: str = "") -> list[Target]:
        """The objects of both images."""
        return [
            self._target(f"{prefix}target{i}", tuple(size))
            for i, size in enumerate(self.numbers["image_sizes"])
        ]

    def _target(self, name: str, size: tuple[int, int]) -> Target:
        bits = np.unpackbits(self.array(f"{name}_masks"), axis=1)
        masks = torch.from_numpy(bits[:, : math.prod(size)].reshape(-1, *size).astype(bool))
        boxes = torch.from_numpy(self.array(f"{name}_xyxy"))
        return Target(
            image_id=0,
            image_size=size,
            original_size=size,
            boxes=boxes,
            labels=torch.from_numpy(self.array(f"{name}_labels")),
            box_masks=crop_masks(masks, boxes, 128),
            image_masks=masks,
        )


def published_tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    """The numbers with which the published network was filled: a function of name and shape."""
    if name.endswith("relative_position_index"):
        return relative_position_index()
    seed = np.random.PCG64(zlib.crc32(name.encode()))
    values = np.random.Generator(seed).standard_normal(shape, dtype=np.float32)
    is_norm = any(part in name for part in ("norm", ".bn", "downsample.1", "mask_head.gn"))
    if name.endswith("running_var"):
        values = np.abs(values) * 0.5 + 0.75
    elif name.endswith("running_mean"):
        values = values * 0.1
    elif len(shape) > 1:
        values = values / np.sqrt(math.prod(shape[1:]))
    elif is_norm and name.endswith("weight"):
        values = 1 + 0.1 * values
    else:
        values = 0.1 * values
    return torch.from_numpy(values.astype(np.float32))


def relative_position_index() -> Tensor:
    """The one constant of the published Swin: 13 * (rows down + 6) + columns to the right + 6."""
    pixels = list(np.ndindex(7, 7))
    return torch.tensor([[13 * (y - v + 6) + x - u + 6 for v, u in pixels] for y, x in pixels])


@pytest.fixture(scope="session", params=NETWORKS)
def published(request: pytest.FixtureRequest) -> Published:
    """The numbers of each network in turn."""
    return Published(request.param)


@pytest.fixture(scope="session")
def r50() -> Published:
    return Published("r50")


@pytest.fixture(scope="session")
def trajectory() -> Published:
    return Published("trajectory_r50")


def state_of(published: Published) -> dict[str, Tensor]:
    """Every tensor of the published checkpoint."""
    return {
        name: published_tensor(name, tuple(shape)) for name, shape in published.numbers["state"]
    }


@pytest.fixture(scope="session")
def published_state(published: Published) -> dict[str, Tensor]:
    return state_of(published)


@pytest.fixture
def model(published: Published, published_state: dict[str, Tensor]) -> SOLQ:
    """Our network with the published weights, as for evaluation."""
    model = build_model(NETWORKS[published.name]())
    load_official_state_dict(model, published_state)
    return model.eval()


@pytest.fixture
def training_model(r50: Published) -> SOLQ:
    """As the published trajectory began: no dropout, class biases at the focal prior."""
    model = build_model(replace(presets.r50(), dropout=0.0))
    priors = {
        name: torch.full_like(tensor, -math.log(99))
        if "class_embed" in name and name.endswith("bias")
        else tensor
        for name, tensor in state_of(r50).items()
    }
    load_official_state_dict(model, priors)
    return model.train()
