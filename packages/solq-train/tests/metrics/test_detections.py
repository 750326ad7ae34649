"""Detections in columns are the same detections in less memory."""

from __future__ import annotations

import gc
import pickle
import tracemalloc

import pytest

from solq_train.metrics import Detections


def detection(place: int, *, counts: str | None = "PZa0h1R4") -> dict:
    found = {
        "image_id": 10_000_000_000 + place // 3,
        "category_id": place % 2,
        "bbox": [0.1 * place, 2.0, 3.5, 1 / 3],
        "score": 1 / (place + 1),
    }
    if counts is not None:
        found["segmentation"] = {"size": [480, 640 + place // 3], "counts": counts + "1" * place}
    return found


@pytest.mark.parametrize("counts", ["PZa0h1R4", "", None])
def test_they_come_back_as_they_were(counts):
    given = [detection(place, counts=counts) for place in range(7)]
    detections = Detections()
    detections.extend(given[:3])
    detections.extend([])
    detections.extend(given[3:])

    assert len(detections) == 7
    assert list(detections) == given
    assert detections[-1] == given[-1]
    assert detections[1:6:2] == given[1:6:2]
    assert list(pickle.loads(pickle.dumps(detections))) == given


def test_parts_are_joined_in_their_order():
    given = [detection(place) for place in range(6)]
    parts = [Detections(), Detections(), Detections()]
    parts[0].extend(given[:3])
    parts[2].extend(given[3:])

    assert list(Detections.joined(parts)) == given
    assert len(Detections.joined([])) == 0


def test_an_index_outside_is_an_error():
    with pytest.raises(IndexError):
        Detections()[0]


def test_an_object_takes_less_than_100_bytes_besides_its_run_lengths():
    counts = "PZa0h1R4" * 20
    many = 20_000
    gc.collect()
    tracemalloc.start()
    detections = Detections()
    for place in range(many):
        detections.extend([detection(0, counts=counts) | {"image_id": place // 100}])
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(detections) == many
    assert held / many < len(counts) * 1.2 + 100
