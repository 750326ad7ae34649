import re
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from solq_maskcodec.arrays import (
    Table,
    addable,
    array_namespace,
    as_float,
    cast,
    concat,
    constant,
    count_true,
    extremes,
    flip,
    in_chunks,
    in_placed_chunks,
    is_on_host,
    reshape,
    take,
    to_numpy,
    zeros,
)

_IMPORT = """
import sys, time
import numpy
start = time.perf_counter()
import solq_maskcodec
print(time.perf_counter() - start, sorted({"torch", "scipy", "pycocotools"} & set(sys.modules)))
"""

_USE = """
import sys
import numpy as np
from solq_maskcodec import DCTMaskCodec, crop_masks, masks_to_rle, paste_masks, rle_to_masks
codec = DCTMaskCodec(num_coefficients=16, mask_size=16)
boxes = np.array([[1.0, 2, 9, 8]])
masks = paste_masks(np.ones((1, 16, 16), bool), boxes, (10, 12))
crops = codec.decode(codec.encode(crop_masks(masks, boxes, 16)), threshold=0.5)
assert (rle_to_masks(masks_to_rle(paste_masks(crops, boxes, (10, 12)))) == masks).all()
assert "torch" not in sys.modules
"""


def test_import_is_quick_and_brings_neither_torch_nor_scipy():
    run = subprocess.run(
        [sys.executable, "-c", _IMPORT], capture_output=True, text=True, check=True
    )
    seconds, modules = re.fullmatch(r"(\S+) (\[.*\])\s*", run.stdout).groups()
    assert modules == "[]"
    assert float(seconds) < 0.5


def test_numpy_arrays_are_served_without_torch():
    subprocess.run([sys.executable, "-W", "error", "-c", _USE], check=True)


def test_namespace_is_the_module_of_the_arguments():
    assert array_namespace(a=np.zeros(1), b=np.ones(2)) is np
    assert array_namespace(a=torch.zeros(1)) is torch
    strict = pytest.importorskip("array_api_strict")
    assert array_namespace(a=strict.zeros(1)) is strict


def test_arguments_of_two_kinds_are_refused_by_name():
    with pytest.raises(TypeError, match=r"masks and boxes must all be .* boxes: torch"):
        array_namespace(masks=np.zeros(1), boxes=torch.zeros(1))


@pytest.mark.parametrize("array", [[1.0], 3, None, "mask"])
def test_what_is_no_array_is_refused_by_name(array):
    message = r"masks must be a NumPy array or a torch tensor, or have __array_namespace__, got "
    with pytest.raises(TypeError, match=message + type(array).__name__):
        array_namespace(masks=array)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "float32"])
def test_all_but_float64_becomes_float32(to_library, dtype):
    array = as_float("masks", to_library(np.ones(2, dtype)))
    assert str(array.dtype).endswith("float32")
    np.testing.assert_array_equal(to_numpy(array), [1, 1])


def test_halves_become_float32():
    assert as_float("masks", np.zeros(2, np.float16)).dtype == np.float32
    for dtype in (torch.float16, torch.bfloat16):
        assert as_float("masks", torch.zeros(2, dtype=dtype)).dtype == torch.float32


@pytest.mark.parametrize("library", ["numpy", "torch", "array_api_strict"])
def test_float64_stays(library):
    array = pytest.importorskip(library).asarray(np.zeros(2))
    assert as_float("masks", array) is array


@pytest.mark.parametrize("library", ["numpy", "torch", "array_api_strict"])
def test_complex_numbers_are_refused(library):
    array = pytest.importorskip(library).asarray(np.zeros(2, np.complex64))
    with pytest.raises(ValueError, match="masks must hold bool, integer or float numbers, got dty"):
        as_float("masks", array)


def test_bools_become_numbers_of_which_two_can_be_added(to_library):
    masks = to_library(np.array([True, False]))
    total = addable("masks", masks) + addable("masks", masks)
    np.testing.assert_array_equal(to_numpy(total), [2, 0])
    small = to_library(np.array([200], np.uint8))
    np.testing.assert_array_equal(
        to_numpy(addable("masks", small) + addable("masks", small)), [400]
    )


def test_constants_take_the_float_type_of_their_surroundings(to_library):
    like = to_library(np.zeros(1, np.float32))
    for make in (constant, lambda values, like: Table(values).like(like)):
        floats = make(np.arange(2) / 2, like)
        assert floats.dtype == like.dtype
        np.testing.assert_array_equal(to_numpy(floats), [0, 0.5])
        assert "int" in str(make(np.arange(2), like).dtype)


@pytest.mark.parametrize("library", [np, torch])
def test_a_table_is_converted_once_for_each_type(library):
    table = Table(np.arange(3.0))
    first = table.like(library.zeros(1, dtype=library.float32))
    assert table.like(library.zeros(2, dtype=library.float32)) is first
    assert table.like(library.zeros(1, dtype=library.float64)).dtype == library.float64


