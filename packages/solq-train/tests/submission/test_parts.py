"""The parts of a submission under way."""

from __future__ import annotations

import pytest

from solq_train.submission import Parts, parts

MANIFEST = {"format": parts.FORMAT, "top_k": 5, "model": {"weights_sha256": "a"}}


@pytest.fixture
def begun(tmp_path, monkeypatch) -> Parts:
    monkeypatch.setattr(parts, "PART_IMAGES", 2)
    found = Parts(folder=tmp_path, num_images=5)
    assert not found.is_begun()
    found.begin(MANIFEST)
    return found


def test_the_images_are_divided_among_the_parts_and_the_last_one_may_be_smaller(begun):
    assert [list(begun.images_of(part)) for part in begun.missing()] == [[0, 1], [2, 3], [4]]


def test_lines_come_back_in_the_order_of_the_images_whatever_was_written_first(begun):
    for part, lines in ((2, ["e"]), (0, ["a", "b"]), (1, [])):
        begun.write(part, lines)
    assert begun.missing() == []
    assert list(begun.lines()) == ["a", "b", "e"]
    assert begun.num_bytes() == 6


def test_a_part_that_was_being_written_is_missing_still_and_its_rest_is_removed(begun, tmp_path):
    begun.write(0, ["a"])
    rest = tmp_path / "parts" / ".000001.jsonl.1.tmp"
    rest.write_text("half")
    begun.resume(MANIFEST)
    assert begun.missing() == [1, 2]
    assert not rest.exists()


def test_other_settings_are_refused_by_name(begun):
    with pytest.raises(ValueError, match=r'top_k: 5 → 6; model.weights_sha256: "a" → "b"'):
        begun.resume(MANIFEST | {"top_k": 6, "model": {"weights_sha256": "b"}})


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_a_damaged_manifest_is_refused(begun, tmp_path, text):
    (tmp_path / parts.MANIFEST).write_text(text)
    with pytest.raises(ValueError, match=r"manifest\.json"):
        begun.resume(MANIFEST)
