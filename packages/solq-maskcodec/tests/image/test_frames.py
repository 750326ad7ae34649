import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from torchvision.ops import roi_align

from solq_maskcodec import crop_masks, masks_to_rle, paste_masks, rle_to_masks
from solq_maskcodec.image.polygons import polygons_to_rle


@st.composite
def scenes(draw):
    """Masks of one kind with boxes that may have any size and reach far outside."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, height, width = 4, draw(st.integers(1, 90)), draw(st.integers(1, 90))
    rows, columns = np.mgrid[:height, :width]
    kind = draw(st.sampled_from(["noise", "chessboard", "half", "full"]))
    masks = {
        "noise": random.random((count, height, width)) > 0.5,
        "chessboard": np.stack([(rows + columns) % 2 == 0] * count),
        "half": np.stack([columns >= random.integers(width) for _ in range(count)]),
        "full": np.ones((count, height, width), bool),
    }[kind]
    corners = np.sort(random.uniform(-60, 150, (count, 2, 2)), axis=1).reshape(count, 4)
    # Boxes on a grid make bins whose mean is exactly a half, the case in which order matters.
    grid = draw(st.sampled_from([None, 1, 2, 4, 3, 10]))
    boxes = corners if grid is None else np.round(corners * grid) / grid
    return masks, boxes.astype(np.float32)


def roi_align_crops(masks, boxes, size):
    regions = torch.cat([torch.arange(len(boxes))[:, None], torch.from_numpy(boxes)], dim=1)
    images = torch.from_numpy(masks)[:, None].float()
    pooled = roi_align(images, regions, size, 1.0, sampling_ratio=0, aligned=True)
    return (pooled[:, 0] >= 0.5).numpy()


def grid_sample_paste(mask, box, image_size, threshold=0.5):
    """One mask pasted in the way of detectron2's CPU path: grid_sample over the box and a rim."""
    height, width = image_size
    x0, y0, x1, y1 = torch.from_numpy(box)
    left, top = (int(edge.floor().clamp(min=1)) - 1 for edge in (x0, y0))
    right, bottom = min(int(x1.ceil()) + 1, width), min(int(y1.ceil()) + 1, height)
    pasted = torch.zeros(height, width)
    if right > left and bottom > top:
        x = (torch.arange(left, right, dtype=torch.float32) + 0.5 - x0) / (x1 - x0) * 2 - 1
        y = (torch.arange(top, bottom, dtype=torch.float32) + 0.5 - y0) / (y1 - y0) * 2 - 1
        grid = torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], dim=-1)
        pasted[top:bottom, left:right] = F.grid_sample(
            torch.from_numpy(mask).float()[None, None], grid[None].float(), align_corners=False
        )[0, 0]
    return (pasted if threshold is None else pasted >= threshold).numpy()


def skip_without_fused_grid_sample():
    if "AVX" not in torch.backends.cpu.get_cpu_capability():
        pytest.skip("torch rounds each step of grid_sample apart on a CPU without AVX2")


def test_crops_equal_the_published_ones(published):
    for rle, box, expected in zip(
        published.image_rles, published.boxes, published.masks, strict=True
    ):
        crop = crop_masks(rle_to_masks([rle]), box[None], 128)[0]
        np.testing.assert_array_equal(crop, expected)


def test_pasted_masks_equal_the_published_ones(published):
    identical = 0
    for rle, box, mask in zip(
        published.pasted_rles, published.boxes, published.decoded, strict=True
    ):
        pasted = paste_masks(mask[None], box[None], tuple(rle["size"]))
        assert (pasted != rle_to_masks([rle])).mean() <= 1e-4
        identical += masks_to_rle(pasted) == [rle]
    assert identical == len(published.pasted_rles)


@given(scenes(), st.sampled_from([1, 2, 7, 28, 31]))
def test_crops_equal_roi_align(scene, size):
    masks, boxes = scene
    np.testing.assert_array_equal(
        crop_masks(masks, boxes, size), roi_align_crops(masks, boxes, size)
    )


