"""`torch.export`: an inference module → a program for any batch, height and width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from solq_model.atomic import atomic_file
from solq_model.export.description import describe
from solq_model.export.inference import InferenceModule

DESCRIPTION = "solq.json"  # the name of the description inside a .pt2 file


ImageSize = tuple[int, int]  # (height, width) in pixels


def export_program(
    module: InferenceModule, *, image_size: ImageSize | None = None
) -> ExportedProgram:
    """The module as one graph, for any batch of images.

    Of `image_size` (height, width) only, or of any whose sides are greater than `module.stride`: at
    a single cell, torch would take the size of the coarsest level for a constant.
    """
    backbone = module.model.config.backbone
    if backbone.startswith("swin") and image_size is None:
        # The sizes of its windows nest remainders; docs/decisions/0009-export.md.
        msg = f"image_size must be given for a model with backbone {backbone}, got None"
        raise ValueError(msg)
    # Traced with numbers that tell the axes apart; of free axes none stays in the graph.
    height, width = image_size or (2 * module.stride, 3 * module.stride)
    images = torch.zeros((2, 3, height, width), dtype=module.input_dtype, device=module.mean.device)
    # A batch of one is allowed for by name. The ends of the ranges of height and width (learned
    # positions reach 50 cells) are what tracing finds.
    sizes: dict[int, Any] = {0: Dim("batch", min=1)}
    if image_size is None:
        sizes |= {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    with torch.no_grad():
        program = torch.export.export(
            module.eval(), (images,), dynamic_shapes=(sizes,), strict=False
        )
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # full of this machine's paths
    return program


def export_torch(
    module: InferenceModule, path: Path, *, image_size: ImageSize | None = None
) -> None:
    """Write the program to a `.pt2` file, for `torch.export.load`; see `export_program`.

    With the sampling "kernel" the process that loads it must import `solq_ops` first; with the
    others it needs nothing but torch. `extra_files={"solq.json": ""}` of `load` gives the
    description: categories, preprocessing, versions.
    """
    if path.suffix != ".pt2":
        msg = f"path {path}: the ending must be .pt2, which torch.export.load expects"
        raise ValueError(msg)
    program = export_program(module, image_size=image_size)
    with atomic_file(path) as temporary:
        # torch looks at the ending.
        whole = temporary.with_name(f"{temporary.name}.pt2")
        try:
            torch.export.save(program, whole, extra_files={DESCRIPTION: describe(module)})
            whole.replace(temporary)
        finally:
            whole.unlink(missing_ok=True)
