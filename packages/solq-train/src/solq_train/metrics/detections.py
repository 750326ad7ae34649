"""Detections of many images in little memory: columns of numbers, and run lengths as they are."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any, overload

Detection = dict[str, Any]  # COCO's result format


class Detections(Sequence[Detection]):
    """A sequence of COCO results, each made when it is asked for.

    An object takes 64 bytes besides its run lengths; as a dict it takes some 1,200.
    """

    def __init__(self) -> None:
        self._image_ids = array("q")
        self._category_ids = array("q")
        self._scores = array("d")
        self._boxes = array("d")  # (x, y, width, height) of each
        self._sizes: dict[int, list[int]] = {}  # image id → [height, width] of its masks
        self._counts = bytearray()
        self._ends = array("q")  # of each object's run lengths; none without masks

    def extend(self, detections: Iterable[Detection]) -> None:
        """Take detections with a box; all of them have compressed run lengths, or none has."""
        for detection in detections:
            image_id = detection["image_id"]
            self._image_ids.append(image_id)
            self._category_ids.append(detection["category_id"])
            self._scores.append(detection["score"])
            self._boxes.extend(detection["bbox"])
            if (mask := detection.get("segmentation")) is not None:
                self._sizes[image_id] = list(mask["size"])
                self._counts += mask["counts"].encode("ascii")
                self._ends.append(len(self._counts))
        assert len(self._ends) in (0, len(self)), "some detections have masks and some have none"

    @classmethod
    def joined(cls, parts: Iterable[Detections]) -> Detections:
        """The detections of all parts, one after another."""
        whole = cls()
        for part in parts:
            whole.extend(part)
        return whole

    def __len__(self) -> int:
        return len(self._image_ids)

    @overload
    def __getitem__(self, index: int) -> Detection: ...
    @overload
    def __getitem__(self, index: slice) -> list[Detection]: ...
    def __getitem__(self, index: int | slice) -> Detection | list[Detection]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        place = range(len(self))[index]
        image_id = self._image_ids[place]
        detection: Detection = {
            "image_id": image_id,
            "category_id": self._category_ids[place],
            "bbox": self._boxes[4 * place : 4 * place + 4].tolist(),
            "score": self._scores[place],
        }
        if self._ends:
            start = self._ends[place - 1] if place else 0
            counts = self._counts[start : self._ends[place]].decode("ascii")
            detection["segmentation"] = {"size": list(self._sizes[image_id]), "counts": counts}
        return detection
