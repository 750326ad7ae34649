"""SOLQ's published path, written anew for its cost: the same libraries, steps and loops.

One mask at a time, tensors in and out, as models/solq.py encodes targets and decodes predictions,
detectron2 pastes them on a CPU, and datasets/coco_eval.py writes them as run lengths. Needs OpenCV
and pycocotools, which are imported on the first use.
"""

import importlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from solq_maskcodec import zigzag_order


class PublishedPath:
    """Masks → vectors → masks → masks in the image → run lengths."""

    def __init__(self, num_coefficients: int = 256, mask_size: int = 128) -> None:
        self.opencv: Any = importlib.import_module("cv2")
        self.opencv.setNumThreads(0)
        self.pycocotools: Any = importlib.import_module("pycocotools.mask")
        self.num_coefficients, self.mask_size = num_coefficients, mask_size
        # A list, which becomes a tensor anew for each mask.
        self.table: list[int] = zigzag_order(mask_size)[:num_coefficients].tolist()

    def encode(self, masks: Tensor) -> Tensor:
        """Vectors, float32 [instances, coefficients], of float masks [instances, size, size]."""
        vectors = []
        for index in range(len(masks)):
            binary = ((masks[index] >= 0.5) * 1).to(torch.uint8)
            spectrum = self.opencv.dct(binary.cpu().numpy().astype(np.float32))
            coefficients = torch.from_numpy(spectrum).flatten()[torch.tensor(self.table)]
            vectors.append(coefficients.unsqueeze(0))
        return torch.cat(vectors)

    def decode(self, vectors: Tensor) -> Tensor:
        """Masks of 0 and 1, float32 [instances, size, size], of vectors."""
        masks = []
        for vector in vectors:
            padded = np.zeros(self.mask_size**2)
            padded[: self.num_coefficients] = vector.cpu().numpy()
            values = self.opencv.idct(walk_back(padded, self.mask_size))
            middle = (np.max(values) + np.min(values)) / 2.0
            masks.append(torch.from_numpy(np.where(values > middle, 1, 0))[None].float())
        return torch.cat(masks)

    def to_rle(
        self, vectors: Tensor, boxes: Tensor, image_size: tuple[int, int]
    ) -> list[dict[str, Any]]:
        """COCO RLEs of the decoded masks in their boxes."""
        pasted = paste_one_by_one(self.decode(vectors), boxes, image_size).unsqueeze(1).cpu()
        return self.encode_one_by_one(pasted)

    def encode_one_by_one(self, pasted: Tensor) -> list[dict[str, Any]]:
        """COCO RLEs of bool masks [instances, 1, height, width], each laid out by columns first.

        Without the `masks > 0.5` that comes before it there, and changes nothing: how long torch
        takes for that is up to its version, and in 2.15 longer than all of the rest here.
        """
        rles = [
            self.pycocotools.encode(np.array(mask[0, :, :, np.newaxis], dtype=np.uint8, order="F"))[
                0
            ]
            for mask in pasted
        ]
        for rle in rles:
            rle["counts"] = rle["counts"].decode("utf-8")
        return rles


def walk_back(values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """The matrix whose zigzag walk gives the values: all of them, one by one, in Python.

    As costly as the published walk: each case asks for all that it depends on, where a part would
    do, and so does the end.
    """
    matrix = np.zeros((size, size))
    row = column = index = 0
    while row < size and column < size:
        matrix[row, column] = values[index]
        index = index + 1
        if (row + column) % 2 == 0:  # upwards, to the right
            if column == size - 1:
                row = row + 1
            elif row == 0:
                column = column + 1
            elif row > 0 and column < size - 1:
                row = row - 1
                column = column + 1
        elif row == size - 1 and column <= size - 1:  # downwards, to the left
            column = column + 1
        elif column == 0:
            row = row + 1
        elif row < size - 1 and column > 0:
            row = row + 1
            column = column - 1
        if row == size - 1 and column == size - 1:
            matrix[row, column] = values[index]
            break
    return matrix


def paste_one_by_one(masks: Tensor, boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
    """bool [instances, height, width]: detectron2's `paste_masks_in_image` on a CPU.

    Only the pixels of a box and one around it are sampled; the rest of its image stays empty.
    """
    height, width = image_size
    pasted = torch.zeros(len(masks), height, width, dtype=torch.bool)
    for one in torch.arange(len(masks)).split(1):
        region, rows, columns = sample_region(masks[one, None], boxes[one], image_size)
        pasted[one, rows, columns] = (region >= 0.5).to(torch.bool)
    return pasted


def sample_region(
    mask: Tensor, box: Tensor, image_size: tuple[int, int]
) -> tuple[Tensor, slice, slice]:
    """What a mask [1, 1, size, size] is at the pixels of its box [1, 4], and which they are."""
    height, width = image_size
    low = torch.clamp(box.min(dim=0).values.floor()[:2] - 1, min=0).to(torch.int32)
    right = torch.clamp(box[:, 2].max().ceil() + 1, max=width).to(torch.int32)
    bottom = torch.clamp(box[:, 3].max().ceil() + 1, max=height).to(torch.int32)
    left, top = low
    x0, y0, x1, y1 = torch.split(box, 1, dim=1)
    y = torch.arange(int(top), int(bottom), dtype=torch.float32) + 0.5
    x = torch.arange(int(left), int(right), dtype=torch.float32) + 0.5
    y = (y - y0) / (y1 - y0) * 2 - 1
    x = (x - x0) / (x1 - x0) * 2 - 1
    grid_size = (1, y.shape[1], x.shape[1])
    grid = torch.stack([x[:, None, :].expand(grid_size), y[:, :, None].expand(grid_size)], dim=3)
    region = F.grid_sample(mask, grid, align_corners=False)[:, 0]
    return region, slice(int(top), int(bottom)), slice(int(left), int(right))