@pytest.mark.parametrize("corner", [-3, -2.5, -2, 0, 0.5])
def test_crops_at_the_border_reach_as_far_as_those_of_roi_align(corner):
    # Among these, points exactly one pixel outside count and points further out do not.
    box = np.array([[corner, corner, corner + 8, corner + 8]], np.float32)
    masks = np.ones((1, 4, 4), bool)
    np.testing.assert_array_equal(crop_masks(masks, box, 8), roi_align_crops(masks, box, 8))


@given(scenes(), st.sampled_from([1, 7, 28]))
def test_crops_of_tensors_equal_those_of_arrays(scene, size):
    masks, boxes = scene
    crops = crop_masks(torch.from_numpy(masks), torch.from_numpy(boxes), size)
    np.testing.assert_array_equal(crops.numpy(), crop_masks(masks, boxes, size))


def test_a_crop_to_its_own_size_is_a_slice():
    mask = np.random.default_rng(0).random((1, 20, 30)) > 0.5
    crop = crop_masks(mask, np.array([[3.0, 4, 11, 12]]), 8)
    np.testing.assert_array_equal(crop[0], mask[0, 4:12, 3:11])


@pytest.mark.parametrize("box", [[5, 5, 5, 9], [5, 5, 9, 5], [50, 2, 60, 9], [9, 2, 5, 9]])
def test_crops_of_boxes_without_area_or_outside_are_empty(box):
    assert not crop_masks(np.ones((1, 10, 10), bool), np.array([box]), 4).any()


def test_crops_of_an_image_without_pixels_are_empty():
    assert not crop_masks(np.ones((1, 0, 10), bool), np.array([[-2.0, -2, 5, 5]]), 4).any()


def test_integer_and_float_masks_crop_as_bool_ones_do():
    masks = np.random.default_rng(0).random((3, 20, 30)) > 0.5
    boxes = np.array([[0.3, 1, 20, 17], [2, 2, 9, 9], [-4, -4, 50, 50]], np.float32)
    expected = crop_masks(masks, boxes, 14)
    for dtype in (np.uint8, np.float32, np.float64):
        np.testing.assert_array_equal(crop_masks(masks.astype(dtype), boxes, 14), expected)


@pytest.mark.parametrize("box", [[-4e5, 3, 5e5, 9], [3, -1e5, 9, 1e5], [-900, -700, 1200, 900]])
def test_crops_of_boxes_far_larger_than_the_image_equal_roi_align(box):
    masks = np.random.default_rng(0).random((1, 12, 14)) > 0.3
    boxes = np.array([box], np.float32)
    np.testing.assert_array_equal(crop_masks(masks, boxes, 9), roi_align_crops(masks, boxes, 9))


def test_boxes_too_far_out_to_tell_pixels_apart_are_refused_with_their_index():
    boxes = np.array([[0, 0, 5, 5], [0, 0, 2e9, 5]])
    with pytest.raises(
        ValueError, match=r"boxes must lie within 1073741824 pixels, got .* index 1"
    ):
        crop_masks(np.ones((2, 9, 9)), boxes, 4)


def test_many_boxes_crop_as_each_one_does():
    random = np.random.default_rng(0)
    masks = random.random((70, 40, 50)) > 0.5
    boxes = np.sort(random.uniform(-20, 70, (70, 2, 2)), axis=1).reshape(70, 4)
    crops = crop_masks(masks, boxes, 19)
    for mask, box, crop in zip(masks, boxes, crops, strict=True):
        np.testing.assert_array_equal(crop_masks(mask[None], box[None], 19)[0], crop)


