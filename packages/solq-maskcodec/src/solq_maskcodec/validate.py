"""Checks of arguments that several public functions share, and their messages."""

from __future__ import annotations

import operator
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import array_namespace, to_numpy


def positive_integer(name: str, value: Any) -> int:
    """The value as an int of at least 1."""
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        msg = f"{name} must be a positive integer, got {value!r}"
        raise ValueError(msg)
    return number


def natural_number(name: str, value: Any) -> int:
    """The value as an int of at least 0."""
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if number < 0:
        msg = f"{name} must be an integer of at least 0, got {value!r}"
        raise ValueError(msg)
    return number


def masks_of_codec(masks: Any, mask_size: int) -> None:
    """Raises unless the masks are [..., mask_size, mask_size]."""
    array_namespace(masks=masks)
    if masks.ndim < 2 or tuple(masks.shape[-2:]) != (mask_size, mask_size):
        msg = f"masks must be [..., {mask_size}, {mask_size}], got shape {tuple(masks.shape)}"
        raise ValueError(msg)


def vectors_of_codec(vectors: Any, num_coefficients: int) -> None:
    """Raises unless the vectors are [..., num_coefficients]."""
    array_namespace(vectors=vectors)
    if vectors.ndim < 1 or vectors.shape[-1] != num_coefficients:
        msg = f"vectors must be [..., {num_coefficients}], got shape {tuple(vectors.shape)}"
        raise ValueError(msg)


def checked_image_size(image_size: Any) -> tuple[int, int]:
    """(height, width) as positive ints."""
    try:
        height, width = image_size
    except (TypeError, ValueError):
        msg = f"image_size must be (height, width), got {image_size!r}"
        raise ValueError(msg) from None
    return positive_integer("image_size height", height), positive_integer(
        "image_size width", width
    )


def number_or_none(name: str, value: Any) -> None:
    """Raises unless the value is a real number (NaN is none) or None."""
    if value is not None and (not isinstance(value, Real) or value != value):
        msg = f"{name} must be a number or None, got {value!r}"
        raise ValueError(msg)


def masks_with_boxes(masks: Any, boxes: Any) -> NDArray[np.floating[Any]]:
    """The boxes on the host, float32 or float64 [instances, 4], if they fit the masks.

    They steer slices, so they are needed on the host: for tensors on an accelerator this is the
    one synchronisation of a call.
    """
    array_namespace(masks=masks, boxes=boxes)
    if masks.ndim != 3:
        msg = f"masks must be [instances, height, width], got shape {tuple(masks.shape)}"
        raise ValueError(msg)
    return checked_boxes(boxes, masks.shape[0], "masks")


def checked_boxes(boxes: Any, count: int, what: str) -> NDArray[np.floating[Any]]:
    """The boxes on the host, float32 or float64 [instances, 4], finite, one for each of `what`."""
    if tuple(boxes.shape) != (count, 4):
        msg = (
            f"boxes must be [instances, 4] with one box for each of {count} {what}, "
            f"got shape {tuple(boxes.shape)}"
        )
        raise ValueError(msg)
    corners = to_numpy(boxes)
    if corners.dtype.kind not in "iuf":
        msg = f"boxes must hold numbers, got dtype {corners.dtype}"
        raise ValueError(msg)
    corners = corners.astype(np.float64 if corners.dtype == np.float64 else np.float32, copy=False)
    finite = np.isfinite(corners).all(axis=1)
    if not finite.all():
        index = int(np.argmin(finite))
        msg = f"boxes must be finite, got {corners[index].tolist()} at index {index}"
        raise ValueError(msg)
    return corners


def vectors_and_boxes(vectors: Any, boxes: Any, num_coefficients: int) -> None:
    """Raises unless the vectors are [instances, num_coefficients], with a box for each."""
    array_namespace(vectors=vectors)
    if vectors.ndim != 2 or vectors.shape[1] != num_coefficients:
        msg = f"vectors must be [instances, {num_coefficients}], got shape {tuple(vectors.shape)}"
        raise ValueError(msg)
    checked_boxes(boxes, vectors.shape[0], "vectors")
