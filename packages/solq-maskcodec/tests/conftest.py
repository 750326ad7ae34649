"""What the published code made of 120 COCO masks, and hypothesis without chance."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

# The same examples on every run; no deadline, because shared machines are slow at times.
settings.register_profile("reproducible", derandomize=True, deadline=None, max_examples=40)
settings.load_profile("reproducible")


@dataclass(frozen=True, kw_only=True)
class Published:
    """The published code's inputs and outputs, see fixtures/README.md."""

    image_rles: list[dict[str, Any]]
    boxes: NDArray[np.float32]
    masks: NDArray[np.bool_]
    vectors: NDArray[np.float32]
    decoded: NDArray[np.bool_]
    pasted_rles: list[dict[str, Any]]
    zigzag: NDArray[np.int16]


@pytest.fixture(scope="session")
def published() -> Published:
    with np.load(Path(__file__).parent / "fixtures" / "published.npz") as arrays:
        sizes = arrays["image_sizes"].tolist()

        def rles(name: str) -> list[dict[str, Any]]:
            lines = str(arrays[name]).split("\n")
            return [
                {"size": size, "counts": counts} for size, counts in zip(sizes, lines, strict=True)
            ]

        def bits(name: str) -> NDArray[np.bool_]:
            return np.unpackbits(arrays[name], axis=1).reshape(-1, 128, 128).astype(bool)

        return Published(
            image_rles=rles("image_rle"),
            boxes=arrays["boxes"],
            masks=bits("masks"),
            vectors=arrays["vectors"],
            decoded=bits("decoded"),
            pasted_rles=rles("pasted_rle"),
            zigzag=arrays["zigzag"],
        )
