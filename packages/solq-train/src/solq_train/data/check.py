"""Data set → report: every defect at once, what is in it, and what a mask codec keeps of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from solq_train.data.coco import CocoFile, parse_coco, without_collection
from solq_train.data.consistency import consistency_defects
from solq_train.data.defects import Defect, DefectKind
from solq_train.data.layout import Split
from solq_train.data.pictures import PictureCheck
from solq_train.data.quality import codec_quality
from solq_train.data.report import CategoryCount, DataReport, DataSummary, DefectCount

Progress = Callable[[int, int], None]  # images done, images in all

_NUM_EXAMPLES = 12


class _Tally:
    """Counts defects by kind and keeps the first ones."""

    def __init__(self) -> None:
        self._found: dict[DefectKind, DefectCount] = {}

    def add(self, defect: Defect) -> None:
        found = self._found.setdefault(defect.kind, DefectCount(kind=defect.kind))
        found.count += 1
        if len(found.examples) < _NUM_EXAMPLES:
            found.examples.append(defect)

    def by_kind(self) -> tuple[DefectCount, ...]:
        """In the order of `DefectKind`, which is from grave to harmless."""
        return tuple(self._found[kind] for kind in DefectKind if kind in self._found)


def check_splits(
    splits: Sequence[Split],
    progress: Progress | None = None,
    *,
    read_images: bool = True,
    num_coefficients: int = 256,
    quality_objects: int = 0,
) -> list[DataReport]:
    """Everything wrong with the splits of one data set, a report for each.

    With `read_images` every image is decoded and every mask drawn, and pictures that are in two
    splits or in none are found; else only the annotation files are read. The codec's ceiling is
    measured on about `quality_objects` objects, spread over the split; 0 leaves it out.
    """
    tallies = [_Tally() for _ in splits]
    checked = [
        _check_file(split.annotations, tally) for split, tally in zip(splits, tallies, strict=True)
    ]
    files = [coco for coco, _ in checked]
    if read_images:
        pictures = PictureCheck()
        counts = [len(coco.images) if coco is not None else 0 for coco in files]
        for number, (coco, split, tally) in enumerate(zip(files, splits, tallies, strict=True)):
            if coco is None:
                continue
            for done, defects in enumerate(pictures.check(coco, split.images), start=1):
                for defect in defects:
                    tally.add(defect)
                if progress is not None:
                    progress(sum(counts[:number]) + done, sum(counts))
        for split, coco, tally in zip(splits, files, tallies, strict=True):
            for defect in pictures.extra_files(split.images) if coco is not None else ():
                tally.add(defect)
    return [
        DataReport(
            annotations=split.annotations,
            images=split.images,
            defects=tally.by_kind(),
            summary=summary,
            coco=coco,
            quality=None
            if coco is None
            else codec_quality(coco, num_coefficients, most_objects=quality_objects),
        )
        for (coco, summary), split, tally in zip(checked, splits, tallies, strict=True)
    ]


def check_coco(annotations: Path, images: Path, progress: Progress | None = None) -> DataReport:
    """Everything wrong with a single annotation file and its images."""
    return check_splits([Split(annotations=annotations, images=images)], progress)[0]


def _check_file(
    annotations: Path, tally: _Tally
) -> tuple[CocoFile, DataSummary] | tuple[None, None]:
    """The records that can be used and what they are, once all defects of the file are counted."""
    with without_collection():
        coco = parse_coco(annotations, tally.add)
        if coco is None:
            return None, None
        defects, broken = consistency_defects(coco)
        summary = _summarize(coco)
    for defect in defects:
        tally.add(defect)
    for category in summary.categories:
        if category.num_instances == 0:
            where = f"category id {category.id} ('{category.name}')"
            tally.add(Defect(DefectKind.UNUSED_CATEGORY, where, "no annotation names it"))
    if broken:
        images = [
            replace(image, annotations=tuple(a for a in image.annotations if a.id not in broken))
            for image in coco.images
        ]
        coco = replace(coco, images=tuple(images))
    return coco, summary


def _summarize(coco: CocoFile) -> DataSummary:
    items = [item for image in coco.images for item in image.annotations]
    objects = [item for item in items if not item.is_crowd]
    num_small = sum(item.area < 32**2 for item in objects)
    num_large = sum(item.area >= 96**2 for item in objects)
    by_category = Counter(item.category_id for item in objects)
    return DataSummary(
        num_images=len(coco.images),
        num_empty_images=sum(not image.annotations for image in coco.images),
        num_instances=len(objects),
        num_crowds=len(items) - len(objects),
        num_small=num_small,
        num_medium=len(objects) - num_small - num_large,
        num_large=num_large,
        categories=tuple(
            CategoryCount(
                id=category["id"],
                name=category["name"],
                num_instances=by_category[category["id"]],
            )
            for category in coco.categories
        ),
    )
