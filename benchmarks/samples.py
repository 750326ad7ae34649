"""The masks of a training sample, decoded one at a time or all together: time and memory.

From polygons through a flip and a resize to the crops of all boxes. Each measurement is a new
process with one thread; both ways must come to the same crops.
"""

import argparse
import hashlib
import os
import time
from pathlib import Path
from typing import Any, Literal

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import process_memory
import torch
import torch.nn.functional as F
from common import save_json, spread

from solq_maskcodec import crop_masks
from solq_model.preprocess import resize_size
from solq_train.data import InstanceMasks

Way = Literal["one at a time", "all together"]
WAYS: tuple[Way, ...] = ("one at a time", "all together")
SCENES = {"COCO": ((480, 640), 7), "4K": ((2160, 3840), 100)}  # (height, width), objects
SIZE, CORNERS = 128, 30


def scene(image_size: tuple[int, int], num_objects: int) -> tuple[InstanceMasks, torch.Tensor]:
    """Ragged ellipses of up to a sixth of the image's height, and their boxes."""
    random = np.random.default_rng(0)
    height, width = image_size
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    polygons, boxes = [], []
    for _ in range(num_objects):
        radius = random.uniform(8, height / 6)
        center = random.uniform(radius, np.array([width, height]) - radius)
        edge = radius * random.uniform(0.8, 1, (CORNERS, 1))
        points = center + edge * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        polygons.append([points.ravel().tolist()])
        boxes.append([*points.min(axis=0), *points.max(axis=0)])
    masks = InstanceMasks.of(range(num_objects), polygons, image_size)
    return masks, torch.tensor(np.array(boxes), dtype=torch.float32)


def crops(way: Way, masks: InstanceMasks, boxes: torch.Tensor) -> torch.Tensor:
    """What the boxes hold after a flip and the published resize."""
    height, width = masks.image_size
    size = resize_size((height, width), 800, 1333)
    x0, y0, x1, y1 = boxes.unbind(1)
    scale = torch.tensor([size[1] / width, size[0] / height] * 2)
    moved = torch.stack([width - x1, y0, width - x0, y1], dim=1) * scale
    if way == "one at a time":
        return masks.flipped_horizontally().resized(size).in_boxes(moved, SIZE)
    pixels = masks.dense().flip(-1)[:, None].to(torch.uint8)
    return crop_masks(F.interpolate(pixels, size, mode="nearest")[:, 0].bool(), moved, SIZE)


def measure(way: Way, name: str, rounds: int) -> dict[str, Any]:
    """CPU seconds of each round and the bytes that the first one added, in this process."""
    torch.set_num_threads(1)
    crops(way, *scene((60, 80), 2))  # what happens once is not what is measured
    masks, boxes = scene(*SCENES[name])
    before = process_memory.settle()
    found = crops(way, masks, boxes)
    peak = process_memory.peak() - before
    times = []
    for _ in range(rounds):
        start = time.process_time()
        crops(way, masks, boxes)
        times.append(1e6 * (time.process_time() - start))
    digest = hashlib.sha256(found.numpy().tobytes()).hexdigest()
    return {"times": times, "peak_bytes": peak, "sha256": digest}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    if not process_memory.is_measurable():
        print("samples: not measured, memory can be read on Linux only")
        return
    rows = []
    print(f"{'':24}{'CPU ms':>10}{'MB':>10}")
    for name in SCENES:
        found = {
            way: process_memory.in_new_process(measure, way, name, options.rounds) for way in WAYS
        }
        assert len({one["sha256"] for one in found.values()}) == 1, "the crops differ"
        for way, one in found.items():
            time_us = {f"cpu_{key}_us": value for key, value in spread(one["times"]).items()}
            rows.append({"scene": name, "way": way, **time_us, "peak_bytes": one["peak_bytes"]})
            milliseconds, megabytes = time_us["cpu_median_us"] / 1e3, one["peak_bytes"] / 1e6
            print(f"{name:8}{way:16}{milliseconds:10.1f}{megabytes:10.1f}")
    save_json(options.output, "samples", rows)


if __name__ == "__main__":
    main()
