"""Vectors of 100 predictions an image → COCO numbers of a data set, three ways; one thread.

What the network says is made up from the ground truth: its vectors with noise, its boxes shifted a
little, as often as it takes to have 100 an image. So masks are as large and as ragged as real ones.
"""

import argparse
import os

# Read when NumPy's and torch's libraries are loaded.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import save_json
from maskcodec_published import PublishedPath
from torch import Tensor

from solq_maskcodec import DCTMaskCodec, crop_masks, masks_to_rle, paste_masks
from solq_model import Instances
from solq_model.categories import Categories
from solq_train.data.coco import CocoImage, annotation_mask, read_coco
from solq_train.data.dataset import clipped_boxes, has_area
from solq_train.metrics import CocoEvaluator
from solq_train.metrics.coco_ap import Detection, coco_metrics

PREDICTIONS = 100
ROUNDS = 3
CODEC = DCTMaskCodec(threshold="midrange")
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "coco_mini_cc"
Rles = list[dict[str, Any]]


def predicted(image: CocoImage, categories: Categories) -> Instances | None:
    """100 predictions like the objects of the image; None for an image without any."""
    image_size = (image.height, image.width)
    objects = [entry for entry in image.annotations if not entry.is_crowd]
    boxes = clipped_boxes(objects, image_size)
    kept = has_area(boxes)
    if not kept.any():
        return None
    masks = np.stack([annotation_mask(entry, image_size) for entry in objects])
    crops = crop_masks(masks[kept.numpy()], boxes[kept].numpy(), CODEC.mask_size)
    vectors = torch.from_numpy(CODEC.encode(crops))
    slots = torch.tensor([categories.slot_of(entry.category_id) for entry in objects])[kept]
    random = torch.Generator().manual_seed(image.id)
    chosen = torch.randint(len(vectors), (PREDICTIONS,), generator=random)
    noise = 0.1 * torch.randn(PREDICTIONS, CODEC.num_coefficients, generator=random)
    shift = 0.05 * torch.randn(PREDICTIONS, 4, generator=random)
    corners = boxes[kept][chosen]
    sides = (corners[:, 2:] - corners[:, :2]).repeat(1, 2)
    return Instances(
        scores=torch.rand(PREDICTIONS, generator=random).sort(descending=True).values,
        labels=slots[chosen],
        boxes=corners + shift.clamp(-0.2, 0.2) * sides,
        mask_vectors=vectors[chosen] + noise * vectors.std(0, correction=0).clamp_min(0.1),
        codec=CODEC,
        image_size=image_size,
    )


def in_the_image(instances: Instances) -> Rles:
    """As this project did until now: decoded, pasted 16 at a time, then encoded."""
    boxes = instances.boxes.numpy()
    decoded = instances.box_masks.numpy()
    rles: Rles = []
    for start in range(0, len(instances), 16):
        chunk = slice(start, start + 16)
        pasted = paste_masks(decoded[chunk], boxes[chunk], instances.image_size)
        rles += masks_to_rle(pasted)
    return rles


def ways() -> dict[str, Callable[[Instances], Rles]]:
    """Instances → RLEs; the published path first, where its libraries are installed."""
    ours = {"in the image": in_the_image, "decode_to_rle": Instances.rle}
    try:
        published = PublishedPath()
    except ImportError as error:
        print(f"published path: not measured, {error} (--peers)")
        return ours

    def as_published(instances: Instances) -> Rles:
        vectors: Tensor = instances.mask_vectors
        return published.to_rle(vectors, instances.boxes, instances.image_size)

    return {"published": as_published, **ours}


