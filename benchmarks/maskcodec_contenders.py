"""Who takes part in the `maskcodec` suite: our codec's forms, the published path, the peers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from maskcodec_peers import compositions, cosines, installed_peers, transforms
from maskcodec_published import PublishedPath
from maskcodec_scenes import SIZE, Scene
from numpy.typing import NDArray

from solq_maskcodec import DCTMaskCodec, native, zigzag_order

Calls = dict[str, Callable[[], Any]]

# Names of forms of our own begin with this.
OURS = "solq_maskcodec"
PUBLISHED = "published path"
# In the rounds that are held against the arithmetic that the machine can do.
PRODUCTS = {"product in NumPy": np.ones, "product in torch": torch.ones}
PRODUCT_SIZE = 1024

NUM_COEFFICIENTS = 256
CODEC = DCTMaskCodec(NUM_COEFFICIENTS, SIZE)
THRESHOLDS: tuple[float | str, ...] = ("midrange", "isodata", 0.5)


class Contenders:
    """All that can be measured here; `state` says which peers were found."""

    def __init__(self) -> None:
        self.modules, self.state = installed_peers()
        self.transforms = transforms(self.modules, NUM_COEFFICIENTS, SIZE)
        present = {"cv2", "pycocotools.mask"} <= set(self.modules)
        self.published = PublishedPath(NUM_COEFFICIENTS, SIZE) if present else None

    def encode(self, masks: NDArray[np.bool_]) -> Calls:
        """Vectors of the masks, which are float32, and bool where it is said."""
        array = masks.astype(np.float32)
        tensor = torch.from_numpy(array)
        calls: Calls = {
            OURS: partial(CODEC.encode, array),
            f"{OURS} bool": partial(CODEC.encode, masks),
            f"{OURS} torch": partial(CODEC.encode, tensor),
        }
        if self.published:
            calls[PUBLISHED] = partial(self.published.encode, tensor)
        return calls | {
            each.name: partial(each.encode, tensor if each.is_torch else array)
            for each in self.transforms
        }

    def decode(self, vectors: NDArray[np.float32], with_published: bool) -> Calls:
        """Masks of the vectors, by the published threshold unless the name has another."""
        tensor = torch.from_numpy(vectors)
        calls: Calls = {}
        for threshold in THRESHOLDS:
            suffix = "" if threshold == "midrange" else f" {threshold}"
            calls[OURS + suffix] = partial(CODEC.decode, vectors, threshold)
            calls[f"{OURS} torch{suffix}"] = partial(CODEC.decode, tensor, threshold)
        if self.published and with_published:
            calls[PUBLISHED] = partial(self.published.decode, tensor)
        return calls | {
            each.name: partial(each.decode, tensor if each.is_torch else vectors)
            for each in self.transforms
            if each.decode
        }

    def rle(self, vectors: NDArray[np.float32], scene: Scene) -> Calls:
        """RLEs of the vectors in their boxes, by the published threshold unless the name differs.

        "by rows" and "by columns" stand behind the peers that are composed, see `compositions`.
        """
        arguments = (vectors, scene.boxes, scene.image_size)
        ours = partial(CODEC.decode_to_rle, *arguments, threshold="midrange")
        calls: Calls = {}
        if native.kernel:
            calls |= {
                OURS: ours,
                f"{OURS} 2 threads": partial(ours, num_threads=2),
                f"{OURS} isodata": partial(ours, threshold="isodata"),
            }

        def without_kernel() -> object:
            with numpy_only():
                return ours()

        calls[f"{OURS} NumPy only"] = without_kernel
        if self.published:
            tensors = torch.from_numpy(vectors), torch.from_numpy(scene.boxes)
            calls[PUBLISHED] = partial(self.published.to_rle, *tensors, scene.image_size)
        # The quickest of the peers.
        decode = next((each.decode for each in self.transforms if each.name == "scipy.fft"), None)
        if decode:
            composed = compositions(self.modules, decode)
            calls |= {name: partial(run, *arguments) for name, run in composed.items()}
        return calls


@contextmanager
def numpy_only() -> Iterator[None]:
    """As if solq-maskcodec was installed without a compiler."""
    with patch.object(native, "kernel", None):
        yield


def products() -> Calls:
    """One large product in float32, in each library."""
    calls: Calls = {}
    for name, ones in PRODUCTS.items():
        matrix: Any = ones((PRODUCT_SIZE, PRODUCT_SIZE))
        matrix = matrix.astype(np.float32) if isinstance(matrix, np.ndarray) else matrix
        calls[name] = partial(lambda matrix: matrix @ matrix, matrix)
    return calls


def products_of(step: str) -> int:
    """Additions and multiplications of a mask's two products with the truncated bases."""
    rows, columns = np.divmod(zigzag_order(SIZE)[:NUM_COEFFICIENTS], SIZE)
    height, width = int(rows.max()) + 1, int(columns.max()) + 1
    # The order of the two that costs less: encoding shortens the image's rows first, decoding
    # lengthens the corner's rows first.
    first = {"encode": SIZE * SIZE * width, "decode": height * width * SIZE}[step]
    second = {"encode": height * SIZE * width, "decode": SIZE * height * SIZE}[step]
    return 2 * (first + second)


def exact_vectors(masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The DCT by its definition, float64."""
    matrix = cosines(SIZE)
    spectra = matrix @ masks.astype(np.float64) @ matrix.T
    return spectra.reshape(-1, SIZE * SIZE)[:, zigzag_order(SIZE)[:NUM_COEFFICIENTS]]


def exact_masks(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """What the published rule makes of vectors, in float64."""
    matrix = cosines(SIZE)
    spectra = np.zeros((len(vectors), SIZE * SIZE))
    spectra[:, zigzag_order(SIZE)[:NUM_COEFFICIENTS]] = vectors
    values = matrix.T @ spectra.reshape(-1, SIZE, SIZE) @ matrix
    middle = (values.max((1, 2), keepdims=True) + values.min((1, 2), keepdims=True)) / 2
    return values > middle
