"""What other libraries offer for the same task: whole transforms, and writers of run lengths."""

import importlib
import importlib.metadata
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from maskcodec_published import paste_one_by_one, sample_region
from numpy.typing import NDArray
from torch import Tensor

from solq_maskcodec import zigzag_order

Writer = Callable[[NDArray[np.bool_]], list[dict[str, Any]]]

# Modules of the peers and of the published path, and the distributions they come from.
MODULES = {
    "cv2": "opencv-python-headless",
    "pycocotools.mask": "pycocotools",
    "scipy.fft": "scipy",
    "torch_dct": "torch-dct",
    "ultrafast_pycocotools.mask": "ultrafast-pycocotools",
    "rlemasklib": "rlemasklib",
    "hotcoco.mask": "hotcoco",
    "faster_coco_eval.core.mask": "faster-coco-eval",
}
COCO_WRITERS = (
    "pycocotools.mask",
    "ultrafast_pycocotools.mask",
    "hotcoco.mask",
    "faster_coco_eval.core.mask",
)


def installed_peers() -> tuple[dict[str, ModuleType], dict[str, str]]:
    """The modules that can be imported, and of each distribution the version or what is wrong."""
    modules, state = {}, {}
    for name, distribution in MODULES.items():
        try:
            modules[name] = importlib.import_module(name)
        except ImportError as error:
            absent = isinstance(error, ModuleNotFoundError)
            state[distribution] = "not installed" if absent else f"not available: {error}"
            continue
        state[distribution] = importlib.metadata.version(distribution)
    return modules, state


@dataclass(frozen=True, kw_only=True)
class Transform:
    """Vectors of float32 masks [instances, size, size], and bool masks of vectors."""

    name: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any] | None = None  # by the published rule, "midrange"
    is_torch: bool = True


