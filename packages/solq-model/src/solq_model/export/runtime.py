"""Exported files → functions, as a program that deploys them would call them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from solq_model.export.extras import needs_onnx

# Images → the outputs of `InferenceModule`, by name.
Runtime = Callable[[Tensor], dict[str, Tensor]]


def load_runtime(path: Path) -> Runtime:
    """What an exported file computes, on the CPU: `.pt2` by torch, `.onnx` by onnxruntime."""
    if path.suffix == ".onnx":
        return _load_onnx(path)
    return _load_torch(path)


def _load_torch(path: Path) -> Runtime:
    import solq_ops as solq_ops  # its operator, for files with the sampling "kernel"

    module = torch.export.load(path).module()

    def run(images: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            outputs: dict[str, Tensor] = module(images)
        return outputs

    return run


@needs_onnx
def _load_onnx(path: Path) -> Runtime:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(images: Tensor) -> dict[str, Tensor]:
        found = session.run(names, {"images": images.numpy()})
        return dict(zip(names, map(torch.from_numpy, found), strict=True))

    return run
