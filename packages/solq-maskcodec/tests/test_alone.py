"""What works with NumPy alone; this file imports nothing else, and needs no conftest."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import solq_maskcodec
from solq_maskcodec import (
    DCTMaskCodec,
    backend,
    boxed_masks_to_rle,
    crop_masks,
    mask_quality,
    masks_to_rle,
    pack,
    paste_masks,
    rle_to_masks,
    unpack,
)

CODEC = DCTMaskCodec(threshold="midrange")


@pytest.fixture(scope="module")
def published():
    with np.load(Path(__file__).parent / "fixtures" / "published.npz") as arrays:
        return dict(arrays)


def bits(packed):
    return np.unpackbits(packed, axis=1).reshape(-1, 128, 128).astype(bool)


def test_importing_it_imports_neither_torch_nor_scipy():
    script = "import sys, solq_maskcodec; print(*{'torch', 'scipy'} & {*sys.modules})"
    command = [sys.executable, "-c", script]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_the_expected_kernel_is_in_use():
    assert backend().implementation == os.environ.get(
        "SOLQ_MASKCODEC_EXPECTED", backend().implementation
    )
    assert backend().solq_maskcodec == solq_maskcodec.__version__


def test_vectors_are_the_published_ones(published):
    vectors = CODEC.encode(bits(published["masks"]))
    assert np.abs(vectors - published["vectors"]).max() < 1e-4


def test_masks_are_the_published_ones(published):
    decoded = CODEC.decode(published["vectors"])
    assert (decoded != bits(published["decoded"])).mean() <= 1e-4


def test_strings_are_the_published_ones(published):
    expected = str(published["pasted_rle"]).split("\n")
    found = [
        boxed_masks_to_rle(mask[None], box[None], tuple(size))[0]["counts"]
        for mask, box, size in zip(
            bits(published["decoded"]),
            published["boxes"],
            published["image_sizes"].tolist(),
            strict=True,
        )
    ]
    assert found == expected


def test_all_steps_from_mask_to_string_and_back():
    masks = np.zeros((2, 60, 80), bool)
    masks[0, 10:40, 20:70] = True
    masks[1, 5:25, 5:25] = np.tri(20, dtype=bool)
    boxes = np.array([[20, 10, 70, 40], [5, 5, 25, 25]], np.float32)
    codec = DCTMaskCodec(threshold=0.5)
    vectors = codec.encode(crop_masks(masks, boxes, 128), refine=10)
    stored = unpack(pack(vectors, "float16"))
    rles = codec.decode_to_rle(stored, boxes, (60, 80))
    assert rles == masks_to_rle(paste_masks(codec.decode(stored), boxes, (60, 80)))
    found = rle_to_masks(rles)
    overlap = (found & masks).sum((1, 2)) / (found | masks).sum((1, 2))
    assert (overlap > 0.95).all()
    assert (mask_quality(codec, crop_masks(masks, boxes, 128), refine=10).iou > 0.98).all()
