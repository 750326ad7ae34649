"""Pascal-VOC-style masks: a PNG with the numbers of an image's objects, one with its classes'."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from solq_maskcodec import masks_to_rle
from solq_train.data.convert.source import (
    Source,
    SourceImage,
    SourceObject,
    image_files,
    inside,
    opened,
    read_text,
    refuse,
    upright_size,
)

VOC_CLASSES = [
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
]

_LAYOUTS = (
    ("JPEGImages", "SegmentationObject", "SegmentationClass"),
    ("images", "instances", "classes"),
)
_COLOR_MODES = ("RGB", "RGBA")
_VOID = 255  # VOC's number for borders and what cannot be told
_VOID_COLOR = (224, 224, 192)


@dataclass(frozen=True)
class _ClassCode:
    """How classes are written in the pixels of a PNG."""

    names: dict[int, str]  # by number
    colors: dict[int, int]  # numbers by colour, r · 2¹⁶ + g · 2⁸ + b
    has_own_colors: bool  # then the order of a PNG's palette says nothing


@dataclass(frozen=True)
class _Folders:
    images: Path
    objects: Path
    classes: Path


def is_voc(root: Path) -> bool:
    """Whether the folders of images, object masks and class masks are there."""
    return _folders(root) is not None


def read_voc(root: Path) -> Source:
    """All images with a mask for each object; 0 is background and 255 void in both PNGs.

    An object's class is the one that most of its pixels have. Names of classes are in
    `labelmap.txt` (CVAT's, which has colours) or `classes.txt` (line i names class i from 1 on),
    else they are VOC's own 20. Splits are in `ImageSets/Segmentation/{train,val}.txt`.
    """
    folders = _folders(root)
    assert folders is not None, "is_voc was asked"
    code = _class_code(root)
    numbers = {name: number for number, name in code.names.items() if number != 0}
    source = Source(category_ids=numbers)
    splits = _splits(root)
    masks = {path.stem: path for path in sorted(folders.objects.glob("*.png"))}
    for path in image_files(folders.images):
        mask = masks.pop(path.stem, None)
        if mask is None:
            source.left_out["image without masks"] += 1
            continue
        split = splits.get(path.stem, None if splits else "")
        if split is None:
            source.left_out["image in no split of ImageSets"] += 1
            continue
        size = upright_size(path)
        classes = folders.classes / mask.name
        if not classes.is_file():
            refuse(classes, f"the classes of {mask.name} are missing")
        objects = tuple(_objects(mask, classes, size, code, source))
        name = path.relative_to(folders.images).as_posix()
        source.add(split, SourceImage(path=path, name=name, size=size, objects=objects))
    source.left_out["mask without an image"] += len(masks)
    return source


def _folders(root: Path) -> _Folders | None:
    for names in _LAYOUTS:
        folders = [root / name for name in names]
        if all(folder.is_dir() for folder in folders):
            return _Folders(*folders)
    return None


def _class_code(root: Path) -> _ClassCode:
    path = root / "labelmap.txt"
    if path.is_file():
        return _labelmap(path)
    path = root / "classes.txt"
    lines = read_text(path).splitlines() if path.is_file() else VOC_CLASSES
    names = dict(enumerate((line.strip() for line in lines if line.strip()), start=1))
    if len(set(names.values())) < len(names):
        refuse(path, "every class must have a name of its own, got one twice")
    palette = {_packed(_voc_color(number)): number for number in range(_VOID)}
    return _ClassCode(names, palette | {_packed(_VOID_COLOR): _VOID}, has_own_colors=False)


def _labelmap(path: Path) -> _ClassCode:
    """CVAT's lines `name:r,g,b:parts:actions`; background is 0, others are numbered from 1."""
    names: dict[int, str] = {}
    colors = {_packed(_VOID_COLOR): _VOID}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        try:
            red, green, blue = (int(value) for value in rest.partition(":")[0].split(","))
        except ValueError:
            refuse(path, f"must be name:r,g,b::, got {line!r:.60}", number)
        is_background = name == "background" or (red, green, blue) == (0, 0, 0)
        index = 0 if is_background else len(names.keys() - {0}) + 1
        if name in names.values():
            refuse(path, f"every class must have a name of its own, got {name!r} again", number)
        names[index] = name
        colors[_packed((red, green, blue))] = index
    return _ClassCode(names, colors, has_own_colors=True)


def _voc_color(number: int) -> tuple[int, int, int]:
    """VOC's palette: bits 0, 3, 6 of the number, from the top bit down, make red, and so on."""
    color = [0, 0, 0]
    for bit in range(8):
        color[bit % 3] |= ((number >> bit) & 1) << (7 - bit // 3)
    return color[0], color[1], color[2]


def _packed(color: tuple[int, int, int]) -> int:
    return color[0] << 16 | color[1] << 8 | color[2]


def _splits(root: Path) -> dict[str, str]:
    """The split of each image by its name without ending; nothing where no lists are there."""
    found: dict[str, str] = {}
    for split in ("train", "val"):
        path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
        if not path.is_file():
            continue
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            name = line.strip()
            if found.get(name, split) != split:
                refuse(path, f"must not name an image of the other split, got {name!r}", number)
            if name:
                found[name] = split
    return found


def _objects(
    mask: Path,
    classes: Path,
    size: tuple[int, int],
    code: _ClassCode,
    source: Source,
) -> Iterator[SourceObject]:
    objects = _numbers(mask, size)
    class_of = _classes(classes, size, code)
    voids = {0, _packed(_VOID_COLOR)} | ({_VOID} if objects.max(initial=0) <= _VOID else set())
    for number in np.unique(objects).tolist():
        if number in voids:
            continue
        pixels = objects == number
        inside_it = class_of[pixels]
        known = inside_it[(inside_it != 0) & (inside_it != _VOID)]
        if len(known) == 0:
            source.left_out["object without a class"] += 1
            continue
        index = int(np.bincount(known).argmax())
        if index not in code.names:
            what = f"class {index} has no name: list the names in classes.txt, a line for each"
            refuse(classes, what)
        yield SourceObject(category=code.names[index], segmentation=masks_to_rle(pixels[None])[0])


def _numbers(
    path: Path, size: tuple[int, int], *, as_colors: bool = False
) -> Int64[np.ndarray, "height width"]:
    """The numbers of a palette or grey PNG, and colours as one number each."""
    if not inside(path.parent, path):
        refuse(path, "must lie inside its folder, got a link out of it")
    with opened(path) as picture:
        is_color = as_colors or picture.mode in _COLOR_MODES
        pixels = np.asarray(picture.convert("RGB") if is_color else picture).astype(np.int64)
    if is_color:
        pixels = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    if pixels.shape != size:
        refuse(path, f"must have the image's height and width {size}, got {pixels.shape}")
    return pixels


def _classes(
    path: Path, size: tuple[int, int], code: _ClassCode
) -> Int64[np.ndarray, "height width"]:
    pixels = _numbers(path, size, as_colors=code.has_own_colors)
    with opened(path) as picture:
        if picture.mode not in _COLOR_MODES and not code.has_own_colors:
            return pixels
    found, indices = np.unique(pixels, return_inverse=True)
    unknown = [value for value in found.tolist() if value not in code.colors]
    if unknown:
        color = (unknown[0] >> 16, unknown[0] >> 8 & 255, unknown[0] & 255)
        refuse(path, f"must have the colours of classes only, got {color}")
    numbers = np.array([code.colors[value] for value in found.tolist()], dtype=np.int64)
    return numbers[indices].reshape(pixels.shape)
