"""ONNX: an inference module → a file for onnxruntime, TensorRT, OpenVINO and others."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from solq_model.atomic import atomic_file
from solq_model.export.description import describe
from solq_model.export.extras import needs_onnx
from solq_model.export.inference import InferenceModule
from solq_model.export.program import ImageSize, export_program

if TYPE_CHECKING:
    from onnx import ModelProto

DESCRIPTION = "solq"  # the key of the description in the file's metadata
OLDEST_OPSET = 18  # what torch writes without a conversion
LARGEST_FILE = 2**31  # bytes, of a protocol buffer


def export_onnx(
    module: InferenceModule,
    path: Path,
    *,
    opset: int = OLDEST_OPSET,
    image_size: ImageSize | None = None,
) -> None:
    """Write an ONNX file for any batch, of one image size or of any; see `export_program`.

    The compiled operator has no ONNX counterpart: the module's sampling must be "grid_sample", or
    "gather" for runtimes that get GridSample wrong (TensorRT, NVIDIA/TensorRT#4813). The metadata
    property `solq` holds the description: categories, preprocessing, versions.
    """
    if module.sampling == "kernel":
        msg = "sampling must be grid_sample or gather for ONNX, got kernel"
        raise ValueError(msg)
    if opset < OLDEST_OPSET:
        msg = f"opset must be at least {OLDEST_OPSET}, got {opset}"
        raise ValueError(msg)
    num_bytes = sum(tensor.nbytes for tensor in module.state_dict().values())
    if num_bytes >= LARGEST_FILE:
        msg = f"weights must take less than 2 GB in an ONNX file, got {num_bytes / 1e9:.1f} GB"
        raise ValueError(msg)
    proto = onnx_model(module, opset, image_size)
    with atomic_file(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())


@needs_onnx
def onnx_model(
    module: InferenceModule, opset: int, image_size: ImageSize | None = None
) -> ModelProto:
    """The ONNX model, described, without what the conversion noted about itself."""
    program = export_program(module, image_size=image_size)
    axes = {0: "batch"} if image_size is not None else {0: "batch", 2: "height", 3: "width"}
    with _quiet():
        converted = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=opset,
            input_names=["images"],
            output_names=list(module.output_names),
            dynamic_shapes={"images": axes},
            verbose=False,
        )
    assert converted is not None
    proto = converted.model_proto
    if not any(domain.version == opset for domain in proto.opset_import if not domain.domain):
        found = {domain.version for domain in proto.opset_import if not domain.domain}
        msg = f"opset must be one that torch can convert this model to, got {opset} ({found} works)"
        raise ValueError(msg)
    # Among others a stack trace per node, full of this machine's paths.
    for part in (*proto.graph.node, proto.graph):
        del part.metadata_props[:]
    del proto.graph.value_info[:]  # shapes between nodes, which runtimes infer
    del proto.metadata_props[:]
    proto.metadata_props.add(key=DESCRIPTION, value=describe(module))
    return proto


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings of the converter to itself: parity is measured on the file it makes."""
    logger = logging.getLogger("onnxscript")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
