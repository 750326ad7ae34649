"""`solq-maskcodec show`: a mask → a picture of what vectors keep of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from ..dataset.annotations import AnnotatedImage, AnnotatedObject, AnnotationFile, read_annotations
from ..dataset.figures import FORMATS, BoxedMask, coefficients_figure, mask_figure, save_figure
from ..image.frames import crop_masks
from .arguments import check_output, parse_coefficients, parse_rounds
from .terminal import Terminal


@dataclass(frozen=True, kw_only=True)
class Show:
    """Picture of a mask, its coefficients, its reconstruction and the error.

    With several numbers of coefficients, or of rounds, one small picture for each instead.
    """

    source: Annotated[Path, tyro.conf.Positional]
    """Image of a mask, where anything but 0 (or transparent) is foreground, or a COCO annotation
    file (.json)."""
    output: Path
    """File to write (.png, .svg or .pdf)."""
    annotation: int | None = None
    """Id of the object to show, for an annotation file; the largest unless given."""
    coefficients: tuple[str, ...] = ("256",)
    """Lengths of vectors: numbers, or ranges by doubling such as 16..1024."""
    refine: tuple[int, ...] = (0,)
    """Rounds of refining; 0 is plain."""
    mask_size: int = 128
    """Side of the mask in its box, in pixels."""

    def run(self, terminal: Terminal) -> None:
        """Draw, write the file, tell its name."""
        coefficients, refine = parse_coefficients(self.coefficients), parse_rounds(self.refine)
        check_output("--output", self.output, self.source, FORMATS)
        name, boxed = self._mask()
        if len(coefficients) == len(refine) == 1:
            figure = mask_figure(boxed, coefficients[0], refine[0], title=name)
        else:
            figure = coefficients_figure(boxed, coefficients, refine)
        save_figure(figure, self.output)
        terminal.show(f"wrote {name}: {self.output}")

    def _mask(self) -> tuple[str, BoxedMask]:
        """What the mask is called, and the mask."""
        if self.source.suffix.lower() == ".json":
            file = read_annotations(self.source)
            image, item = _chosen(file, self.annotation)
            mask = crop_masks(
                [file.rle(image, item)], image.boxes([item]), self.mask_size, image.size
            )
            x0, y0, x1, y1 = image.boxes([item])[0].tolist()
            name = f"annotation {item.id} of image {image.id}"
            return name, BoxedMask(mask=mask[0], box_size=(y1 - y0, x1 - x0))
        if self.annotation is not None:
            msg = f"--annotation must be left out for an image of a mask, got {self.annotation}"
            raise ValueError(msg)
        pixels = read_mask(self.source)
        rows, columns = (np.flatnonzero(pixels.any(axis)) for axis in (1, 0))
        if len(rows) == 0:
            msg = f"{self.source}: must be a mask with foreground, got an empty one"
            raise ValueError(msg)
        y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        box: Any = np.array([[x0, y0, x1, y1]], np.float32)
        mask = crop_masks(pixels[None], box, self.mask_size)
        box_size = (float(y1 - y0), float(x1 - x0))
        return self.source.name, BoxedMask(mask=mask[0], box_size=box_size)


def _chosen(
    file: AnnotationFile, annotation_id: int | None
) -> tuple[AnnotatedImage, AnnotatedObject]:
    """The object of this id, or the one with the largest box."""
    objects = {item.id: (image, item) for image in file.images for item in image.encodable()}
    if not objects:
        msg = f"{file.name}: must have an object with a box in its image, got none"
        raise ValueError(msg)
    if annotation_id is None:
        return max(objects.values(), key=lambda pair: _box_area(*pair))
    if annotation_id not in objects:
        expected = f"the id of an object with a box in its image in {file.name}"
        msg = f"--annotation must be {expected}, got {annotation_id}"
        raise ValueError(msg)
    return objects[annotation_id]


def _box_area(image: AnnotatedImage, item: AnnotatedObject) -> float:
    x0, y0, x1, y1 = image.boxes([item])[0].tolist()
    return float((x1 - x0) * (y1 - y0))


def read_mask(path: Path) -> NDArray[np.bool_]:
    """The foreground of an image file, [height, width]."""
    from PIL import Image

    with path.open("rb") as data:
        try:
            with Image.open(data) as image:
                has_alpha = image.mode in ("LA", "RGBA", "PA")
                bands = np.asarray(image)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            msg = f"{path}: must be an image of a mask, got one that cannot be read: {error}"
            raise ValueError(msg) from error
    if has_alpha and (bands[..., -1] == 0).any():
        bands = bands[..., -1:]
    elif has_alpha:
        bands = bands[..., :-1]
    foreground: NDArray[np.bool_] = np.any(bands.reshape(*bands.shape[:2], -1), axis=2)
    return foreground
