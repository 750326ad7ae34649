"""Categories: ids and names of a data set, class slots of a network."""

import json

import pytest

from solq_model import Categories, Category

COCO = [{"id": 23, "name": "bear"}, {"id": 1, "name": "person"}, {"id": 7, "name": "train"}]


def test_contiguous_slots_follow_the_order_of_the_ids():
    categories = Categories.contiguous(COCO)
    assert categories.entries == (
        Category(1, "person", 0),
        Category(7, "train", 1),
        Category(23, "bear", 2),
    )
    assert categories.num_slots == 3


def test_slots_by_id_are_the_ids():
    categories = Categories.by_id(COCO)
    assert [entry.slot for entry in categories.entries] == [1, 7, 23]
    assert categories.num_slots == 24


def test_numbered_categories_are_named_after_their_slot():
    categories = Categories.numbered(2)
    assert categories.entries == (Category(0, "class 0", 0), Category(1, "class 1", 1))


@pytest.mark.parametrize("make", [Categories.contiguous, Categories.by_id])
def test_ids_go_to_slots_and_back(make):
    categories = make(COCO)
    for entry in COCO:
        found = categories.category_of(categories.slot_of(entry["id"]))
        assert found is not None
        assert (found.id, found.name) == (entry["id"], entry["name"])


def test_a_slot_without_a_category_stands_for_nothing():
    assert Categories.by_id(COCO).category_of(0) is None
    assert Categories.contiguous(COCO).category_of(3) is None


def test_an_unknown_id_is_named_beside_the_known_ones():
    message = "category id 2 is none of the model's categories: 1, 7, 23"
    with pytest.raises(ValueError, match=message):
        Categories.contiguous(COCO).slot_of(2)


def test_no_categories_need_no_slot():
    assert Categories.contiguous([]).num_slots == 0


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ((Category(1, "a", 0), Category(1, "b", 1)), r"must have distinct ids, got \[1, 1\]"),
        ((Category(1, "a", 2), Category(2, "b", 2)), r"must have distinct slots, got \[2, 2\]"),
        ((Category(1, "a", -1),), r"category slots must be at least 0, got \[-1\]"),
    ],
)
def test_ambiguous_categories_are_refused(entries, message):
    with pytest.raises(ValueError, match=message):
        Categories(entries)


def test_json_and_back_is_the_same():
    categories = Categories.by_id(COCO)
    assert Categories.from_json(json.loads(json.dumps(categories.to_json()))) == categories


def test_the_categories_of_coco_are_80_of_91_slots():
    coco = Categories.coco()
    assert (len(coco.entries), coco.num_slots) == (80, 91)
    assert all(entry.id == entry.slot for entry in coco.entries)
    known = {1: "person", 13: "stop sign", 18: "dog", 67: "dining table", 90: "toothbrush"}
    assert {id: coco.category_of(id).name for id in known} == known
    assert coco.category_of(12) is None  # a street sign, which nobody annotated