@given(scenes(), st.sampled_from([1, 7, 28, 31]))
def test_crops_of_rles_of_all_kinds_equal_those_of_masks(scene, size):
    masks, boxes = scene
    rles = masks_to_rle(masks)
    rles[1]["counts"] = rles[1]["counts"].encode()
    rles[2]["counts"] = runs_of(masks[2])
    crops = crop_masks(rles, boxes, size)
    assert isinstance(crops, np.ndarray)
    np.testing.assert_array_equal(crops, crop_masks(masks, boxes, size))
    np.testing.assert_array_equal(crop_masks(tuple(rles), torch.tensor(boxes), size), crops)


def runs_of(mask):
    """Uncompressed counts, with empty runs between."""
    runs = []
    for is_mask in mask.T.reshape(-1).tolist():
        runs += [0, 1] if is_mask else [1, 0]
    return runs


def test_crops_of_polygons_equal_those_of_their_masks():
    parts = [
        [[3.3, 4, 30, 6.5, 20, 33.1], [40, 1, 55, 1, 55, 20, 40, 25]],
        [np.array([[10, 5], [12.5, 44], [1, 40]])],
    ]
    rles = [polygons_to_rle(polygons, (50, 60)) for polygons in parts]
    boxes = np.array([[3, 1, 55, 33.1], [-2.5, 4, 12.5, 46]])
    crops = crop_masks([parts[0], rles[1]], boxes, 28, image_size=(50, 60))
    np.testing.assert_array_equal(crops, crop_masks(rle_to_masks(rles), boxes, 28))
    np.testing.assert_array_equal(crop_masks(parts, boxes, 28, (50, 60)), crops)


def test_only_the_columns_of_a_box_are_decoded():
    rle = {"size": [2**20, 2**20], "counts": [2**19 + 2**20, 2**19, 2**40 - 2**21]}
    crop = crop_masks([rle], np.array([[0, 2**19 - 2, 4, 2**19 + 2]], np.float32), 4)
    np.testing.assert_array_equal(crop, [[[False] * 4] * 2 + [[False, True, False, False]] * 2])


def test_no_segmentations_give_no_masks():
    assert crop_masks([], np.zeros((0, 4)), 5).shape == (0, 5, 5)


@pytest.mark.parametrize(
    ("masks", "image_size", "message"),
    [
        ([[[1, 1, 4, 1, 4, 3]]], None, "image_size must be (height, width) for polygons, got None"),
        ([None], None, "image_size must be (height, width) for polygons, got None"),
        ([{"size": [2, 3]}], None, 'rle 0 must be {"size": [height, width], "counts"'),
        ([{"size": [2, 3], "counts": [6]}], (3, 2), "rle 0 must have the size [3, 2] of all, got"),
        (
            [{"size": [2, 3], "counts": [6]}, {"size": [3, 2], "counts": [6]}],
            None,
            "rle 1 must have the size [2, 3] of all, got [3, 2]",
        ),
        (
            [{"size": [2, 3], "counts": [6]}, {"size": [2, 3], "counts": [5]}],
            None,
            "counts of rle 1 must be lengths that add up to 2 * 3 = 6, got a sum of 5",
        ),
        ([{"size": [2, 3], "counts": [6]}, [[1, 2]]], None, "masks[1][0] must be [x0, y0, x1, y1"),
        ([{"size": [2, 3], "counts": [6]}, None], None, "masks[1] must be a list of at least one"),
        (np.zeros((1, 2, 3)), (3, 2), "masks must have the image_size (3, 2), got (2, 3)"),
        ([{"size": [2, 3], "counts": [6]}] * 2, (2, 0), "image_size width must be a positive"),
        ([{"size": [2, 3], "counts": [6]}] * 3, None, "boxes must be [instances, 4] with one box"),
    ],
)
def test_segmentations_that_are_broken_are_refused_with_their_index(masks, image_size, message):
    boxes = np.full((min(len(masks), 2), 4), -5.0)  # outside, where nothing would be read
    with pytest.raises(ValueError, match=re.escape(message)):
        crop_masks(masks, boxes, 4, image_size)


