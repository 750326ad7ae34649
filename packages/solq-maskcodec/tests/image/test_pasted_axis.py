import numpy as np

from solq_maskcodec.image.pasted_axis import pasted_axes


def axis_of(start, stop, extent, size, dtype=np.float32):
    return pasted_axes(np.array([start], dtype), np.array([stop], dtype), extent, size)[0]


def test_a_worked_example():
    # Two cells over pixels 1 to 5: their centres lie at 2 and 4, each 2 pixels wide.
    axis = axis_of(1, 5, 8, 2)
    assert axis.span == slice(0, 6)
    np.testing.assert_array_equal(axis.low, [1, 1, 2, 2, 3, 3])
    np.testing.assert_array_equal(axis.high_weight, [0.25, 0.75, 0.25, 0.75, 0.25, 0.75])
    np.testing.assert_array_equal(axis.low_weight, 1 - axis.high_weight)


def test_boxes_at_once_are_as_boxes_alone():
    random = np.random.default_rng(0)
    starts, sides = random.normal(50, 60, (2, 40)).astype(np.float32)
    together = pasted_axes(starts, starts + sides, 120, 28)
    for axis, start, side in zip(together, starts, sides, strict=True):
        alone = axis_of(start, start + side, 120, 28)
        assert axis.span == alone.span
        for one, other in zip(axis[1:], alone[1:], strict=True):
            np.testing.assert_array_equal(one, other)


def test_boxes_without_extent_or_outside_have_no_pixels():
    assert len(axis_of(5, 5, 10, 4).low) == 0
    assert len(axis_of(6, 5, 10, 4).low) == 0
    assert len(axis_of(20, 30, 10, 4).low) == 0
    assert len(axis_of(-30, -20, 10, 4).low) == 0
    assert pasted_axes(np.zeros(0), np.zeros(0), 10, 4) == []


def test_cells_ascend_and_stay_inside_the_padded_mask():
    random = np.random.default_rng(1)
    scales = 10.0 ** random.uniform(-40, 38, (300, 2))
    with np.errstate(over="ignore"):
        starts = (scales[:, 0] * random.choice([-1, 1], 300)).astype(np.float32)
        stops = (starts + scales[:, 1]).astype(np.float32)
    for axis in pasted_axes(starts, stops, 50, 16):
        assert (np.diff(axis.low) >= 0).all()
        assert ((axis.low >= 0) & (axis.low <= 18)).all()
        assert ((axis.high_weight >= 0) & (axis.high_weight <= 1)).all()
