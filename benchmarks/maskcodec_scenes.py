"""Masks and boxes that need no data: shapes in their box frames, boxes with COCO's sizes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIZE = 128
# Of a box as shares of the image, the root of its area: of log-uniform sides a mean area of 6.9 %
# and a median of 0.9 %. The boxes of 100 images of COCO's val2014 have 6.9 % and 0.7 %.
SIDES = (1 / 80, 3 / 4)
ASPECTS = (1 / 2, 2)
CORNERS = 256  # of the polygons that shapes are, before they are drawn


@dataclass(frozen=True)
class Scene:
    """Detections of one image: what a network's head gives to be written as run lengths."""

    masks: NDArray[np.bool_]  # [instances, SIZE, SIZE], in their boxes
    boxes: NDArray[np.float32]  # [instances, 4], (x0, y0, x1, y1) in pixels
    image_size: tuple[int, int]  # (height, width)

    @property
    def name(self) -> str:
        return "x".join(map(str, self.image_size))

    def facts(self) -> dict[str, float]:
        """The shares that the times depend on: boxes of the image, masks of their boxes."""
        height, width = self.image_size
        low = np.clip(self.boxes[:, :2], 0, [width, height])
        high = np.clip(self.boxes[:, 2:], 0, [width, height])
        shares = (high - low).prod(1) / (height * width)
        return {
            "masks": len(self.masks),
            "mean_box_share": float(shares.mean()),
            "median_box_share": float(np.median(shares)),
            "mean_fill": float(self.masks.mean()),
        }


def make_scene(count: int, image_size: tuple[int, int]) -> Scene:
    return Scene(make_masks(count), make_boxes(count, image_size), image_size)


def make_masks(count: int) -> NDArray[np.bool_]:
    """Shapes that touch the four sides of their frames, bool [count, SIZE, SIZE].

    Tilted ellipses in turn with blobs, more or less ragged. One in five is cut by a side of its
    frame, as an object is by the border of the image.
    """
    random = np.random.default_rng(0)
    angles = np.linspace(-np.pi, np.pi, CORNERS, endpoint=False)
    harmonics = np.arange(2, 13)
    masks = np.empty((count, SIZE, SIZE), np.bool_)
    centres = (np.arange(SIZE) + 0.5) / SIZE
    for index in range(count):
        if index % 2:
            phases = harmonics[:, None] * angles
            sizes = random.uniform(0.1, 0.6) * random.standard_normal((2, len(harmonics)))
            cosines, sines = sizes / harmonics
            radii = np.exp(cosines @ np.cos(phases) + sines @ np.sin(phases))
        else:
            tilt, flatness = random.uniform(-np.pi, np.pi), random.uniform(0, 0.9)
            radii = (1 + flatness * np.cos(2 * (angles - tilt))) ** -0.5
        x, y = radii * np.cos(angles), radii * np.sin(angles)
        x0, x1, y0, y1 = x.min(), x.max(), y.min(), y.max()
        if index % 5 == 4:
            x1 -= random.uniform(0.1, 0.5) * (x1 - x0)
        columns = x0 + centres * (x1 - x0)
        rows = (y0 + centres * (y1 - y0))[:, None]
        limits = np.interp(np.arctan2(rows, columns), angles, radii, period=2 * np.pi)
        masks[index] = np.hypot(rows, columns) < limits
    return masks


def make_boxes(count: int, image_size: tuple[int, int]) -> NDArray[np.float32]:
    """Boxes of log-uniform sizes anywhere in the image, float32 [count, 4].

    One in five reaches beyond the border by up to a tenth of its sides, as predictions do.
    """
    random = np.random.default_rng(1)
    sides = np.exp(random.uniform(*np.log(SIDES), count))
    aspects = np.exp(random.uniform(*np.log(ASPECTS), count) / 2)
    extents = np.minimum(np.stack([sides * aspects, sides / aspects], 1), 1)
    overhang = np.where(np.arange(count) % 5 == 4, 0.1, 0.0)[:, None] * extents
    starts = random.uniform(-overhang, 1 - extents + overhang)
    height, width = image_size
    boxes = np.concatenate([starts, starts + extents], 1) * [width, height, width, height]
    return boxes.astype(np.float32)
