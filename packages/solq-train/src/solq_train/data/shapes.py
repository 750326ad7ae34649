"""The embedded data set: random scenes written as a COCO data set, the same for the same seed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from solq_maskcodec import masks_to_rle
from solq_train.data.defects import DataError
from solq_train.data.folders import new_folder
from solq_train.data.outlines import Kind
from solq_train.data.scenes import SceneObject, draw_scene
from solq_train.data.segmentations import Segmentation

# Ids with gaps and not from 0: whoever takes an id for a class slot notices at once.
CATEGORY_IDS: dict[Kind, int] = {"blob": 1, "star": 7, "ring": 23}

_MANIFEST = "shapes.json"
_VERSION = 1  # raised when the same parameters give other pictures
_SPLITS = ("train", "val")
_MOST_OBJECTS = 6
# Every so many images one without objects and one with a crowd, at these places from the start on.
_EMPTY_EVERY, _EMPTY_AT = 64, 1
_CROWD_EVERY, _CROWD_AT = 32, 2


def make_shapes(
    directory: Path,
    num_train: int = 2048,
    num_val: int = 64,
    image_size: int = 128,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> bool:
    """Whether the data set was made now; False if this very one was in `directory` already.

    Images are in `train` and `val`, annotations in `annotations/instances_{train,val}.json`. A
    folder that holds anything else is refused; what goes wrong halfway leaves nothing behind.
    `progress` is called with the images done and the images in all.
    """
    parameters = {"train": num_train, "val": num_val, "image_size": image_size, "seed": seed}
    _check_parameters(parameters)
    manifest = {"made by": "solq data make-shapes", "version": _VERSION, **parameters}
    try:
        if _holds(directory, manifest):
            return False
    except OSError as error:
        msg = f"{directory}: the data set cannot be written there: {error}"
        raise DataError(msg) from error
    with new_folder(directory) as unfinished:
        _write(unfinished, manifest, progress)
    return True


def _check_parameters(parameters: dict[str, int]) -> None:
    # 3 images: one empty, one with a crowd, one with objects only.
    for name, least in (("train", 3), ("val", 3), ("image_size", 32), ("seed", 0)):
        if parameters[name] < least:
            argument = f"num_{name}" if name in _SPLITS else name
            msg = f"{argument} must be at least {least}, got {parameters[name]}"
            raise ValueError(msg)


def _holds(directory: Path, manifest: dict[str, Any]) -> bool:
    """Whether the folder has this data set; DataError if it has anything else in it."""
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return False
    if not directory.is_dir():
        msg = f"{directory}: must be a folder for the data set, got a file"
        raise DataError(msg)
    found = _read_manifest(directory / _MANIFEST)
    if found == manifest:
        return True
    what = "other files" if found is None else f"another set of shapes: {json.dumps(found)}"
    msg = (
        f"{directory}: must be new, empty or hold this very data set ({json.dumps(manifest)}), "
        f"got a folder with {what}"
    )
    raise DataError(msg)


def _read_manifest(path: Path) -> object:
    """What the manifest says; None if there is none that can be read."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _write(
    directory: Path, manifest: dict[str, Any], progress: Callable[[int, int], None] | None
) -> None:
    (directory / "annotations").mkdir()
    num_images = sum(manifest[split] for split in _SPLITS)
    num_done = 0
    for split_index, split in enumerate(_SPLITS):
        (directory / split).mkdir()
        document = _empty_document(f"solq shapes, {split}")
        for index in range(manifest[split]):
            # Each image has its own stream: a longer set begins with the images of a shorter one.
            rng = np.random.default_rng([manifest["seed"], split_index, index])
            _add_image(document, directory / split, index, manifest["image_size"], rng)
            num_done += 1
            if progress is not None:
                progress(num_done, num_images)
        annotations = directory / "annotations" / f"instances_{split}.json"
        annotations.write_text(json.dumps(document) + "\n", encoding="utf-8")
    (directory / _MANIFEST).write_text(json.dumps(manifest) + "\n", encoding="utf-8")


def _empty_document(description: str) -> dict[str, Any]:
    return {
        "info": {"description": description},
        "licenses": [],
        "images": [],
        "annotations": [],
        "categories": [{"id": id_, "name": name} for name, id_ in CATEGORY_IDS.items()],
    }


def _add_image(
    document: dict[str, Any], folder: Path, index: int, image_size: int, rng: np.random.Generator
) -> None:
    """Draws one image into the folder and its entries into the document."""
    is_empty = index % _EMPTY_EVERY == _EMPTY_AT
    scene = draw_scene(
        rng,
        image_size,
        num_objects=0 if is_empty else int(rng.integers(1, _MOST_OBJECTS + 1)),
        with_crowd=index % _CROWD_EVERY == _CROWD_AT,
    )
    image_id = index + 1
    file_name = f"{image_id:06d}.png"
    # The least compression: noise does not pack, and packing harder takes most of the time.
    Image.fromarray(scene.picture).save(folder / file_name, compress_level=1)
    document["images"].append(
        {"id": image_id, "file_name": file_name, "height": image_size, "width": image_size}
    )
    for item in scene.objects:
        annotation_id = len(document["annotations"]) + 1
        document["annotations"].append(
            {"id": annotation_id, "image_id": image_id, **_annotation(item)}
        )


def _annotation(item: SceneObject) -> dict[str, Any]:
    rows, columns = np.flatnonzero(item.mask.any(axis=1)), np.flatnonzero(item.mask.any(axis=0))
    left, top = float(columns[0]), float(rows[0])
    return {
        "category_id": CATEGORY_IDS[item.kind],
        "bbox": [left, top, float(columns[-1]) + 1 - left, float(rows[-1]) + 1 - top],
        "area": float(item.mask.sum()),
        "iscrowd": int(item.is_crowd),
        "segmentation": _segmentation(item),
    }


def _segmentation(item: SceneObject) -> Segmentation:
    """All three formats of COCO occur: polygons where they are exact, else two kinds of runs."""
    if item.polygons:
        return item.polygons
    if item.kind == "ring" and not item.is_crowd:
        return masks_to_rle(item.mask[None])[0]
    return {"size": list(item.mask.shape), "counts": _runs(item.mask)}


def _runs(mask: Bool[np.ndarray, "height width"]) -> list[int]:
    """Lengths of the runs outside, inside, outside, … column by column."""
    pixels = np.concatenate([[False], mask.T.ravel()])
    borders = np.flatnonzero(np.diff(pixels))
    lengths: list[int] = np.diff(np.concatenate([[0], borders, [mask.size]])).tolist()
    return lengths
