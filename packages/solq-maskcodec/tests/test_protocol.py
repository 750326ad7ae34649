import copy
import pickle
import re
import tracemalloc

import numpy as np
import pytest
import torch

from solq_maskcodec import OWN, DCTMaskCodec, MaskCodec, masks_to_rle, paste_masks

IMAGE_SIZE = (90, 110)


@pytest.fixture
def vectors_with_boxes(blobs):
    codec = DCTMaskCodec(num_coefficients=100, mask_size=32)
    random = np.random.default_rng(0)
    corners = random.uniform(-10, 90, (150, 2))
    boxes = np.concatenate([corners, corners + random.uniform(1, 60, (150, 2))], axis=1)
    return codec, codec.encode(blobs(150, 32)), boxes.astype(np.float32)


class Checkerboard:
    """The least that a codec is; vectors mean nothing to it."""

    num_coefficients = 2
    mask_size = 4

    def encode(self, masks):
        return np.zeros((*masks.shape[:-2], 2))

    def decode(self, vectors, threshold=OWN, size=None):  # noqa: ARG002
        return np.broadcast_to(np.indices((4, 4)).sum(0) % 2 == 0, (*vectors.shape[:-1], 4, 4))


def test_what_has_the_parts_of_a_codec_but_no_base_class_lacks_only_decode_to_rle():
    class Inheriting(Checkerboard, MaskCodec):
        pass

    assert isinstance(Inheriting(), MaskCodec)
    assert not isinstance(Checkerboard(), MaskCodec)
    boxes = np.array([[3, 2, 40, 50]], np.float32)
    expected = masks_to_rle(paste_masks(Checkerboard().decode(np.zeros((1, 2))), boxes, IMAGE_SIZE))
    assert Inheriting().decode_to_rle(np.zeros((1, 2)), boxes, IMAGE_SIZE) == expected


@pytest.mark.parametrize("threshold", [OWN, "midrange", "isodata", 0.4])
def test_strings_are_those_of_decode_and_paste(vectors_with_boxes, threshold):
    codec, vectors, boxes = vectors_with_boxes
    expected = masks_to_rle(paste_masks(codec.decode(vectors, threshold), boxes, IMAGE_SIZE))
    assert codec.decode_to_rle(vectors, boxes, IMAGE_SIZE, threshold) == expected
    assert codec.decode_to_rle(vectors, boxes, IMAGE_SIZE, threshold, num_threads=2) == expected


def test_tensors_are_decoded_too(vectors_with_boxes):
    codec, vectors, boxes = vectors_with_boxes
    tensors = torch.from_numpy(vectors).requires_grad_(), torch.from_numpy(boxes)
    expected = masks_to_rle(paste_masks(codec.decode(tensors[0]), tensors[1], IMAGE_SIZE))
    assert codec.decode_to_rle(*tensors, IMAGE_SIZE) == expected


def test_every_library_gives_the_same_strings(vectors_with_boxes, to_library):
    codec, vectors, boxes = vectors_with_boxes
    found = codec.decode_to_rle(to_library(vectors), to_library(boxes), IMAGE_SIZE, 0.5)
    expected = codec.decode_to_rle(vectors, boxes, IMAGE_SIZE, 0.5)
    # Other orders of the same sums turn single pixels.
    assert sum(one != other for one, other in zip(found, expected, strict=True)) <= 3


def test_published_vectors_give_the_published_strings(published):
    codec = DCTMaskCodec(threshold="midrange")
    # The published code decodes in float64.
    vectors = published.vectors.astype(np.float64)
    for vector, box, rle in zip(vectors, published.boxes, published.pasted_rles, strict=True):
        assert codec.decode_to_rle(vector[None], box[None], rle["size"]) == [rle]


def test_nothing_gives_nothing():
    assert DCTMaskCodec().decode_to_rle(np.zeros((0, 256)), np.zeros((0, 4)), (5, 5)) == []


def test_memory_is_that_of_a_step_for_any_number_of_vectors():
    codec = DCTMaskCodec(threshold=0.5)
    vectors = codec.encode(np.tri(128)[None]).repeat(3000, 0)
    boxes = np.tile(np.array([[0, 0, 20, 20]], np.float32), (3000, 1))
    codec.decode_to_rle(vectors[:1], boxes[:1], (800, 1333))
    tracemalloc.start()
    codec.decode_to_rle(vectors, boxes, (800, 1333))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6  # the decoded masks alone are 49 MB, in the image they would be 3.2 GB


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": None}, "threshold must be a rule or a number to get masks, got None"),
        ({"threshold": "otsu"}, 'threshold must be "isodata", "midrange", a number or None, got'),
        ({"vectors": np.zeros((2, 9))}, "vectors must be [instances, 4], got shape (2, 9)"),
        ({"vectors": np.zeros(4)}, "vectors must be [instances, 4], got shape (4,)"),
        ({"boxes": np.zeros((3, 4))}, "one box for each of 2 vectors, got shape (3, 4)"),
        ({"boxes": np.full((2, 4), np.nan)}, "boxes must be finite, got [nan, nan, nan, nan] at"),
        ({"image_size": (4, -1)}, "image_size width must be a positive integer, got -1"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    fitting = {"vectors": np.zeros((2, 4)), "boxes": np.zeros((2, 4)), "image_size": (5, 5)}
    with pytest.raises(ValueError, match=re.escape(message)):
        DCTMaskCodec(4, 8).decode_to_rle(**fitting | arguments)


def test_own_survives_copying_and_pickling():
    assert copy.deepcopy(OWN) is OWN
    assert pickle.loads(pickle.dumps(OWN)) is OWN
    assert repr(OWN) == "the codec's own threshold"
