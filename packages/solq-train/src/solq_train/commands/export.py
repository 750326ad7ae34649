"""`solq export`: a model → one file for deployment, with the parity that was measured on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import torch
import tyro
from rich.console import Console

from solq_model.export import (
    InferenceModule,
    Parity,
    Sampling,
    export_onnx,
    export_torch,
    load_runtime,
    measure_parity,
)
from solq_train.commands.output import as_table
from solq_train.models import open_model

ENDINGS = {"onnx": ".onnx", "torch": ".pt2"}


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a model to one file that runs without this code, and measure that it does.

    Images go in as [batch, 3, height, width], one size per batch, resized as `solq predict` does.
    Scores, labels, boxes (in 0..1) and mask vectors come out. Batch, height and width are free. The
    file is run on images of two sizes beside the model; where a result differs by more than
    rounding, the exit code is 1 and no file is kept.
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Saved model (a folder such as runs/demo/best), or a published .pth file."""
    output: Path
    """File to write: .onnx, or .pt2 with --format torch."""
    format: Literal["onnx", "torch"] = "onnx"
    """onnx: for onnxruntime, TensorRT, OpenVINO; torch: for torch.export.load."""
    image_size: tuple[int, int] | None = None
    """Height and width to measure at; the file takes any. Default: that of a 4:3 image."""
    fixed_size: bool = False
    """The file takes images of --image-size only, as a Swin Transformer's must."""
    grid_sample: bool = True
    """Attention by GridSample nodes. Without (for TensorRT, which gets them wrong): by gathers. A
    torch file has neither but needs solq_ops; without, only torch."""
    masks: bool = False
    """Decode the masks in the file too: each in the frame of its box."""
    uint8: bool = False
    """Images go in as 0..255 and are normalised in the file; else they come normalised."""
    top_k: int = 100
    """Objects in one image."""
    opset: int = 18
    """Version of the ONNX operators, at least 18."""
    half: bool = False
    """float16 weights: half the size. Images and results stay float32."""

    def run(self, console: Console) -> int:
        """Export; the exit code."""
        if self.output.suffix != ENDINGS[self.format]:
            ending = ENDINGS[self.format]
            msg = f"output {self.output}: the ending must be {ending} with --format {self.format}"
            raise ValueError(msg)
        if not self.output.parent.is_dir():
            msg = f"output {self.output}: expected an existing folder to write into"
            raise ValueError(msg)
        model = open_model(self.model)
        module = InferenceModule(
            model.half() if self.half else model,
            masks=self.masks,
            top_k=self.top_k,
            sampling=self._sampling(),
            pixels="uint8" if self.uint8 else "normalized",
        )
        sizes = self._image_sizes(module)
        only = sizes[0] if self.fixed_size else None
        # Beside its place and under its own name, so that it gets there whole, and measured.
        with TemporaryDirectory(dir=self.output.parent, prefix=".export-") as folder:
            file = Path(folder) / self.output.name
            if self.format == "onnx":
                export_onnx(module, file, opset=self.opset, image_size=only)
            else:
                export_torch(module, file, image_size=only)
            measured = measure_parity(module, load_runtime(file), sizes)
            failures = sorted({name for parity in measured for name in parity.failures})
            _print(console, measured)
            if failures:
                console.print(f"{', '.join(failures)} differ by more than rounding: no file kept")
                return 1
            num_bytes = file.stat().st_size
            file.replace(self.output)
        weights = sum(tensor.nbytes for tensor in module.model.state_dict().values())
        text = f"{self.output}: {num_bytes / 1e6:.1f} MB ({weights / 1e6:.1f} MB of weights)"
        console.print(text, highlight=False)
        return 0

    def _sampling(self) -> Sampling:
        if not self.grid_sample:
            return "gather"
        return "grid_sample" if self.format == "onnx" else "kernel"

    def _image_sizes(self, module: InferenceModule) -> list[tuple[int, int]]:
        """The size asked for, and a smaller one of another shape."""
        preprocessing = module.model.preprocessing
        short = preprocessing.short_side
        height, width = self.image_size or (short, min(short * 4 // 3, preprocessing.max_size))
        least = module.stride + 1
        if min(height, width) < least:
            msg = f"image_size must be at least {least} x {least}, got {height} x {width}"
            raise ValueError(msg)
        if self.fixed_size:
            return [(height, width)]
        return [(height, width), (max(width * 3 // 4, least), max(height * 2 // 3, least))]


def _print(console: Console, measured: list[Parity]) -> None:
    """A table: each output's largest difference, and the time, at each image size."""
    sizes = [f"{height} x {width}" for height, width in (p.image_size for p in measured)]
    rows = [["largest difference", *sizes]]
    for name in measured[0].differences:
        rows.append([name, *(f"{parity.differences[name]:.1e}" for parity in measured)])
    rows.append(["model, ms per image", *(f"{p.model_milliseconds:.0f}" for p in measured)])
    rows.append(["file, ms per image", *(f"{p.file_milliseconds:.0f}" for p in measured)])
    threads = torch.get_num_threads()
    console.print(as_table(rows, title=f"The file beside the model, CPU, {threads} threads"))
