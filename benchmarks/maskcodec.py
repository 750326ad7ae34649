"""The codec's steps, from image masks to vectors to run lengths, one thread, NumPy and torch."""

import argparse
import os

# Read when NumPy's and torch's libraries are loaded.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import save_json, time_us
from numpy.typing import NDArray

from solq_maskcodec import DCTMaskCodec, crop_masks, masks_to_rle, paste_masks

REPEATS = 21
HEIGHT, WIDTH = IMAGE_SIZE = 480, 640
COUNTS = (1, 100)


def scene(count: int) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Ellipses, 60 to 360 pixels long, some of them cut by the border, and their boxes."""
    random = np.random.default_rng(0)
    radii = random.uniform(30, 180, (count, 2))
    centres = random.uniform(0, [HEIGHT, WIDTH], (count, 2))
    rows, columns = np.arange(HEIGHT)[:, None], np.arange(WIDTH)
    masks = np.zeros((count, HEIGHT, WIDTH), bool)
    for index, ((y, x), (b, a)) in enumerate(zip(centres, radii, strict=True)):
        masks[index] = ((rows + 0.5 - y) / b) ** 2 + ((columns + 0.5 - x) / a) ** 2 < 1
    boxes = np.concatenate([centres - radii, centres + radii], axis=1)[:, [1, 0, 3, 2]]
    return masks, np.clip(boxes, 0, [WIDTH, HEIGHT] * 2).astype(np.float32)


def steps(masks: Any, boxes: Any) -> dict[str, Callable[[], object]]:
    """Each step on the output of the one before it."""
    codec = DCTMaskCodec()
    crops = crop_masks(masks, boxes, codec.mask_size)
    vectors = codec.encode(crops)
    decoded = codec.decode(vectors, threshold="midrange")
    pasted = paste_masks(decoded, boxes, IMAGE_SIZE)
    return {
        "crop": lambda: crop_masks(masks, boxes, codec.mask_size),
        "encode": lambda: codec.encode(crops),
        "decode": lambda: codec.decode(vectors, threshold="midrange"),
        "paste": lambda: paste_masks(decoded, boxes, IMAGE_SIZE),
        "rle": lambda: masks_to_rle(pasted),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    print(f"{'step':8}{'arrays':8}{'masks':>6}{'median':>10}{'IQR':>9}  (us a mask)")
    for count in COUNTS:
        masks, boxes = scene(count)
        kinds = {"numpy": (masks, boxes), "torch": (torch.tensor(masks), torch.tensor(boxes))}
        for kind, inputs in kinds.items():
            for step, function in steps(*inputs).items():
                times = {
                    f"{key}_us": value / count
                    for key, value in time_us(function, repeats=REPEATS).items()
                }
                case = {"step": step, "arrays": kind, "masks": count, "image_size": IMAGE_SIZE}
                rows.append({**case, **times})
                print(f"{step:8}{kind:8}{count:6}{times['median_us']:10.1f}{times['iqr_us']:9.1f}")
    save_json(options.output, "maskcodec", rows)


if __name__ == "__main__":
    main()
