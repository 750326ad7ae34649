"""Image files of a data set → what is wrong with them: unreadable, of another size, doubles."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image
from pycocotools import mask as coco_mask

from solq_train.data.coco import CocoFile, CocoImage
from solq_train.data.consistency import image_name, object_rle
from solq_train.data.defects import Defect, DefectKind, Fault
from solq_train.data.images import try_load_image


class PictureCheck:
    """Looks at the files of one split after the other and remembers what it has seen."""

    def __init__(self) -> None:
        self._first: dict[bytes, tuple[CocoFile, CocoImage, Path]] = {}  # by content
        self._named: set[Path] = set()

    def check(self, coco: CocoFile, folder: Path) -> Iterator[list[Defect]]:
        """The defects of each image of a file, in its order."""
        # Threads, because decoding an image does not hold the interpreter.
        with ThreadPoolExecutor() as pool:
            looked_at = pool.map(lambda image: _look_at(image, folder), coco.images)
            for image, (defects, content) in zip(coco.images, looked_at, strict=True):
                self._named.add(folder / image.file_name)
                if content is not None:
                    defects += self._doubles(coco, image, folder, content)
                yield defects

    def extra_files(self, folder: Path) -> Iterator[Defect]:
        """The images of a folder that no record seen so far names; each is told once."""
        known = Image.registered_extensions()
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in known and path not in self._named and path.is_file():
                self._named.add(path)
                what = f"must have a record in an annotation file, got none ({folder.name})"
                yield Defect(DefectKind.EXTRA_IMAGE, path.relative_to(folder).as_posix(), what)

    def _doubles(
        self, coco: CocoFile, image: CocoImage, folder: Path, content: bytes
    ) -> Iterator[Defect]:
        path = folder / image.file_name
        other_coco, other, other_path = self._first.setdefault(content, (coco, image, path))
        name = image_name(other)
        if other_coco is not coco:
            what = f"must be another picture than {name} of {other_coco.path.name}"
            yield Defect(DefectKind.LEAKED_IMAGE, image_name(image), what, image.id)
        elif other_path != path:  # else the file is recorded twice, another defect
            what = f"must be another picture than {name}"
            yield Defect(DefectKind.DUPLICATE_IMAGE, image_name(image), what, image.id)


def _look_at(image: CocoImage, folder: Path) -> tuple[list[Defect], bytes | None]:
    """What is wrong with one image, and a digest of the file's content if it can be read."""
    picture, fault = try_load_image(folder, image)
    # The size in the record of an image that cannot be read may be anything, even gigapixels.
    defects = list(_empty_masks(image)) if fault is None else [_defect(image, fault)]
    if picture is None:
        return defects, None
    content = (folder / image.file_name).read_bytes()
    return defects, hashlib.blake2b(content, digest_size=16).digest()


def _defect(image: CocoImage, fault: Fault) -> Defect:
    return Defect(fault[0], image_name(image), fault[1], image.id)


def _empty_masks(image: CocoImage) -> Iterator[Defect]:
    for item in image.annotations:
        if coco_mask.area(object_rle(item, image)) == 0:
            what = "'segmentation' must cover at least one pixel, got none"
            where = f"annotation id {item.id}"
            yield Defect(DefectKind.EMPTY_MASK, where, what, image.id, (item.id,))
