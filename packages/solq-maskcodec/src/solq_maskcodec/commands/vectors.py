"""`solq-maskcodec encode` and `decode`: annotations → a file of vectors → COCO results."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from ..atomic import atomic_file
from ..codecs.dct_codec import DCTMaskCodec
from ..dataset.annotations import read_annotations
from ..dataset.encoded_dataset import encode_dataset
from ..dataset.vector_file import read_vectors, write_vectors
from .arguments import check_output, parse_rounds, parse_threshold
from .terminal import Terminal


@dataclass(frozen=True, kw_only=True)
class Encode:
    """Write the vectors of the objects of a data set to one file, with what decoding them needs.

    Crowds, and objects whose box has no area in its image, are left out.
    """

    annotations: Annotated[Path, tyro.conf.Positional]
    """COCO annotation file."""
    output: Path
    """File to write: NumPy's .npz format, whatever its name."""
    coefficients: int = 256
    """Length of the vectors."""
    refine: int = 10
    """Rounds of refining; 0 is plain."""
    threshold: str = "0.5"
    """Where `decode` cuts decoded values: a number, isodata, or midrange as published."""
    mask_size: int = 128
    """Side of the masks in their boxes, in pixels."""
    dtype: Literal["float16", "int8"] = "float16"
    """Two bytes a coefficient, or one."""

    def run(self, terminal: Terminal) -> None:
        """Encode, write the file, tell its size."""
        check_output("--output", self.output, self.annotations)
        (refine,) = parse_rounds([self.refine])
        threshold = parse_threshold(self.threshold)
        codec = DCTMaskCodec(self.coefficients, self.mask_size, threshold)
        file = read_annotations(self.annotations)
        with terminal.progress("encode") as progress:
            dataset = encode_dataset(codec, file, refine=refine, progress=progress)
        write_vectors(self.output, dataset, self.dtype)
        left_out = file.num_objects - len(dataset.vectors)
        if left_out:
            terminal.show(f"{left_out} objects have no box in their image and are left out")
        terminal.show(
            f"wrote {len(dataset.vectors)} vectors of {codec.num_coefficients} numbers, "
            f"{self.output.stat().st_size} bytes: {self.output}"
        )


@dataclass(frozen=True, kw_only=True)
class Decode:
    """Write the masks of a file of vectors as COCO results with RLE, each with score 1.

    Results have no box: pycocotools would sort masks into sizes by the box's area.
    """

    vectors: Annotated[Path, tyro.conf.Positional]
    """File that `encode` wrote."""
    output: Path
    """File to write (.json)."""

    def run(self, terminal: Terminal) -> None:
        """Decode, write the file, tell how many masks are in it."""
        check_output("--output", self.output, self.vectors)
        dataset = read_vectors(self.vectors)
        images = list(dataset.images())
        results: list[dict[str, Any]] = []
        with terminal.progress("decode") as progress:
            for index, instances in enumerate(images):
                results += dataset.coco_results(instances)
                progress(index + 1, len(images))
        with atomic_file(self.output) as temporary:
            temporary.write_text(json.dumps(results), encoding="utf-8")
        terminal.show(f"wrote {len(results)} masks in {len(images)} images: {self.output}")
