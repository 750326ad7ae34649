import re
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from solq_maskcodec import boxed_masks_to_rle, masks_to_rle, native, paste_masks
from solq_maskcodec.image.boxed_rle import numpy_strings, steps_of_batch


def with_kernel(masks, boxes, height, width):
    return native.kernel.boxed_rle(masks, boxes, height, width, 1)


def as_tensors(*arrays):
    return tuple(map(torch.from_numpy, arrays))


needs_kernel = pytest.mark.skipif(native.kernel is None, reason=f"no kernel: {native.reason}")


@pytest.fixture(
    scope="module", params=[pytest.param(with_kernel, marks=needs_kernel), numpy_strings]
)
def strings(request):
    """Each of the two implementations."""
    return request.param


def through_the_image(masks, boxes, image_size):
    """The definition: a full-size mask, then its run lengths."""
    return [rle["counts"] for rle in masks_to_rle(paste_masks(masks, boxes, image_size))]


@st.composite
def scenes(draw):
    """Masks of every kind in boxes of every kind, in a small image."""
    size = draw(st.integers(1, 70))
    image_size = draw(st.tuples(st.integers(1, 90), st.integers(1, 90)))
    seed = draw(st.integers(0, 2**32 - 1))
    density = draw(st.sampled_from([0, 0.02, 0.3, 0.5, 0.97, 1]))
    coarseness = draw(st.sampled_from([1, 1, 5, 30]))
    fine = np.random.default_rng(seed).random((1, -(-size // coarseness), -(-size // coarseness)))
    masks = (fine < density).repeat(coarseness, 1).repeat(coarseness, 2)[:, :size, :size]
    coordinates = st.one_of(
        st.integers(-20, 110),
        st.integers(-40, 220).map(lambda half: half / 2),
        st.floats(-300, 400),
        st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    boxes = draw(arrays(np.float64, (1, 4), elements=coordinates))
    if draw(st.booleans()):
        boxes = np.concatenate([boxes.min(1, keepdims=True)] * 2 + [boxes[:, 2:]], axis=1)
    return np.ascontiguousarray(masks), boxes.astype(dtype), image_size


@given(scenes())
@example((np.ones((1, 1, 1), bool), np.array([[0, 0, 1, 1]], np.float32), (1, 1)))
@example((np.ones((1, 5, 5), bool), np.array([[-9, -9, 99, 99]], np.float32), (7, 3)))
@example((np.ones((1, 5, 5), bool), np.array([[0, 0, 1e-40, 9]], np.float32), (7, 3)))
@example((np.ones((1, 2, 2), bool), np.array([[-3e38, -3e38, 3e38, 3e38]], np.float32), (7, 3)))
@example((np.ones((1, 2, 2), bool), np.array([[5, 5, 5, 9]], np.float64), (7, 30)))
def test_strings_are_those_of_the_mask_in_the_image(strings, scene):
    masks, boxes, image_size = scene
    assert strings(masks, boxes, *image_size) == through_the_image(masks, boxes, image_size)


@pytest.mark.parametrize("scale", [4, 20, 100, 1000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_random_boxes_of_all_sizes_are_equal(strings, blobs, scale, dtype):
    random = np.random.default_rng(seed := scale)
    masks = np.concatenate([blobs(60, 33, seed), random.random((60, 33, 33)) < 0.5])
    corners = random.normal(100, scale, (120, 2))
    sides = np.abs(random.normal(0, scale, (120, 2)))
    boxes = np.concatenate([corners, corners + sides], axis=1).astype(dtype)
    boxes[::3] = np.round(boxes[::3] * 2) / 2  # ties at 0.5 and pixel borders
    assert strings(masks, boxes, 200, 250) == through_the_image(masks, boxes, (200, 250))


def test_columns_that_touch_across_the_border_are_one_run(strings):
    full = np.ones((1, 8, 8), bool)
    # 2 columns of 4 off, 3 on, 1 off.
    assert strings(full, np.array([[2.0, 0, 5, 4]]), 4, 6) == ["8<4"]


def test_the_published_strings_are_met(strings, published):
    for mask, box, rle in zip(
        published.decoded, published.boxes, published.pasted_rles, strict=True
    ):
        assert strings(mask[None], box[None], *rle["size"]) == [rle["counts"]]


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_any_number_of_threads_gives_the_same(blobs, threads):
    masks = blobs(50, 24)
    boxes = np.random.default_rng(0).uniform(0, 60, (50, 4)).astype(np.float32)
    expected = through_the_image(masks, boxes, (50, 60))
    found = boxed_masks_to_rle(masks, boxes, (50, 60), num_threads=threads)
    assert [rle["counts"] for rle in found] == expected
    assert all(rle["size"] == [50, 60] for rle in found)


def test_tensors_and_arrays_of_any_layout_are_encoded_alike(blobs):
    masks = blobs(5, 24)
    boxes = np.random.default_rng(0).uniform(0, 60, (5, 4))
    expected = boxed_masks_to_rle(masks, boxes, (50, 60))
    assert boxed_masks_to_rle(*as_tensors(masks, boxes), (50, 60)) == expected
    strided = np.asfortranarray(masks), np.repeat(boxes, 2, axis=1)[:, ::2]
    assert boxed_masks_to_rle(*strided, (50, 60)) == expected
    as_float = boxes.astype(np.float32).astype(np.float16).astype(np.float32)
    assert boxed_masks_to_rle(masks, as_float.astype(np.float16), (50, 60)) == boxed_masks_to_rle(
        masks, as_float, (50, 60)
    )


def test_nothing_gives_nothing(strings):
    assert strings(np.zeros((0, 4, 4), bool), np.zeros((0, 4)), 5, 5) == []
    assert boxed_masks_to_rle(np.zeros((0, 4, 4), bool), np.zeros((0, 4)), (5, 5)) == []


def test_numpy_alone_needs_no_memory_for_full_size_masks(blobs):
    masks = blobs(40, 128)
    boxes = np.tile(np.array([[0, 0, 1333, 800]], np.float32), (40, 1))
    numpy_strings(masks[:1], boxes[:1], 800, 1333)
    tracemalloc.start()
    numpy_strings(masks, boxes, 800, 1333)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6  # the masks in the image would be 43 MB


@pytest.mark.parametrize("size", [1, 64, 127, 128, 129, 1000, 100_000])
def test_steps_cover_a_batch_once(size):
    covered = [index for step in steps_of_batch(1000, size) for index in range(1000)[step]]
    assert covered == list(range(1000))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"masks": np.ones((2, 3, 4), bool)}, "masks must be [instances, size, size], got shape"),
        ({"masks": np.ones((2, 0, 0), bool)}, "masks must be [instances, size, size], got shape"),
        ({"masks": np.ones((4, 4), bool)}, "masks must be [instances, size, size], got shape"),
        ({"masks": np.ones((2, 4, 4))}, "masks must be bool (threshold numbers first), got dtype"),
        ({"boxes": np.ones((3, 4))}, "one box for each of 2 masks, got shape (3, 4)"),
        ({"boxes": np.array([[0, 0, 1, 1], [0, np.nan, 1, 1]])}, "boxes must be finite, got"),
        ({"boxes": np.array([[0, 0, 1, 1], [0, 0, np.inf, 1]])}, "boxes must be finite, got"),
        ({"image_size": (0, 5)}, "image_size height must be a positive integer, got 0"),
        ({"image_size": 5}, "image_size must be (height, width), got 5"),
        ({"image_size": (2**16, 2**16)}, "image_size must have at most 4294967295 pixels, got"),
        ({"num_threads": 0}, "num_threads must be a positive integer, got 0"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    fitting = {"masks": np.ones((2, 4, 4), bool), "boxes": np.ones((2, 4)), "image_size": (5, 5)}
    with pytest.raises(ValueError, match=re.escape(message)):
        boxed_masks_to_rle(**fitting | arguments)


@needs_kernel
@pytest.mark.parametrize(
    ("masks", "boxes", "sides"),
    [
        (np.ones((2, 3, 4), bool), np.ones((2, 4)), (5, 5)),
        (np.ones((2, 0, 0), bool), np.ones((2, 4)), (5, 5)),
        (np.ones((2, 4, 4), bool), np.ones((1, 4)), (5, 5)),
        (np.ones((2, 4, 4), bool), np.ones((2, 3)), (5, 5)),
        (np.ones((2, 4, 4), bool), np.ones((2, 4)), (-1, 5)),
        (np.ones((2, 4, 4), bool), np.ones((2, 4)), (2**62, 4)),
    ],
)
def test_the_kernel_itself_refuses_what_it_would_read_beyond(masks, boxes, sides):
    with pytest.raises(ValueError, match="must be"):
        native.kernel.boxed_rle(masks, boxes, *sides, 1)
    with pytest.raises(TypeError):
        native.kernel.boxed_rle(masks.astype(np.float64), boxes, *sides, 1)


@needs_kernel
@given(arrays(np.uint64, (3, 4)), st.integers(1, 12))
def test_the_kernel_survives_every_pattern_of_bits_in_boxes(patterns, size):
    """Also NaN and infinities, which the Python functions refuse."""
    masks = np.random.default_rng(size).random((3, size, size)) < 0.5
    for boxes in (patterns.view(np.float64), patterns.view(np.float32)[:, :4].copy()):
        counts = native.kernel.boxed_rle(masks, boxes, 20, 30, 1)
        assert all(isinstance(text, str) and text for text in counts)
