import re
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from solq_maskcodec import DCTMaskCodec, mask_quality, pack, unpack
from solq_maskcodec.overlap import intersection_over_union

_VECTORS = np.array([[64.0, -1.5, 0.0], [-127.0, 0.75, 0.0]], np.float32)


def resealed(data):
    """The data with a checksum that fits them again."""
    return data[:20] + struct.pack("<I", zlib.crc32(data[24:], zlib.crc32(data[:20]))) + data[24:]


def test_the_bytes_of_version_1_stay_what_they_are():
    assert pack(_VECTORS).hex() == (
        "534f4c51010001000300000002000000000000002d89f191005400be0000f0d7003a0000"
    )
    assert pack(_VECTORS, "int8").hex() == (
        "534f4c51010002000300000002000000000000004407fe090000803f0683413c00000000408100814000"
    )


@pytest.mark.parametrize(("dtype", "size"), [("float16", 2), ("int8", 1)])
@pytest.mark.parametrize("shape", [(0, 5), (1, 1), (7, 300)])
def test_shape_and_size_are_as_told(dtype, size, shape):
    data = pack(np.ones(shape), dtype)
    assert len(data) == 24 + shape[0] * shape[1] * size + (4 * shape[1] if size == 1 else 0)
    np.testing.assert_array_equal(unpack(data), np.ones(shape, np.float32))


@given(st.integers(0, 2**32 - 1), st.sampled_from([np.float32, np.float64, np.float16]))
def test_numbers_come_back_to_within_half_a_step(seed, dtype):
    rng = np.random.default_rng(seed)
    vectors = (rng.standard_normal((20, 9)) * np.geomspace(1e-3, 1e3, 9)).astype(dtype)
    halves, bytes_ = unpack(pack(vectors, "float16")), unpack(pack(vectors, "int8"))
    assert halves.dtype == bytes_.dtype == np.float32
    np.testing.assert_allclose(halves, vectors, rtol=2**-11, atol=2**-25)
    steps = np.abs(vectors.astype(np.float64)).max(0) / 127
    assert (np.abs(bytes_ - vectors) <= steps * (0.5 + 1e-4)).all()


def test_coefficients_that_are_zero_everywhere_stay_zero():
    np.testing.assert_array_equal(unpack(pack(_VECTORS, "int8"))[:, 2], [0, 0])
    np.testing.assert_array_equal(unpack(pack(np.full((2, 3), 1e-300), "int8")), np.zeros((2, 3)))


@pytest.mark.parametrize("refine", [0, 10])
@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_packing_costs_real_masks_less_than_a_5000th_of_iou(real_masks, dtype, refine):
    codec = DCTMaskCodec()
    vectors = codec.encode(real_masks, refine=refine)
    decoded = codec.decode(unpack(pack(vectors, dtype)), threshold=0.5)
    before = mask_quality(codec, real_masks, refine=refine, threshold=0.5).iou
    after = intersection_over_union(decoded, real_masks)
    assert before.mean() - after.mean() <= 0.0002


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_are_read(kind):
    np.testing.assert_array_equal(unpack(kind(pack(_VECTORS))), _VECTORS)


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_every_changed_byte_and_every_truncation_is_noticed(dtype):
    data = pack(_VECTORS, dtype)
    for index in range(len(data)):
        changed = bytearray(data)
        changed[index] ^= 0x11
        with pytest.raises(ValueError, match="data must"):
            unpack(changed)
        with pytest.raises(ValueError, match="data must"):
            unpack(data[:index])
    with pytest.raises(ValueError, match="data must be"):
        unpack(data + b"\0")


@given(st.binary(max_size=80))
def test_any_other_bytes_are_refused(data):
    with pytest.raises(ValueError, match="data must"):
        unpack(data)
    with pytest.raises(ValueError, match="data must"):
        unpack(resealed((b"SOLQ\1\0" + data).ljust(24, b"\xff")))


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, b"PNG!", "data must start with b'SOLQ', got b'PNG!'"),
        (4, b"\2\0", "data must be of version 1, got version 2"),
        (6, b"\7\0", "1 (float16), 2 (int8), got 3 coefficients of type 7"),
        (8, b"\0\0", "got 0 coefficients of type 1"),
        (12, b"\3", "data must be 42 bytes for 3 vectors of 3 coefficients, got 36 bytes"),
        (19, b"\xff", "vectors of 3 coefficients, got 36 bytes"),
    ],
)
def test_a_header_that_cannot_be_is_refused_though_its_checksum_fits(position, value, message):
    data = bytearray(pack(_VECTORS))
    data[position : position + len(value)] = value
    with pytest.raises(ValueError, match=re.escape(message)):
        unpack(resealed(bytes(data)))


def test_a_wrong_checksum_is_named():
    data = bytearray(pack(_VECTORS))
    data[-1] ^= 1
    with pytest.raises(ValueError, match=r"data must have the checksum 0x[0-9a-f]{8} .* got 0x"):
        unpack(data)


@pytest.mark.parametrize(
    ("vectors", "dtype", "message"),
    [
        (np.zeros(3), "float16", "vectors must be [instances, coefficients], got shape (3,)"),
        (np.zeros((3, 0)), "int8", "vectors must be [instances, coefficients], got shape (3, 0)"),
        (np.zeros((2, 3), complex), "int8", "vectors must hold numbers, got dtype complex128"),
        (
            np.array([[0.0], [np.nan]]),
            "int8",
            "vectors must be finite and within ±65504, got nan at index 1",
        ),
        (np.array([[-7e4]]), "float16", "within ±65504, got 70000.0 at index 0"),
        (np.array([[np.inf]]), "int8", "within ±65504, got inf at index 0"),
        (_VECTORS, "int4", 'dtype must be "float16" or "int8", got \'int4\''),
    ],
)
def test_what_cannot_be_packed_is_refused(vectors, dtype, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        pack(vectors, dtype)


def test_other_kinds_of_objects_are_refused():
    with pytest.raises(TypeError, match="vectors must be a NumPy array, got Tensor"):
        pack(torch.zeros(2, 3))
    with pytest.raises(TypeError, match="data must be bytes, got str"):
        unpack("SOLQ")
