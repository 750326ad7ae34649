"""Vectors ↔ bytes: half or a quarter of the size, with a header that tells what they are."""

from __future__ import annotations

import math
import struct
import zlib
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

# Little-endian: magic, version, code of the dtype, coefficients, vectors, CRC-32 of all that
# stands before it and behind it. int8 continues with a float32 scale of each coefficient; then come
# the numbers, vector by vector.
_FIELDS = struct.Struct("<4sHHIQ")
_CHECKSUM = struct.Struct("<I")
_HEADER_SIZE = _FIELDS.size + _CHECKSUM.size
_MAGIC = b"SOLQ"
_VERSION = 1
_CODES = {"float16": 1, "int8": 2}
_NUMBERS: dict[int, np.dtype[Any]] = {1: np.dtype("<f2"), 2: np.dtype("i1")}
_SCALE = np.dtype("<f4")
_LARGEST = 127
# What float16 holds; the coefficients of a mask are at most its side.
_LIMIT = float(np.finfo(np.float16).max)


def pack(vectors: NDArray[Any], dtype: Literal["float16", "int8"] = "float16") -> bytes:
    """The vectors [instances, coefficients] as bytes for `unpack`.

    "float16" takes 2 bytes a number and keeps 11 bits of it. "int8" takes 1: each coefficient is
    divided by its own scale, the largest magnitude among the vectors / 127, and rounded; hence
    pack vectors of one kind (plain or refined) together, and at least some dozens of them.
    """
    if dtype not in _CODES:
        msg = f'dtype must be "float16" or "int8", got {dtype!r}'
        raise ValueError(msg)
    values = _checked(vectors)
    if dtype == "float16":
        payload = values.astype(_NUMBERS[_CODES[dtype]]).tobytes()
    else:
        # A scale of 0 (a coefficient that is 0 everywhere) divides nothing.
        scales = (np.abs(values).max(axis=0, initial=0) / _LARGEST).astype(_SCALE)
        steps = np.divide(values, scales, out=np.zeros_like(values), where=scales > 0)
        rounded = np.clip(np.rint(steps), -_LARGEST, _LARGEST)
        payload = scales.tobytes() + rounded.astype(np.int8).tobytes()
    count, num_coefficients = values.shape
    fields = _FIELDS.pack(_MAGIC, _VERSION, _CODES[dtype], num_coefficients, count)
    return fields + _CHECKSUM.pack(zlib.crc32(payload, zlib.crc32(fields))) + payload


def unpack(data: bytes) -> NDArray[np.float32]:
    """The vectors that `pack` was given, float32 [instances, coefficients], to its precision.

    Raises ValueError for data that are truncated, changed, of another kind or an unknown version.
    """
    code, num_coefficients, count = _checked_header(data)
    num_scales = num_coefficients if code == _CODES["int8"] else 0
    scales = np.frombuffer(data, _SCALE, num_scales, _HEADER_SIZE)
    start = _HEADER_SIZE + scales.nbytes
    numbers = np.frombuffer(data, _NUMBERS[code], count * num_coefficients, start)
    vectors: NDArray[np.float32] = numbers.reshape(count, num_coefficients).astype(np.float32)
    return vectors * scales if num_scales else vectors


def _checked(vectors: Any) -> NDArray[np.float64]:
    if not isinstance(vectors, np.ndarray):
        msg = f"vectors must be a NumPy array, got {type(vectors).__name__}"
        raise TypeError(msg)
    if vectors.ndim != 2 or vectors.shape[1] < 1:
        msg = f"vectors must be [instances, coefficients], got shape {vectors.shape}"
        raise ValueError(msg)
    if vectors.dtype.kind not in "iuf":
        msg = f"vectors must hold numbers, got dtype {vectors.dtype}"
        raise ValueError(msg)
    values = vectors.astype(np.float64)
    is_sound = (np.abs(values) <= _LIMIT).all(axis=1)  # NaN is not
    if not is_sound.all():
        index = int(np.argmin(is_sound))
        largest = np.abs(values[index]).max()
        msg = f"vectors must be finite and within ±{_LIMIT:g}, got {largest} at index {index}"
        raise ValueError(msg)
    return values


def _checked_header(data: Any) -> tuple[int, int, int]:
    """The code of the dtype, the coefficients and the count of vectors of sound data."""
    if not isinstance(data, bytes | bytearray | memoryview):
        msg = f"data must be bytes, got {type(data).__name__}"
        raise TypeError(msg)
    length = memoryview(data).nbytes
    if length < _HEADER_SIZE:
        msg = f"data must start with a header of {_HEADER_SIZE} bytes, got {length} bytes"
        raise ValueError(msg)
    magic, version, code, num_coefficients, count = _FIELDS.unpack_from(data)
    if magic != _MAGIC:
        msg = f"data must start with {_MAGIC!r}, got {magic!r}"
        raise ValueError(msg)
    if version != _VERSION:
        msg = f"data must be of version {_VERSION}, got version {version}"
        raise ValueError(msg)
    if code not in _NUMBERS or num_coefficients < 1:
        known = ", ".join(f"{value} ({name})" for name, value in _CODES.items())
        msg = (
            f"data must hold coefficients of type {known}, "
            f"got {num_coefficients} coefficients of type {code}"
        )
        raise ValueError(msg)
    scales = num_coefficients * _SCALE.itemsize if code == _CODES["int8"] else 0
    expected = _HEADER_SIZE + scales + math.prod((count, num_coefficients, _NUMBERS[code].itemsize))
    if length != expected:
        msg = (
            f"data must be {expected} bytes for {count} vectors of {num_coefficients} "
            f"coefficients, got {length} bytes"
        )
        raise ValueError(msg)
    (checksum,) = _CHECKSUM.unpack_from(data, _FIELDS.size)
    view = memoryview(data).cast("B")
    found = zlib.crc32(view[_HEADER_SIZE:], zlib.crc32(view[: _FIELDS.size]))
    if found != checksum:
        msg = f"data must have the checksum {checksum:#010x} of its header, got {found:#010x}"
        raise ValueError(msg)
    return code, num_coefficients, count