def timed_by_image(
    found: list[Instances], functions: dict[str, Callable[[Instances], Rles]]
) -> tuple[dict[str, list[float]], dict[str, list[Rles]]]:
    """Seconds of each image by each way, the ways side by side at each image; and the RLEs."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    rles: dict[str, list[Rles]] = {name: [] for name in functions}
    order = list(functions)
    for instances in found:
        order.reverse()
        for name in order:
            start = time.perf_counter()
            result = functions[name](instances)
            seconds[name].append(time.perf_counter() - start)
            rles[name].append(result)
    return seconds, rles


def detections(
    image_ids: list[int], found: list[Instances], rles: list[Rles], categories: Categories
) -> Iterator[Detection]:
    """COCO's result format."""
    for image_id, instances, strings in zip(image_ids, found, rles, strict=True):
        corners = instances.boxes.tolist()
        labels, scores = instances.labels.tolist(), instances.scores.tolist()
        for (x0, y0, x1, y1), slot, score, rle in zip(
            corners, labels, scores, strings, strict=True
        ):
            category = categories.category_of(slot)
            assert category is not None
            yield {
                "image_id": image_id,
                "category_id": category.id,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "segmentation": rle,
                "score": score,
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    parser.add_argument(
        "--annotations",
        type=Path,
        default=DATA / "annotations" / "instances_val2017.json",
        help="a COCO annotation file; the images are not read",
    )
    options = parser.parse_args()
    if not options.annotations.exists():
        print(f"evaluation: not measured, {options.annotations.name} is not there (--annotations)")
        return
    torch.set_num_threads(1)
    coco = read_coco(options.annotations)
    categories = Categories.contiguous(coco.categories)
    pairs = [(image.id, predicted(image, categories)) for image in coco.images]
    image_ids = [image_id for image_id, instances in pairs if instances is not None]
    found = [instances for _, instances in pairs if instances is not None]
    functions = ways()
    base = next(iter(functions))
    for function in functions.values():  # what happens once is not what is measured
        function(found[0].select(torch.arange(3)))

    totals: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(ROUNDS):
        seconds, rles = timed_by_image(found, functions)
        for name in functions:
            totals[name].append(sum(seconds[name]))
    assert rles["decode_to_rle"] == rles["in the image"]
    strings = [
        sum(one == other for one, other in zip(a, b, strict=True))
        for a, b in zip(rles[base], rles["decode_to_rle"], strict=True)
    ]

    start = time.perf_counter()
    metrics = coco_metrics(
        coco, list(detections(image_ids, found, rles["decode_to_rle"], categories))
    )
    scoring = time.perf_counter() - start
    start = time.perf_counter()
    evaluator = CocoEvaluator(options.annotations)
    for image_id, instances in zip(image_ids, found, strict=True):
        evaluator.add(image_id, instances, categories)
    assert evaluator.summarize().to_dict() == metrics.to_dict()
    harness = time.perf_counter() - start

    rows = []
    print(f"{len(found)} images, {PREDICTIONS} predictions each, {ROUNDS} rounds")
    print(f"{'vectors to run lengths':24}{'s':>9}{'ms an image':>13}{'times as fast':>15}")
    for name in functions:
        ratios = np.divide(totals[base], totals[name])
        median = float(np.median(totals[name]))
        ratio = float(np.median(ratios))
        rows.append(
            {
                "path": name,
                "images": len(found),
                "predictions": PREDICTIONS,
                "seconds": totals[name],
                "median_s": median,
                f"times {base}": ratio,
                "with_scoring_s": median + scoring,
            }
        )
        print(f"{name:24}{median:9.3f}{median / len(found) * 1e3:13.2f}{ratio:15.1f}")
    same = sum(strings)
    print(f"strings equal to those of {base!r}: {same} of {len(found) * PREDICTIONS}")
    print(
        f"pycocotools, box and mask AP: {scoring:.2f} s; the harness's evaluator: {harness:.2f} s"
    )
    facts = {
        "scoring_s": scoring,
        "harness_s": harness,
        "equal_strings": same,
        "mask_ap": metrics.segm.AP,
    }
    save_json(options.output, "evaluation", rows, **facts)


if __name__ == "__main__":
    main()
