"""Random scenes of textured shapes: a picture and the visible mask of every object in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from solq_train.data.outlines import Kind, Outline, draw_outline
from solq_train.data.segmentations import segmentation_mask
from solq_train.data.textures import noise_pattern, surface_pattern

# Lengths are in pixels of an image of 128; other sizes scale them.
_RADII = (11.0, 34.0)
_CROWD_RADII = (4.0, 7.0)
_GAPS = (4.0, 7.0)
_SMALLEST_SPLIT = 18.0  # radius: below it the gap would be most of the object
_SPLIT_SHARE = 0.15
_LARGEST_LOSS = 0.45  # of its area, that an object may lose to others and to the border
_NUM_TRIES = 12  # to find a place where an object hides no other too much
_SMALLEST_CONTRAST = 0.4  # between the colours of object and background, in RGB of 0 to 1


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """An object, or a crowd of small ones, as far as it can be seen."""

    kind: Kind
    mask: Bool[np.ndarray, "height width"]
    polygons: list[list[float]]  # x, y, x, y, …; cover exactly the mask; none where it has holes
    is_crowd: bool


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A picture and its objects, the furthest first."""

    picture: UInt8[np.ndarray, "height width 3"]
    objects: list[SceneObject]


def draw_scene(
    rng: np.random.Generator, size: int, num_objects: int, *, with_crowd: bool = False
) -> Scene:
    """A square scene of `num_objects` objects, fewer where there is no room for more."""
    canvas = _Canvas(rng, size)
    if with_crowd:
        canvas.add_crowd()
    for _ in range(num_objects):
        canvas.add_object()
    return Scene(picture=canvas.finish(), objects=canvas.objects)


class _Canvas:
    """A scene in the making; each new object lies over the earlier ones."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self._rng = rng
        self._size = size
        first, second = rng.uniform(0.1, 0.9, size=(2, 3)).astype(np.float32)
        # Not all the way to the second colour, so that there is contrast left for the objects.
        self._picture = first + 0.6 * (second - first) * noise_pattern(rng, size)[..., None]
        self._background = self._picture.mean(axis=(0, 1))
        self._whole_areas: list[float] = []  # of `objects`, were nothing of them hidden
        self.objects: list[SceneObject] = []

    def add_object(self) -> None:
        """Puts an object where all stay visible enough; leaves it out if no such place is found."""
        kind = self._random_kind()
        for _ in range(_NUM_TRIES):
            radius = self._rng.uniform(*_RADII)
            is_split = radius >= _SMALLEST_SPLIT and self._rng.random() < _SPLIT_SHARE
            outline = self._outline(
                kind,
                center=self._rng.uniform(0.4 * radius, 128 - 0.4 * radius, size=2),
                radius=radius,
                gap=self._rng.uniform(*_GAPS) if is_split else 0.0,
            )
            item = _rasterize(outline, self._size)
            objects = [*(_behind(earlier, item.mask) for earlier in self.objects), item]
            areas = [*self._whole_areas, outline.area]
            if all(
                seen.mask.sum() >= (1 - _LARGEST_LOSS) * area
                for seen, area in zip(objects, areas, strict=True)
            ):
                self.objects, self._whole_areas = objects, areas
                self._paint(item.mask)
                return

    def add_crowd(self) -> None:
        """Puts a heap of small objects of one kind, as one crowd."""
        kind = self._random_kind()
        heap = np.zeros((self._size, self._size), dtype=bool)
        middle = self._rng.uniform(36, 92, size=2)
        for _ in range(self._rng.integers(14, 25)):
            center = middle + self._rng.normal(0, 12, size=2)
            outline = self._outline(kind, center, radius=self._rng.uniform(*_CROWD_RADII))
            mask = _rasterize(outline, self._size).mask
            self._paint(mask)
            heap |= mask
        self.objects.append(SceneObject(kind=kind, mask=heap, polygons=[], is_crowd=True))
        self._whole_areas.append(float(heap.sum()))

    def finish(self) -> UInt8[np.ndarray, "height width 3"]:
        """The picture, with noise on every pixel."""
        noise = self._rng.standard_normal(self._picture.shape, dtype=np.float32)
        picture: UInt8[np.ndarray, "height width 3"] = (
            ((self._picture + 0.03 * noise) * 255).clip(0, 255).astype(np.uint8)
        )
        return picture

    def _random_kind(self) -> Kind:
        kinds: tuple[Kind, ...] = get_args(Kind)
        return kinds[self._rng.integers(len(kinds))]

    def _outline(
        self, kind: Kind, center: Float64[np.ndarray, 2], radius: float, gap: float = 0.0
    ) -> Outline:
        scale = self._size / 128
        return draw_outline(self._rng, kind, center * scale, radius * scale, gap * scale)

    def _paint(self, mask: Bool[np.ndarray, "height width"]) -> None:
        """A surface of two random colours that stand out from the background."""
        colors = self._rng.random((16, 3), dtype=np.float32)
        contrasts = np.linalg.norm(colors - self._background, axis=1)
        color = colors[np.argmax(contrasts > _SMALLEST_CONTRAST)]
        other = color + self._rng.uniform(-0.3, 0.3, size=3).astype(np.float32)
        pattern = surface_pattern(self._rng, self._size)[mask][:, None]
        self._picture[mask] = color + (other - color) * pattern


def _rasterize(outline: Outline, size: int) -> SceneObject:
    """The object of an outline with nothing in front of it, cut off at the border."""
    # Rounded first, so that who reads the polygons from a file gets this very mask.
    polygons = [polygon.clip(0, size).round(2).ravel().tolist() for polygon in outline.polygons]
    mask = segmentation_mask(polygons, (size, size))
    if outline.hole is not None:
        mask &= ~segmentation_mask([outline.hole.ravel().tolist()], (size, size))
        polygons = []
    return SceneObject(kind=outline.kind, mask=mask, polygons=polygons, is_crowd=False)


def _behind(item: SceneObject, mask: Bool[np.ndarray, "height width"]) -> SceneObject:
    """What is left to see of an object behind a mask."""
    if not (item.mask & mask).any():
        return item
    return replace(item, mask=item.mask & ~mask, polygons=[])
