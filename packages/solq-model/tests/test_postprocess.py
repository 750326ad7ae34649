"""Postprocessing: the best (query, class) pairs with pixel boxes and decoded masks."""

from dataclasses import replace

import pytest
import torch

from solq_maskcodec import DCTMaskCodec
from solq_model import Predictions, postprocess

CODEC = DCTMaskCodec(num_coefficients=4, mask_size=4)


def predictions(logits, boxes=None, vectors=None):
    """Predictions of one image; whole-image boxes and empty masks unless given."""
    logits = torch.tensor([logits]).float()
    num_queries = logits.shape[1]
    boxes = [[0.5, 0.5, 1.0, 1.0]] * num_queries if boxes is None else boxes
    vectors = torch.zeros(num_queries, 4) if vectors is None else vectors
    return Predictions(logits=logits, boxes=torch.tensor([boxes]), mask_vectors=vectors[None])


def test_the_best_pairs_come_first():
    found = postprocess(predictions([[0.0, 2.0], [1.0, -3.0]]), [(4, 4)], CODEC)[0]
    expected = torch.tensor([2.0, 1.0, 0.0, -3.0]).sigmoid()
    torch.testing.assert_close(found.scores, expected)
    assert found.labels.tolist() == [1, 0, 0, 1]
    assert found.queries.tolist() == [0, 1, 0, 1]
    assert found.select(torch.tensor([3, 0])).queries.tolist() == [1, 0]


def test_boxes_are_in_pixels_of_each_image():
    boxes = [[0.5, 0.25, 0.5, 0.5]]
    one = predictions([[1.0]], boxes)
    two = Predictions(
        logits=one.logits.expand(2, -1, -1),
        boxes=one.boxes.expand(2, -1, -1),
        mask_vectors=one.mask_vectors.expand(2, -1, -1),
    )
    first, second = postprocess(two, [(100, 200), (40, 40)], CODEC)
    assert first.boxes.tolist() == [[50.0, 0.0, 150.0, 50.0]]
    assert second.boxes.tolist() == [[10.0, 0.0, 30.0, 20.0]]
    assert (first.image_size, second.image_size) == ((100, 200), (40, 40))


def test_a_query_that_appears_twice_has_the_same_box_and_mask():
    half = torch.zeros(1, 4, 4, dtype=torch.bool)
    half[:, :2] = True
    vectors = CODEC.encode(half.float())
    found = postprocess(predictions([[3.0, 2.0]], vectors=vectors), [(8, 8)], CODEC)[0]
    assert found.labels.tolist() == [0, 1]
    assert torch.equal(found.boxes[0], found.boxes[1])
    assert torch.equal(found.box_masks, half.expand(2, -1, -1))
    assert found.masks[:, :4].all()
    assert not found.masks[:, 4:].any()


@pytest.mark.parametrize(("top_k", "expected"), [(1, 1), (3, 3), (4, 4), (100, 4)])
def test_there_are_at_most_top_k(top_k, expected):
    found = postprocess(predictions([[0.0, 2.0], [1.0, -3.0]]), [(4, 4)], CODEC, top_k)[0]
    assert len(found) == expected


def test_an_image_of_one_pixel_has_a_box_of_one_pixel():
    found = postprocess(predictions([[1.0]]), [(1, 1)], CODEC)[0]
    assert found.boxes.tolist() == [[0, 0, 1, 1]]
    assert found.masks.shape == (1, 1, 1)


def test_an_empty_batch_has_no_results():
    nothing = Predictions(
        logits=torch.zeros(0, 2, 3), boxes=torch.zeros(0, 2, 4), mask_vectors=torch.zeros(0, 2, 4)
    )
    assert postprocess(nothing, [], CODEC) == []


@pytest.mark.parametrize(
    ("sizes", "top_k", "message"),
    [
        ([], 1, r"one \(height, width\) per image \(1\), got 0"),
        ([(4, 4), (4, 4)], 1, r"one \(height, width\) per image \(1\), got 2"),
        ([(4, 4)], 0, "top_k must be at least 1, got 0"),
    ],
)
def test_arguments_that_do_not_fit_are_named(sizes, top_k, message):
    with pytest.raises(ValueError, match=message):
        postprocess(predictions([[1.0]]), sizes, CODEC, top_k)


def test_a_detector_gives_boxes_without_masks_and_has_no_codec():
    given = replace(predictions([[1.0]]), mask_vectors=None)
    found = postprocess(given, [(4, 4)], None)[0]
    assert not found.has_masks
    assert len(found) == 1
    with pytest.raises(ValueError, match="codec must be None, as the predictions are, got DCT"):
        postprocess(given, [(4, 4)], CODEC)


def test_vectors_of_another_codec_are_refused():
    with pytest.raises(ValueError, match="codec must be one of 4 coefficients"):
        postprocess(predictions([[1.0]]), [(4, 4)], DCTMaskCodec(num_coefficients=9, mask_size=4))


def test_results_carry_no_gradient():
    given = predictions([[1.0]])
    given.logits.requires_grad_()
    given.mask_vectors.requires_grad_()
    found = postprocess(given, [(4, 4)], CODEC)[0]
    assert not found.scores.requires_grad
    assert len(found.rle()) == 1