@pytest.mark.parametrize("frame", [crop_masks, paste_masks])
def test_arrays_of_a_library_that_cannot_be_filled_are_refused(frame):
    class Immutable:
        def __array_namespace__(self):
            return re

    with pytest.raises(TypeError, match="masks must be a NumPy array or a torch tensor, got Imm"):
        frame(Immutable(), np.zeros((1, 4)), 4 if frame is crop_masks else (4, 4))


@given(scenes(), st.sampled_from([1, 2, 7, 28, 32]), st.integers(0, 2**32 - 1))
def test_pasted_masks_equal_grid_sample(scene, size, seed):
    images, boxes = scene
    skip_without_fused_grid_sample()
    masks = np.random.default_rng(seed).random((len(boxes), size, size)) > 0.5
    pasted = paste_masks(masks, boxes, images.shape[1:])
    for mask, box, image in zip(masks, boxes, pasted, strict=True):
        np.testing.assert_array_equal(image, grid_sample_paste(mask, box, images.shape[1:]))


@pytest.mark.parametrize(
    ("size", "box"),
    [(14, [-1.0, 59.5, 38, 115.5]), (7, [23, 17.75, 56.25, 124.75]), (112, [71, 20.5, 138, 45])],
)
def test_pixels_between_cells_round_as_those_of_grid_sample(size, box):
    # Boxes in which some pixels lie exactly between cells, and rounding says on which side.
    skip_without_fused_grid_sample()
    masks = np.random.default_rng(0).random((8, size, size)) > 0.5
    boxes = np.array([box] * 8, np.float32)
    for mask, image in zip(masks, paste_masks(masks, boxes, (120, 120)), strict=True):
        np.testing.assert_array_equal(image, grid_sample_paste(mask, boxes[0], (120, 120)))


@given(scenes(), st.integers(0, 2**32 - 1))
def test_soft_pastes_equal_grid_sample_within_rounding(scene, seed):
    images, boxes = scene
    masks = np.random.default_rng(seed).random((len(boxes), 14, 14), np.float32)
    pasted = paste_masks(masks, boxes, images.shape[1:], threshold=None)
    assert pasted.dtype == np.float32
    for mask, box, image in zip(masks, boxes, pasted, strict=True):
        expected = grid_sample_paste(mask, box, images.shape[1:], threshold=None)
        np.testing.assert_allclose(image, np.nan_to_num(expected), rtol=0, atol=1e-6)


@given(scenes(), st.sampled_from([None, 0.3]), st.integers(0, 2**32 - 1))
def test_pasted_tensors_equal_pasted_arrays(scene, threshold, seed):
    images, boxes = scene
    masks = np.random.default_rng(seed).random((len(boxes), 9, 9), np.float32)
    image_size = images.shape[1:]
    tensors = paste_masks(torch.from_numpy(masks), torch.from_numpy(boxes), image_size, threshold)
    arrays = paste_masks(masks, boxes, image_size, threshold)
    np.testing.assert_array_equal(tensors.numpy(), arrays)


def test_a_paste_at_its_own_size_is_a_copy():
    masks = np.random.default_rng(0).random((1, 8, 8)) > 0.5
    pasted = paste_masks(masks, np.array([[3.0, 4, 11, 12]]), (20, 30))
    expected = np.zeros((1, 20, 30), bool)
    expected[0, 4:12, 3:11] = masks[0]
    np.testing.assert_array_equal(pasted, expected)


