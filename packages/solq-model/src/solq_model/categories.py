"""Categories: the data set's own ids and names, and the class slots of the network they live in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Category:
    """One category: its id and name in the data set, and its class slot in the network."""

    id: int
    name: str
    slot: int


@dataclass(frozen=True)
class Categories:
    """All categories of a model. Slots are an inside matter: every public edge speaks of ids."""

    entries: tuple[Category, ...]

    def __post_init__(self) -> None:
        for field in ("id", "slot"):
            values = [getattr(entry, field) for entry in self.entries]
            if len(set(values)) != len(values):
                msg = f"categories must have distinct {field}s, got {sorted(values)}"
                raise ValueError(msg)
        if any(entry.slot < 0 for entry in self.entries):
            msg = f"category slots must be at least 0, got {[e.slot for e in self.entries]}"
            raise ValueError(msg)

    @classmethod
    def contiguous(cls, coco_categories: Iterable[Mapping[str, Any]]) -> Categories:
        """Slots 0, 1, 2, … in the order of the ids: no class slot is wasted."""
        ordered = sorted(coco_categories, key=lambda category: int(category["id"]))
        return cls(
            tuple(
                Category(int(category["id"]), str(category["name"]), slot)
                for slot, category in enumerate(ordered)
            )
        )

    @classmethod
    def by_id(cls, coco_categories: Iterable[Mapping[str, Any]]) -> Categories:
        """The category id itself as the slot, as in the published COCO weights (91 slots)."""
        ordered = sorted(coco_categories, key=lambda category: int(category["id"]))
        return cls(
            tuple(
                Category(int(category["id"]), str(category["name"]), int(category["id"]))
                for category in ordered
            )
        )

    @classmethod
    def coco(cls) -> Categories:
        """The 80 categories of COCO by their ids, as in the published weights."""
        file = resources.files("solq_model") / "coco_categories.json"
        return cls.by_id(json.loads(file.read_text(encoding="utf-8")))

    @classmethod
    def numbered(cls, num_slots: int) -> Categories:
        """Nameless categories for a network whose data set is not known: id = slot."""
        return cls(tuple(Category(slot, f"class {slot}", slot) for slot in range(num_slots)))

    @cached_property
    def _by_id(self) -> dict[int, Category]:
        return {entry.id: entry for entry in self.entries}

    @cached_property
    def _by_slot(self) -> dict[int, Category]:
        return {entry.slot: entry for entry in self.entries}

    @property
    def num_slots(self) -> int:
        """The class slots a network needs at least: the largest slot and one more."""
        return max((entry.slot for entry in self.entries), default=-1) + 1

    def slot_of(self, category_id: int) -> int:
        """The class slot of a category id; ValueError for an id that is none of these."""
        if category_id not in self._by_id:
            known = ", ".join(str(entry.id) for entry in self.entries)
            msg = f"category id {category_id} is none of the model's categories: {known}"
            raise ValueError(msg)
        return self._by_id[category_id].slot

    def category_of(self, slot: int) -> Category | None:
        """The category in a class slot; None for a slot that stands for nothing."""
        return self._by_slot.get(slot)

    def to_json(self) -> list[dict[str, object]]:
        """Plain values for JSON."""
        return [{"id": e.id, "name": e.name, "slot": e.slot} for e in self.entries]

    @classmethod
    def from_json(cls, entries: Iterable[Mapping[str, Any]]) -> Categories:
        """The inverse of `to_json`."""
        return cls(tuple(Category(int(e["id"]), str(e["name"]), int(e["slot"])) for e in entries))
