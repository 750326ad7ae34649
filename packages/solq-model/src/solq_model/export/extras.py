"""The extra `onnx`: what is needed for ONNX files only."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
P = ParamSpec("P")
R = TypeVar("R")


def needs_onnx(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which says how to install the extra where one of its packages is missing."""

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in PACKAGES:
                raise
            msg = f"ONNX needs {error.name}: pip install 'solq-model[onnx]'"
            raise ModuleNotFoundError(msg, name=error.name) from error

    return checked