def test_a_full_mask_fills_the_pixels_whose_centres_lie_in_its_box():
    pasted = paste_masks(np.ones((1, 16, 16)), np.array([[1.2, 2.6, 4.4, 5.4]]), (8, 8))
    rows, columns = np.nonzero(pasted[0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 4, 1, 3)
    assert pasted.sum() == 6


@pytest.mark.parametrize(
    "box", [[-30, 0, -20, 5], [50, 50, 60, 60], [3, 3, 3, 8], [8, 3, 3, 8], [0, 0, 1e-40, 5]]
)
@pytest.mark.parametrize("threshold", [0.5, None])
def test_boxes_outside_or_without_area_paste_to_nothing(box, threshold):
    boxes = np.array([box], np.float32)
    assert not paste_masks(np.ones((1, 4, 4)), boxes, (10, 10), threshold).any()


def test_a_paste_may_reach_outside_on_all_sides():
    boxes = np.array([[-5.0, -5, 15, 15]])
    assert paste_masks(np.ones((1, 4, 4), bool), boxes, (10, 10)).all()


def test_soft_pastes_are_differentiable_in_the_masks():
    masks = torch.rand(2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[0.4, 1.1, 4.7, 5.2], [-2.0, 1, 3, 9]])
    assert torch.autograd.gradcheck(
        lambda m: paste_masks(m, boxes, (6, 7), threshold=None), masks.requires_grad_()
    )


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy])
def test_no_instances_give_no_masks(convert):
    masks, boxes = convert(np.zeros((0, 9, 9), bool)), convert(np.zeros((0, 4)))
    assert tuple(crop_masks(masks, boxes, 5).shape) == (0, 5, 5)
    assert tuple(paste_masks(masks, boxes, (6, 7)).shape) == (0, 6, 7)


def test_autocast_leaves_crops_alone():
    masks = torch.rand(4, 50, 50, generator=torch.Generator().manual_seed(0)) > 0.5
    boxes = torch.tensor([[0.3, 0.7, 43.1, 39.9]]).repeat(4, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        crops = crop_masks(masks, boxes, 28)
    assert torch.equal(crops, crop_masks(masks, boxes, 28))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA device absent")
def test_frames_on_a_device_agree_with_the_cpu():
    masks = torch.rand(4, 28, 28, generator=torch.Generator().manual_seed(0)) > 0.5
    boxes = torch.tensor([[0.3, 0.7, 43.1, 39.9], [5, 5, 61, 61], [-9, -9, 9, 9], [2, 2, 2, 2]])
    pasted = paste_masks(masks.cuda(), boxes.cuda(), (64, 64))
    assert pasted.is_cuda
    assert torch.equal(pasted.cpu(), paste_masks(masks, boxes, (64, 64)))
    crops = crop_masks(pasted, boxes.cuda(), 28)
    assert crops.is_cuda
    assert torch.equal(crops.cpu(), crop_masks(pasted.cpu(), boxes, 28))


@pytest.mark.parametrize("size", [0, 1.5, None])
def test_a_crop_size_that_is_no_positive_integer_is_refused(size):
    with pytest.raises(ValueError, match="size must be a positive integer, got"):
        crop_masks(np.zeros((1, 4, 4)), np.zeros((1, 4)), size)


@pytest.mark.parametrize(
    ("image_size", "message"),
    [
        ((4,), "image_size must be (height, width), got (4,)"),
        ((0, 4), "image_size height must be a positive integer, got 0"),
        ((4, 2.5), "image_size width must be a positive integer, got 2.5"),
        (4, "image_size must be (height, width), got 4"),
    ],
)
def test_an_image_size_that_is_none_is_refused(image_size, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        paste_masks(np.zeros((1, 4, 4)), np.zeros((1, 4)), image_size)


@pytest.mark.parametrize("shape", [(1, 4, 5), (1, 0, 0)])
def test_box_masks_that_are_not_square_are_refused(shape):
    message = f"masks must be [instances, size, size], got shape {shape}"
    with pytest.raises(ValueError, match=re.escape(message)):
        paste_masks(np.zeros(shape), np.zeros((1, 4)), (8, 8))


def test_a_threshold_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="threshold must be a number or None, got 'midrange'"):
        paste_masks(np.zeros((1, 4, 4)), np.zeros((1, 4)), (8, 8), threshold="midrange")


def test_masks_and_boxes_of_two_kinds_are_refused():
    with pytest.raises(TypeError, match="masks and boxes must all be"):
        crop_masks(np.zeros((1, 4, 4)), torch.zeros(1, 4), 4)
