"""What every mask codec offers, so that a network swaps one object."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, Literal, Protocol, TypeAlias, runtime_checkable

from .arrays import Array
from .image.boxed_rle import boxed_masks_to_rle, steps_of_batch
from .validate import vectors_and_boxes


class _Own(Enum):
    OWN = "the codec's own threshold"

    def __repr__(self) -> str:
        return self.value


# Says "the codec's own" where None means "no threshold".
OWN: Final = _Own.OWN
Threshold: TypeAlias = float | str | Literal[_Own.OWN] | None


@runtime_checkable
class MaskCodec(Protocol):
    """Square masks → vectors of one length → masks.

    Whatever has the two attributes and the two methods is one; the codecs of this package inherit
    `decode_to_rle` from here. Arrays are NumPy's, torch's or another library's that a codec knows,
    and come back as what they came.
    """

    @property
    def num_coefficients(self) -> int:
        """The length of a vector."""

    @property
    def mask_size(self) -> int:
        """The side of the masks, in pixels."""

    def encode(self, masks: Array) -> Array:
        """Vectors [..., coefficients], float, of masks [..., mask_size, mask_size]."""

    def decode(self, vectors: Array, threshold: Threshold = OWN, size: int | None = None) -> Array:
        """Masks [..., size, size] of vectors [..., coefficients].

        bool, by the codec's own threshold or the one given; the values before it, float, where
        that is None. `size` is `mask_size` unless given.
        """

    def decode_to_rle(
        self,
        vectors: Any,
        boxes: Any,
        image_size: tuple[int, int],
        threshold: Threshold = OWN,
        num_threads: int = 1,
    ) -> list[dict[str, Any]]:
        """COCO RLEs, `{"size": [height, width], "counts": str}`, of the masks in their boxes.

        The same strings as `masks_to_rle(paste_masks(decode(vectors), boxes, image_size))`, but
        no mask is ever laid out in the image, and vectors are decoded some at a time. vectors are
        [instances, coefficients], boxes [instances, 4] are (x0, y0, x1, y1) in pixels, image_size
        is (height, width). For boxes partly or wholly outside the image see `paste_masks`.
        """
        if threshold is None:
            msg = "threshold must be a rule or a number to get masks, got None"
            raise ValueError(msg)
        vectors_and_boxes(vectors, boxes, self.num_coefficients)
        rles: list[dict[str, Any]] = []
        for step in steps_of_batch(vectors.shape[0], self.mask_size):
            masks = self.decode(vectors[step, ...], threshold)
            part = boxes[step, ...]
            rles += boxed_masks_to_rle(masks, part, image_size, num_threads=num_threads)
        return rles
