"""A made-up annotation file of COCO's kind → time and memory of reading and of checking it.

Beside pycocotools, in the same run; each measurement is a new process with one thread.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import process_memory
from common import save_json

ROUNDS = 3
# COCO's own means, of train2017: 7.3 objects an image, some 30 corners an object.
OBJECTS, FEWEST_CORNERS, MOST_CORNERS = 7.3, 8, 55
HEIGHT, WIDTH, CATEGORIES = 480, 640, 80
READERS = ("pycocotools", "read_coco", "check")


def write_annotations(path: Path, num_images: int) -> int:
    """Writes random star-shaped polygons with true boxes and areas; the number of objects."""
    random = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id in range(1, num_images + 1):
        name = f"{image_id:012d}.jpg"
        images.append({"id": image_id, "file_name": name, "height": HEIGHT, "width": WIDTH})
        for _ in range(int(random.poisson(OBJECTS))):
            annotations.append(_annotation(random, image_id, len(annotations) + 1))
    categories = [{"id": number, "name": f"kind {number}"} for number in range(1, CATEGORIES + 1)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(document), encoding="utf-8")
    return len(annotations)


def _annotation(random: np.random.Generator, image_id: int, number: int) -> dict[str, Any]:
    corners = int(random.integers(FEWEST_CORNERS, MOST_CORNERS))
    angles = np.sort(random.random(corners)) * 2 * np.pi
    radius = random.uniform(8, 90)
    center = random.uniform(radius, np.array([WIDTH, HEIGHT]) - radius)
    distances = radius * random.uniform(0.8, 1, corners)
    points = center + distances[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = points.round(2)
    low, high = points.min(axis=0), points.max(axis=0)
    x, y = points.T
    area = abs(x @ np.roll(y, -1) - np.roll(x, -1) @ y) / 2
    return {
        "id": number,
        "image_id": image_id,
        "category_id": int(random.integers(1, CATEGORIES + 1)),
        "iscrowd": 0,
        "bbox": [*low.tolist(), *(high - low).round(2).tolist()],
        "area": float(area),
        "segmentation": [points.ravel().tolist()],
    }


def measure(reader: str, path: Path) -> dict[str, float]:
    """Seconds, and bytes held afterwards, of one reading in this process."""
    from pycocotools.coco import COCO

    from solq_train.data import Split, check_splits, read_coco

    split = Split(annotations=path, images=path.parent)
    before = process_memory.settle()
    start, start_cpu = time.perf_counter(), time.process_time()
    if reader == "pycocotools":
        found: Any = COCO(path)
    elif reader == "read_coco":
        found = read_coco(path)
    else:
        found = check_splits([split], read_images=False)
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    peak = process_memory.peak() - before
    held = process_memory.settle() - before
    assert found
    return {"seconds": seconds, "cpu_seconds": cpu, "held_bytes": held, "peak_bytes": peak}


def in_a_new_process(reader: str, path: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--reader", reader, "--file", str(path)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result: dict[str, float] = json.loads(output.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="the JSON file to write")
    parser.add_argument("--images", type=int, default=20_000, help="images of the made-up file")
    parser.add_argument("--quick", action="store_true", help="2,000 images, once")
    parser.add_argument("--reader", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reader is not None:
        print(json.dumps(measure(options.reader, options.file)))
        return
    if not process_memory.is_measurable():
        print("data: not measured, memory can be read on Linux only")
        return
    if options.output is None:
        parser.error("--output is needed")
    num_images, rounds = (2_000, 1) if options.quick else (options.images, ROUNDS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instances.json"
        num_objects = write_annotations(path, num_images)
        size = path.stat().st_size
        print(f"{num_images} images, {num_objects} objects, {size / 1e6:.0f} MB")
        samples = {reader: list[dict[str, float]]() for reader in READERS}
        for _ in range(rounds):
            for reader in READERS:
                samples[reader].append(in_a_new_process(reader, path))
    rows = []
    print(f"{'':14}{'s':>8}{'CPU s':>8}{'images/s':>10}{'MB held':>9}{'MB peak':>9}")
    for reader, found in samples.items():
        middle = {key: statistics.median(one[key] for one in found) for key in found[0]}
        rows.append({"reader": reader, **middle, "samples": found})
        print(
            f"{reader:14}{middle['seconds']:8.2f}{middle['cpu_seconds']:8.2f}"
            f"{num_images / middle['seconds']:10.0f}"
            f"{middle['held_bytes'] / 1e6:9.0f}{middle['peak_bytes'] / 1e6:9.0f}"
        )
    facts = {"images": num_images, "objects": num_objects, "bytes": size}
    save_json(options.output, "data", rows, **facts)


if __name__ == "__main__":
    main()