def transforms(
    modules: dict[str, ModuleType], num_coefficients: int, mask_size: int
) -> list[Transform]:
    """Those that compute all coefficients, or all pixels of a full spectrum, and pick."""
    order = zigzag_order(mask_size)[:num_coefficients]
    rows, columns = np.divmod(order, mask_size)

    def spectra_of(vectors: Tensor) -> Tensor:
        spectra = torch.zeros(len(vectors), mask_size, mask_size)
        spectra[:, rows, columns] = vectors
        return spectra

    matrix = torch.from_numpy(cosines(mask_size)).float()
    found = [
        # PatchDCT's (mask_encoding_V2.py): products with the whole matrix.
        Transform(
            name="dense product",
            encode=lambda masks: (matrix @ masks @ matrix.T)[:, rows, columns],
            decode=lambda vectors: above_midrange(matrix.T @ spectra_of(vectors) @ matrix),
        )
    ]
    if library := modules.get("torch_dct"):

        def encode_in(dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
            return lambda masks: library.dct_2d(masks.to(dtype), norm="ortho")[:, rows, columns]

        def decode_with_torch_dct(vectors: Tensor) -> Tensor:
            return above_midrange(library.idct_2d(spectra_of(vectors), norm="ortho"))

        # DCT-Mask and SOLQ's dct_v2.py encode in float64, and decode in the vectors' float32.
        found += [
            Transform(name="torch-dct float64", encode=encode_in(torch.float64)),
            Transform(
                name="torch-dct", encode=encode_in(torch.float32), decode=decode_with_torch_dct
            ),
        ]
    if fft := modules.get("scipy.fft"):

        def encode_with_scipy(masks: NDArray[np.float32]) -> NDArray[np.float32]:
            spectra = fft.dctn(masks, axes=(1, 2), norm="ortho")
            return spectra.reshape(-1, mask_size**2).take(order, 1)

        def decode_with_scipy(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
            spectra = np.zeros((len(vectors), mask_size**2), np.float32)
            spectra[:, order] = vectors
            spectra = spectra.reshape(-1, mask_size, mask_size)
            values = fft.idctn(spectra, axes=(1, 2), norm="ortho", overwrite_x=True)
            largest, smallest = values.max((1, 2), keepdims=True), values.min((1, 2), keepdims=True)
            return values > (largest + smallest) / 2

        found.append(
            Transform(
                name="scipy.fft",
                encode=encode_with_scipy,
                decode=decode_with_scipy,
                is_torch=False,
            )
        )
    return found


def cosines(size: int) -> NDArray[np.float64]:
    """The orthonormal DCT-II matrix, [frequencies, positions]."""
    positions = (2 * np.arange(size) + 1) / (2 * size)
    matrix = np.cos(np.pi * np.arange(size)[:, None] * positions) * np.sqrt(2 / size)
    matrix[0] = np.sqrt(1 / size)
    return matrix


def above_midrange(values: Tensor) -> Tensor:
    largest, smallest = values.amax((1, 2), keepdim=True), values.amin((1, 2), keepdim=True)
    return values > (largest + smallest) / 2


def compositions(
    modules: dict[str, ModuleType], decode: Callable[[NDArray[np.float32]], NDArray[np.bool_]]
) -> dict[str, Callable[..., list[dict[str, Any]]]]:
    """Vectors, boxes and image size → RLEs, through each of the libraries that write them.

    All `decode` alike and sample pixels with `grid_sample`. "by rows": pasted as detectron2 does,
    then laid out by columns where the writer wants that. "by columns": the same pixels stored that
    way in the first place, which no library does, but whoever puts them together may.
    """

    def compose(
        paste: Callable[[Tensor, Tensor, tuple[int, int]], NDArray[np.bool_]], write: Writer
    ) -> Callable[..., list[dict[str, Any]]]:
        def run(
            vectors: NDArray[np.float32], boxes: NDArray[np.float32], image_size: tuple[int, int]
        ) -> list[dict[str, Any]]:
            masks = torch.from_numpy(decode(vectors)).float()
            return write(paste(masks, torch.from_numpy(boxes), image_size))

        return run

    return {
        f"{name}, by rows": compose(paste_by_rows, write)
        for name, write in row_writers(modules).items()
    } | {
        f"{name}, by columns": compose(paste_by_columns, write)
        for name, write in column_writers(modules).items()
    }


def paste_by_rows(masks: Tensor, boxes: Tensor, image_size: tuple[int, int]) -> NDArray[np.bool_]:
    """bool [instances, height, width]."""
    return paste_one_by_one(masks, boxes, image_size).numpy()


def paste_by_columns(
    masks: Tensor, boxes: Tensor, image_size: tuple[int, int]
) -> NDArray[np.bool_]:
    """bool [instances, width, height], with the same pixels."""
    height, width = image_size
    pasted = np.zeros((len(masks), width, height), np.bool_)
    for index in range(len(masks)):
        one = slice(index, index + 1)
        region, rows, columns = sample_region(masks[one, None], boxes[one], image_size)
        pasted[index, columns, rows] = (region[0] >= 0.5).numpy().T
    return pasted


def column_writers(modules: dict[str, ModuleType]) -> dict[str, Writer]:
    """COCO RLEs of bool masks [instances, width, height]."""
    found: dict[str, Writer] = {}
    for name in COCO_WRITERS:
        if module := modules.get(name):
            # faster-coco-eval starts threads, and has no switch for them.
            cores = one_core if name == "faster_coco_eval.core.mask" else nullcontext
            found[MODULES[name]] = partial(write_columns, module, cores)
    return found


def write_columns(
    module: ModuleType,
    cores: Callable[[], AbstractContextManager[None]],
    masks: NDArray[np.bool_],
) -> list[dict[str, Any]]:
    with cores():
        # [height, width, instances] with the strides of Fortran, which the COCO API asks for.
        return with_strings(module.encode(masks.view(np.uint8).transpose(2, 1, 0)))


def row_writers(modules: dict[str, ModuleType]) -> dict[str, Writer]:
    """COCO RLEs of bool masks [instances, height, width]."""

    def transposing(write: Writer) -> Writer:
        return lambda masks: write(np.ascontiguousarray(masks.transpose(0, 2, 1)))

    found = {name: transposing(write) for name, write in column_writers(modules).items()}
    # These two take rows as they are.
    if hotcoco := modules.get("hotcoco.mask"):
        found["hotcoco"] = lambda masks: with_strings([hotcoco.encode(mask) for mask in masks])
    if rlemasklib := modules.get("rlemasklib"):
        found["rlemasklib"] = lambda masks: with_strings(rlemasklib.encode(masks, batch_first=True))
    if pycocotools := modules.get("pycocotools.mask"):
        found["SAM's tensors"] = lambda masks: write_like_sam(pycocotools, torch.from_numpy(masks))
    return found


def write_like_sam(pycocotools: ModuleType, masks: Tensor) -> list[dict[str, Any]]:
    """SAM's way (utils/amg.py): changes found by tensor operations, counts as Python lists."""
    _, height, width = masks.shape
    pixels = masks.permute(0, 2, 1).flatten(1)
    changes = (pixels[:, 1:] ^ pixels[:, :-1]).nonzero()
    rles = []
    for index, mask in enumerate(pixels):
        ends = changes[changes[:, 0] == index, 1] + 1
        ends = torch.cat([ends.new_tensor([0]), ends, ends.new_tensor([height * width])])
        counts = ([0] if mask[0] else []) + ends.diff().tolist()
        rle = {"size": [height, width], "counts": counts}
        rles.append(pycocotools.frPyObjects(rle, height, width))
    return with_strings(rles)


def with_strings(rles: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The RLEs with counts as str, as JSON takes them."""
    return [{"size": list(rle["size"]), "counts": rle["counts"].decode()} for rle in rles]


@contextmanager
def one_core() -> Iterator[None]:
    """Threads that are started within stay on one core, where the system lets us say so."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
