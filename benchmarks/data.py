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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import process_memory
from common import save_json
from data_workers import METHODS, measure_workers

ROUNDS, FULL_ROUNDS = 3, 1  # the full-size file takes pycocotools most of a minute
# COCO's own means, of train2017: 7.3 objects an image, some 30 corners an object.
OBJECTS, FEWEST_CORNERS, MOST_CORNERS = 7.3, 8, 55
HEIGHT, WIDTH, CATEGORIES = 480, 640, 80
FULL_SIZE = 118_000  # images; train2017 has 118,287 with 860,001 objects
SHAPES = 20_000  # the objects are these again and again: more of them only take longer to write
READERS = ("pycocotools", "read_coco", "check")


def write_annotations(path: Path, num_images: int) -> int:
    """Writes random star-shaped polygons with true boxes and areas; the number of objects."""
    random = np.random.default_rng(0)
    shapes = [json.dumps(_shape(random))[1:-1] for _ in range(SHAPES)]
    counts = random.poisson(OBJECTS, num_images)
    num_objects = int(counts.sum())
    image_ids = np.repeat(np.arange(1, num_images + 1), counts).tolist()
    kinds = random.integers(1, CATEGORIES + 1, num_objects).tolist()
    chosen = random.integers(0, SHAPES, num_objects).tolist()
    size = f'"height": {HEIGHT}, "width": {WIDTH}'
    images = (
        f'{{"id": {number}, "file_name": "{number:012d}.jpg", {size}}}'
        for number in range(1, num_images + 1)
    )
    annotations = (
        f'{{"id": {number}, "image_id": {image}, "category_id": {kind}, {shapes[shape]}}}'
        for number, (image, kind, shape) in enumerate(
            zip(image_ids, kinds, chosen, strict=True), start=1
        )
    )
    categories = [{"id": number, "name": f"kind {number}"} for number in range(1, CATEGORIES + 1)]
    with path.open("w", encoding="utf-8") as file:
        for name, entries in (("images", images), ("annotations", annotations)):
            file.write(f'{"{" if name == "images" else ""}"{name}": [')
            file.write(", ".join(entries))
            file.write("], ")
        file.write(f'"categories": {json.dumps(categories)}}}')
    return num_objects


def _shape(random: np.random.Generator) -> dict[str, Any]:
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
        "iscrowd": 0,
        "bbox": [*low.tolist(), *(high - low).round(2).tolist()],
        "area": float(area),
        "segmentation": [points.ravel().tolist()],
    }


Row = dict[str, Any]


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
    left = process_memory.resident() - before
    held = process_memory.settle() - before
    assert found
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_bytes": peak,
        "resident_bytes": left,
        "held_bytes": held,
    }


def in_a_new_process(what: str, reader: str, path: Path) -> Any:
    command = [sys.executable, __file__, "--measure", what, reader, str(path)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])


def reading(path: Path, num_images: int, readers: Sequence[str], rounds: int) -> list[Row]:
    """A row for each reader: they take turns, and ratios are those within a round."""
    samples: dict[str, list[dict[str, float]]] = {reader: [] for reader in readers}
    for _ in range(rounds):
        for reader in readers:
            samples[reader].append(in_a_new_process("reading", reader, path))
    rows: list[Row] = []
    units = f"{'s':>8}{'CPU s':>8}{'images/s':>10}{'MB peak':>9}{'MB left':>9}{'MB held':>9}"
    print(f"{'':14}{units}{'x pycocotools, s':>18}{'CPU s':>8}")
    for reader, found in samples.items():
        middle = {key: statistics.median(one[key] for one in found) for key in found[0]}
        ratios = {
            f"{key}_of_pycocotools": statistics.median(
                one[key] / base[key]
                for one, base in zip(found, samples["pycocotools"], strict=True)
            )
            for key in ("seconds", "cpu_seconds")
        }
        rows.append({"reader": reader, "images": num_images, **middle, **ratios, "samples": found})
        megabytes = [middle[f"{key}_bytes"] / 1e6 for key in ("peak", "resident", "held")]
        print(
            f"{reader:14}{middle['seconds']:8.2f}{middle['cpu_seconds']:8.2f}"
            f"{num_images / middle['seconds']:10.0f}"
            + "".join(f"{number:9.0f}" for number in megabytes)
            + "{:18.2f}{:8.2f}".format(*ratios.values())
        )
    return rows


def workers(path: Path) -> list[Row]:
    """A row for each number of workers, of each reader and way to start them."""
    rows: list[Row] = []
    print(f"{'':14}{'start':8}{'workers':>8}{'MB in all':>11}{'MB of records':>15}")
    for reader in METHODS:
        for row in in_a_new_process("workers", reader, path):
            rows.append(row)
            print(
                f"{reader:14}{row['start_method']:8}{row['workers']:8}"
                f"{row['total_bytes'] / 1e6:11.0f}{row['bytes_of_records'] / 1e6:15.0f}"
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="the JSON file to write")
    parser.add_argument("--images", type=int, default=20_000, help="images of the made-up file")
    parser.add_argument(
        "--full-images", type=int, default=FULL_SIZE, help="images of the one as large as COCO's"
    )
    parser.add_argument("--quick", action="store_true", help="2,000 images, once")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        what, reader, file = options.measure
        result = (measure if what == "reading" else measure_workers)(reader, Path(file))
        print(json.dumps(result))
        return
    if not process_memory.is_measurable():
        print("data: not measured, memory can be read on Linux only")
        return
    if options.output is None:
        parser.error("--output is needed")
    sizes = (2_000, 2_000) if options.quick else (options.images, options.full_images)
    rounds = 1 if options.quick else ROUNDS
    cases = (("small", sizes[0], READERS, rounds), ("full", sizes[1], READERS[:2], FULL_ROUNDS))
    facts = {}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instances.json"
        for name, count, readers, repeats in cases:
            num_objects = write_annotations(path, count)
            size = path.stat().st_size
            print(f"{count} images, {num_objects} objects, {size / 1e6:.0f} MB")
            facts[name] = {"images": count, "objects": num_objects, "bytes": size}
            rows += reading(path, count, readers, repeats)
        rows += workers(path)
    save_json(options.output, "data", rows, files=facts)


if __name__ == "__main__":
    main()
