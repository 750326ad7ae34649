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

from solq_model import SOLQ, build_model, load_official_state_dict, presets
from solq_train.data import Target

FIXTURES = Path(__file__).parent / "fixtures"


class Published:
    """One set of published numbers: `numbers` from JSON, arrays, images and targets from npz."""

    def __init__(self, name: str) -> None:
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
        masks = bits[:, : math.prod(size)].reshape(-1, *size).astype(bool)
        return Target(
            image_id=0,
            image_size=size,
            original_size=size,
            boxes=torch.from_numpy(self.array(f"{name}_xyxy")),
            labels=torch.from_numpy(self.array(f"{name}_labels")),
            masks=torch.from_numpy(masks),
        )


def published_tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    """The numbers with which the published network was filled: a function of name and shape."""
    seed = np.random.PCG64(zlib.crc32(name.encode()))
    values = np.random.Generator(seed).standard_normal(shape, dtype=np.float32)
    is_norm = "norm" in name or ".bn" in name or "downsample.1" in name
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


@pytest.fixture(scope="session")
def r50() -> Published:
    return Published("r50")


@pytest.fixture(scope="session")
def trajectory() -> Published:
    return Published("trajectory_r50")


@pytest.fixture(scope="session")
def published_state(r50: Published) -> dict[str, Tensor]:
    return {name: published_tensor(name, tuple(shape)) for name, shape in r50.numbers["state"]}


@pytest.fixture
def model(published_state: dict[str, Tensor]) -> SOLQ:
    """Our R50 with the published weights, as for evaluation."""
    model = build_model(presets.r50())
    load_official_state_dict(model, published_state)
    return model.eval()


@pytest.fixture
def training_model(published_state: dict[str, Tensor]) -> SOLQ:
    """As the published trajectory began: no dropout, class biases at the focal prior."""
    model = build_model(replace(presets.r50(), dropout=0.0))
    priors = {
        name: torch.full_like(tensor, -math.log(99))
        if "class_embed" in name and name.endswith("bias")
        else tensor
        for name, tensor in published_state.items()
    }
    load_official_state_dict(model, priors)
    return model.train()
