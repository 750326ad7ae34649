"""Result: the objects found in one image, in the forms that people and other tools want."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from solq_maskcodec import rle_areas, rle_to_polygons, to_supervision
from solq_model.atomic import atomic_file
from solq_model.categories import Category
from solq_model.draw import draw_instances, picture_format, save_picture
from solq_model.records import Instances

if TYPE_CHECKING:
    import supervision


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Result:
    """The objects found in one image, best first, in the data set's own ids and names.

    Masks are kept as vectors and decoded when they are asked for, each time: whoever reads
    `masks` twice keeps them. `len(result)` counts objects; `result[0]`, `result[:3]` and
    `result[result.scores > 0.7]` are results with these objects only.
    """

    image: Image.Image
    instances: Instances
    categories: tuple[Category, ...]  # of each instance
    path: Path | None = None  # of the image, where it was given as a file

    def __len__(self) -> int:
        return len(self.instances)

    def __repr__(self) -> str:
        times = "\N{MULTIPLICATION SIGN}"
        counts = [f"{n} {times} {name}" for name, n in Counter(self.names).most_common()]
        objects = f"{len(self) or 'no'} object{'' if len(self) == 1 else 's'}"
        height, width = self.instances.image_size
        return f"Result({objects}{': ' * bool(counts)}{', '.join(counts)}; {height} x {width})"

    def _repr_png_(self) -> bytes:
        """The picture that a notebook shows."""
        file = io.BytesIO()
        self.plot().save(file, format="PNG")
        return file.getvalue()

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Result:
        """The result with the object, or the objects, of this index only."""
        if isinstance(index, Tensor):
            index = index.cpu()
        keep = torch.arange(len(self))[index].reshape(-1)
        return replace(
            self,
            instances=self.instances.select(keep.to(self.scores.device)),
            categories=tuple(self.categories[i] for i in keep.tolist()),
        )

    def __iter__(self) -> Iterator[Result]:
        """Results of one object each."""
        return (self[i] for i in range(len(self)))

    def above(self, threshold: float) -> Result:
        """The result with the objects that have at least this score only."""
        return self[self.scores >= threshold]

    def to(self, device: torch.device | str) -> Result:
        """The result with its tensors on a device, where masks are then decoded too."""
        return replace(self, instances=self.instances.to(device))

    def cpu(self) -> Result:
        """The result with its tensors on the CPU."""
        return self.to("cpu")

    @property
    def scores(self) -> Float[Tensor, " instances"]:
        """Scores in 0..1, falling."""
        return self.instances.scores

    @property
    def boxes(self) -> Float[Tensor, "instances 4"]:
        """(x0, y0, x1, y1) in pixels of the image."""
        return self.instances.boxes

    @property
    def masks(self) -> Bool[Tensor, "instances height width"]:
        """Masks in the image; see `rle` for a form that stays small."""
        return self.instances.masks

    @property
    def labels(self) -> list[int]:
        """Category ids of the data set."""
        return [category.id for category in self.categories]

    @property
    def names(self) -> list[str]:
        """Category names of the data set."""
        return [category.name for category in self.categories]

    def rle(self) -> list[dict[str, Any]]:
        """COCO RLE of each mask; no mask is laid out in the image."""
        return self.instances.rle()

    def polygons(self) -> list[list[list[float]]]:
        """COCO polygons of each mask: a list of [x0, y0, x1, y1, …] in pixels, one for each part.

        They follow the edges of pixels and make the same mask again; see
        `solq_maskcodec.rle_to_polygons`.
        """
        return [rle_to_polygons(rle) for rle in self.rle()]

    def to_coco(self, image_id: int | str = 0, *, polygons: bool = False) -> list[dict[str, Any]]:
        """COCO detections: image and category id, `bbox` (x, y, w, h), RLE or polygons, score.

        Those of a detector without masks have no `segmentation`.
        """
        return coco_detections(image_id, self.instances, self.labels, polygons=polygons)

    def to_supervision(self, *, compact: bool = False) -> supervision.Detections:
        """supervision's `Detections`; `class_id` is the category id, `class_name` lies in `data`.

        Masks are dense, which everything in supervision takes, or with `compact` stored as crops.
        """
        try:
            import supervision
        except ModuleNotFoundError as error:
            msg = "to_supervision needs supervision: pip install 'solq-model[supervision]'"
            raise ModuleNotFoundError(msg, name=error.name) from error
        masks: Any = None
        if self.instances.has_masks and compact:
            size = self.instances.image_size
            masks = to_supervision(self.rle(), size, supervision.CompactMask)
        elif self.instances.has_masks:
            masks = self.masks.cpu().numpy()
        return supervision.Detections(
            xyxy=self.boxes.float().cpu().numpy(),
            mask=masks,
            confidence=self.scores.float().cpu().numpy(),
            class_id=np.array(self.labels, dtype=np.int64),
            data={"class_name": np.array(self.names, dtype=np.str_)},
        )

    def plot(self) -> Image.Image:
        """The image with masks, boxes, names and scores drawn on it."""
        labels = [f"{n} {s:.2f}" for n, s in zip(self.names, self.scores.tolist(), strict=True)]
        slots = [category.slot for category in self.categories]
        masks = self.masks if self.instances.has_masks else None
        return draw_instances(self.image, masks, self.boxes, labels, colors=slots)

    def save(self, path: str | Path) -> None:
        """Write `plot()` to an image file, or a `.json` file with what was found.

        The JSON is a COCO annotation file of this one image: `images`, `categories` and, as
        `annotations`, the detections with their scores.
        """
        path = Path(path)
        if path.suffix.lower() == ".json":
            with atomic_file(path) as temporary:
                temporary.write_text(json.dumps(self._coco_file()) + "\n", encoding="utf-8")
            return
        try:
            picture_format(path)  # before the drawing, which takes longer
        except ValueError as error:
            msg = f"{error}, or .json"
            raise ValueError(msg) from None
        save_picture(self.plot(), path)

    def _coco_file(self) -> dict[str, Any]:
        height, width = self.instances.image_size
        name = self.path.name if self.path is not None else ""
        image_id = 1
        detections = self.to_coco(image_id)
        if self.instances.has_masks:
            areas = rle_areas(d["segmentation"] for d in detections).tolist()
        else:
            areas = [d["bbox"][2] * d["bbox"][3] for d in detections]
        return {
            "images": [{"id": image_id, "file_name": name, "height": height, "width": width}],
            "categories": [
                {"id": category.id, "name": category.name}
                for category in sorted(set(self.categories), key=lambda category: category.id)
            ],
            "annotations": [
                {"id": index, **detection, "area": area, "iscrowd": 0}
                for index, (detection, area) in enumerate(
                    zip(detections, areas, strict=True), start=1
                )
            ],
        }


def coco_detections(
    image_id: int | str,
    instances: Instances,
    category_ids: Sequence[int],
    *,
    polygons: bool = False,
) -> list[dict[str, Any]]:
    """COCO detections of one image; see `Result.to_coco`."""
    boxes, scores = instances.boxes.tolist(), instances.scores.tolist()
    detections: list[dict[str, Any]] = [
        {
            "image_id": image_id,
            "category_id": category_id,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "score": score,
        }
        for category_id, (x0, y0, x1, y1), score in zip(category_ids, boxes, scores, strict=True)
    ]
    if instances.has_masks:
        for detection, rle in zip(detections, instances.rle(), strict=True):
            detection["segmentation"] = rle_to_polygons(rle) if polygons else rle
    return detections
