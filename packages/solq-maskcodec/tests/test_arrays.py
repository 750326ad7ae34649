import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from solq_maskcodec.arrays import array_namespace, as_float, constant, take, to_numpy, zeros

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


def test_arguments_of_two_kinds_are_refused_by_name():
    with pytest.raises(TypeError, match=r"masks and boxes must all be .* boxes: torch"):
        array_namespace(masks=np.zeros(1), boxes=torch.zeros(1))


@pytest.mark.parametrize("array", [[1.0], 3, None, "mask"])
def test_what_is_no_array_is_refused_by_name(array):
    with pytest.raises(TypeError, match=r"masks must be a NumPy array or a torch tensor, got"):
        array_namespace(masks=array)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float32"])
def test_all_but_float64_becomes_float32(dtype):
    assert as_float("masks", np.zeros(2, dtype)).dtype == np.float32
    assert as_float("masks", torch.zeros(2, dtype=getattr(torch, dtype))).dtype == torch.float32


def test_float64_stays():
    assert as_float("masks", np.zeros(2)).dtype == np.float64
    assert as_float("masks", torch.zeros(2).double()).dtype == torch.float64


@pytest.mark.parametrize("array", [np.zeros(2, complex), torch.zeros(2, dtype=torch.complex64)])
def test_complex_numbers_are_refused(array):
    with pytest.raises(ValueError, match="masks must hold bool, integer or float numbers, got dty"):
        as_float("masks", array)


@pytest.mark.parametrize("like", [np.zeros(1, np.float32), torch.zeros(1)])
def test_constants_take_the_float_type_of_their_surroundings(like):
    assert constant(np.ones(2), like).dtype == like.dtype
    assert str(constant(np.arange(2), like).dtype).endswith("int64")


@pytest.mark.parametrize("like", [np.zeros(1, np.float32), torch.zeros(1)])
def test_zeros_take_the_type_of_their_surroundings_or_the_given_one(like):
    assert zeros((2, 3), like).dtype == like.dtype
    assert "bool" in str(zeros((2, 3), like, bool).dtype)


@pytest.mark.parametrize("axis", [0, 1])
def test_take_agrees_between_numpy_and_torch(axis):
    array, indices = np.arange(12).reshape(3, 4), np.array([2, 0, 0])
    tensors = take(torch.from_numpy(array), torch.from_numpy(indices), axis)
    np.testing.assert_array_equal(take(array, indices, axis), tensors.numpy())


def test_host_copy_leaves_graph_and_bfloat16_behind():
    tensor = torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
    assert to_numpy(tensor).dtype == np.float32
