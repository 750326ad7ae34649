"""Plain attention: the same as the compiled operator's."""

from __future__ import annotations

import pytest
import torch

from solq_model.attention import sample_with_kernel
from solq_model.export import use_sampling
from solq_model.export.sampling import SAMPLERS
from solq_model.records import PaddedImages


@pytest.fixture(params=["grid_sample", "gather"])
def sampler(request):
    return SAMPLERS[request.param]


@pytest.fixture
def sampled(make_memory):
    """Arguments of a sampler; offsets of several cells lead out of levels of a few cells."""

    def make(reference_size: int, dtype: torch.dtype = torch.float32, scale: float = 3.0):
        memory = make_memory((5, 7), (3, 4), (1, 2), batch=2)
        generator = torch.Generator().manual_seed(7)
        queries, heads, levels, points = 6, 4, 3, 2
        value = memory.tokens.unflatten(-1, (heads, -1)).to(dtype)
        references = torch.rand(2, queries, levels, reference_size, generator=generator)
        offsets = torch.randn(2, queries, heads, levels, points, 2, generator=generator) * scale
        logits = torch.randn(2, queries, heads, levels * points, generator=generator)
        return value, memory, references, offsets.to(dtype), logits.to(dtype)

    return make


@pytest.mark.parametrize("reference_size", [2, 4])
def test_plain_attention_is_that_of_the_kernel(sampler, sampled, reference_size):
    arguments = sampled(reference_size)
    expected = sample_with_kernel(*arguments)
    torch.testing.assert_close(sampler(*arguments), expected, atol=1e-5, rtol=1e-5)


def test_sixteen_bits_are_sampled_in_float32(sampler, sampled):
    arguments = sampled(2, torch.bfloat16)
    expected = sample_with_kernel(*arguments)
    found = sampler(*arguments)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, atol=2**-8, rtol=2**-7)


def test_far_outside_there_is_nothing(sampler, sampled):
    value, memory, references, offsets, logits = sampled(2)
    far = torch.full_like(offsets, 1e9)
    assert sampler(value, memory, references, far, logits).abs().max() == 0


def test_a_point_on_a_pixel_centre_reads_that_pixel(sampler, sampled):
    value, memory, references, offsets, logits = sampled(2)
    centre = torch.full_like(references, 0.5)  # of the 5 x 7 level: row 2, column 3
    first_level = torch.full_like(logits, -torch.inf)
    first_level[..., 0] = 0
    found = sampler(value, memory, centre, torch.zeros_like(offsets), first_level)
    pixel = value[:, 2 * 7 + 3].flatten(1)[:, None].expand_as(found)
    torch.testing.assert_close(found, pixel, atol=1e-6, rtol=0)


@pytest.mark.parametrize("sampling", ["grid_sample", "gather"])
def test_a_whole_network_may_sample_in_plain_torch(
    make_model, make_images, assert_same_predictions, sampling
):
    model = make_model(two_stage=True)
    batch = PaddedImages.from_list(make_images((64, 96), (96, 64)))
    with torch.no_grad():
        expected = model.forward_padded(batch)
        use_sampling(model, sampling)
        assert_same_predictions(model.forward_padded(batch), expected, tolerance=1e-4)


def test_an_unknown_sampling_is_refused(make_model):
    with pytest.raises(ValueError, match=r"sampling must be one of kernel, grid_sample, gather"):
        use_sampling(make_model(), "nearest")