def test_a_table_cannot_be_changed_through_its_array():
    table = Table(np.arange(3.0))
    with pytest.raises(ValueError, match="read-only"):
        table.like(np.zeros(1))[0] = 1


def test_a_table_keeps_neither_fake_tensors_nor_those_of_inference_mode():
    table = Table(np.arange(3.0))
    with FakeTensorMode():
        table.like(torch.zeros(1))
    with torch.inference_mode():
        table.like(torch.zeros(1))
    (torch.ones(3, requires_grad=True) * table.like(torch.zeros(1))).sum().backward()


def test_zeros_take_the_type_of_their_surroundings(to_library):
    for dtype in (np.float32, np.bool_):
        like = to_library(np.ones(1, dtype))
        assert zeros((2, 3), like).dtype == like.dtype
        np.testing.assert_array_equal(to_numpy(zeros((2, 3), like)), np.zeros((2, 3)))


@pytest.mark.parametrize("library", [np, torch])
def test_zeros_take_the_given_type(library):
    assert "bool" in str(zeros((2, 3), library.zeros(1), bool).dtype)


@pytest.mark.parametrize("axis", [0, 1])
def test_small_functions_agree_with_numpy(to_library, axis):
    array = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    indices = np.array([2, 0, 0])
    given = to_library(array)
    for found, expected in [
        (take(given, to_library(indices), axis), np.take(array, indices, axis)),
        (concat([given, given], axis), np.concatenate([array, array], axis)),
        (flip(given, axis), np.flip(array, axis)),
        (reshape(given, (2, -1)), array.reshape(2, 6)),
        (extremes(given)[0], array.min(-1)),
        (extremes(given)[1], array.max(-1)),
        (cast(given, given.dtype), array),
    ]:
        np.testing.assert_array_equal(to_numpy(found), expected)


def test_true_pixels_are_counted_for_each_mask(to_library):
    masks = np.arange(24).reshape(2, 3, 4) % 5 == 0
    counts = count_true(to_library(masks))
    assert "float" in str(counts.dtype)
    np.testing.assert_array_equal(to_numpy(counts), [3, 2])


def test_host_copy_leaves_graph_and_bfloat16_behind():
    tensor = torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
    assert to_numpy(tensor).dtype == np.float32


def test_numbers_can_be_looked_at_only_where_they_are():
    seen = []
    assert is_on_host(np.zeros(1))
    assert is_on_host(torch.zeros(1))
    assert not is_on_host(torch.zeros(1, device="meta"))
    with FakeTensorMode():
        assert not is_on_host(torch.zeros(1))
    torch.vmap(lambda tensor: [seen.append(is_on_host(tensor)), tensor][1])(torch.zeros(2, 3))
    program = torch.nn.Module()
    program.forward = lambda tensor: [seen.append(is_on_host(tensor)), tensor + 1][1]
    torch.export.export(program.eval(), (torch.zeros(3),))
    assert not any(seen)
    assert len(seen) >= 2


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("count", [0, 1, 4, 5, 11, 12])
def test_chunks_are_equal_shares_of_the_batch_in_its_order(convert, count):
    sizes = []

    def double(chunk):
        sizes.append(len(chunk))
        return chunk + chunk

    batch = convert(np.arange(3 * count).reshape(count, 3))
    np.testing.assert_array_equal(in_chunks(double, batch, 4), batch + batch)
    assert sum(sizes) == count
    assert max(sizes) <= 4
    assert len(sizes) == max(-(-count // 4), 1)


def test_chunks_may_be_put_where_they_belong():
    batch = np.arange(6.0)

    def double(chunk, into):
        return np.add(chunk, chunk, out=into)

    np.testing.assert_array_equal(in_placed_chunks(double, batch, 2), 2 * batch)


def test_chunks_are_larger_on_a_device_and_whole_in_a_graph():
    sizes = []

    def note(chunk):
        sizes.append(chunk.shape[0])
        return chunk

    assert in_chunks(note, torch.zeros(1000, 3, device="meta"), 4).shape == (1000, 3)
    with FakeTensorMode():
        in_chunks(note, torch.zeros(1000, 3), 4)
    assert sizes == [250] * 4 + [1000]


def test_chunks_of_a_graph_carry_its_gradient():
    batch = torch.arange(6.0, requires_grad=True)
    in_chunks(lambda chunk: chunk**2, batch, 2).sum().backward()
    np.testing.assert_array_equal(batch.grad, 2 * np.arange(6))


def test_memory_of_chunks_is_that_of_the_result():
    batch = np.zeros((1000, 1000), np.bool_)
    in_chunks(np.asarray, batch, 10)
    tracemalloc.start()
    in_chunks(lambda chunk: (chunk.astype(np.float64) + 1).sum(1), batch, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400_000
