"""The vectors of a data set ↔ a file that holds all that decoding them needs."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..atomic import atomic_file
from ..codecs.dct_codec import DCTMaskCodec
from ..packing import pack, unpack
from ..validate import checked_boxes
from .encoded_dataset import EncodedDataset

_FORMAT = "solq-maskcodec vectors"
_VERSION = 1

# The arrays of a file: kind of numbers, and the shape after the instances.
_ARRAYS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "boxes": (np.float32, (4,)),
    "image_sizes": (np.int64, (2,)),
    "image_ids": (np.int64, ()),
    "category_ids": (np.int64, ()),
    "annotation_ids": (np.int64, ()),
}

# What NumPy and zipfile raise for a file that is cut off, changed or of another kind.
_BROKEN = (
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def write_vectors(
    path: Path, dataset: EncodedDataset, dtype: Literal["float16", "int8"] = "float16"
) -> None:
    """Write the file: NumPy's .npz, with the vectors as `pack` makes them of this type."""
    header = {"format": _FORMAT, "version": _VERSION, "codec": "dct", **asdict(dataset.codec)}
    arrays = {name: getattr(dataset, name).astype(kind) for name, (kind, _) in _ARRAYS.items()}
    packed = np.frombuffer(pack(dataset.vectors, dtype), np.uint8)
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, header=np.array(json.dumps(header)), vectors=packed, **arrays)


def read_vectors(path: Path) -> EncodedDataset:
    """What `write_vectors` wrote, to the precision of its type.

    Raises ValueError, with the name of the file, for one that is cut off, changed, of another kind
    or an unknown version.
    """
    data = io.BytesIO(path.read_bytes())
    try:
        if not zipfile.is_zipfile(data):
            msg = "it is no .npz archive"
            raise ValueError(msg)
        data.seek(0)
        with np.load(data, allow_pickle=False) as arrays:
            return _dataset(arrays)
    except _BROKEN as error:
        msg = f"{path}: expected a file of solq-maskcodec vectors, got a broken one: {error}"
        raise ValueError(msg) from error


def _dataset(arrays: Any) -> EncodedDataset:
    header = json.loads(str(arrays["header"]))
    if header["format"] != _FORMAT or header["version"] != _VERSION or header["codec"] != "dct":
        expected = f"{_FORMAT!r}, version {_VERSION}, codec 'dct'"
        got = f"{header['format']!r}, version {header['version']!r}, codec {header['codec']!r}"
        msg = f"header must be {expected}, got {got}"
        raise ValueError(msg)
    codec = DCTMaskCodec(header["num_coefficients"], header["mask_size"], header["threshold"])
    vectors = unpack(arrays["vectors"].tobytes())
    if vectors.shape[1] != codec.num_coefficients:
        msg = f"vectors must be [instances, {codec.num_coefficients}], got shape {vectors.shape}"
        raise ValueError(msg)
    found = {name: arrays[name] for name in _ARRAYS}
    for name, (kind, shape) in _ARRAYS.items():
        array = found[name]
        if array.dtype != kind or array.shape != (len(vectors), *shape):
            expected = f"{np.dtype(kind)} {[len(vectors), *shape]}"
            msg = f"{name} must be {expected}, got {array.dtype} {list(array.shape)}"
            raise ValueError(msg)
    checked_boxes(found["boxes"], len(vectors), "vectors")
    if (found["image_sizes"] < 1).any():
        msg = f"image_sizes must be at least 1, got {int(found['image_sizes'].min())}"
        raise ValueError(msg)
    return EncodedDataset(codec=codec, vectors=vectors, **found)
