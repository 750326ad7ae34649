"""Parity: what counts as a difference between two sets of detections."""

from __future__ import annotations

import pytest
import torch

from solq_model.export import InferenceModule, measure_parity
from solq_model.export.parity import TOLERANCES, differences, example_images


@pytest.fixture
def detections():
    generator = torch.Generator().manual_seed(0)
    return {
        "scores": torch.tensor([[0.9, 0.5, 0.5, 0.1]]),
        "labels": torch.tensor([[0, 2, 1, 1]]),
        "boxes": torch.rand(1, 4, 4, generator=generator),
        "mask_vectors": torch.randn(1, 4, 16, generator=generator) * 10,
        "masks": torch.rand(1, 4, 8, 8, generator=generator) > 0.5,
    }


def test_detections_of_equal_score_may_change_places(detections):
    order = torch.tensor([0, 2, 1, 3])
    swapped = {name: values[:, order] for name, values in detections.items()}
    assert set(differences(detections, swapped).values()) == {0.0}


def test_each_output_has_its_largest_difference(detections):
    found = {name: values.clone() for name, values in detections.items()}
    found["scores"][0, 3] += 0.02
    found["boxes"][0, 1, 2] -= 0.01
    found["mask_vectors"][0, 0, 5] += 0.5
    found["masks"][0, 2, 0, :4] ^= True
    largest = differences(detections, found)
    scale = detections["mask_vectors"].abs().max().item()
    expected = {
        "scores": 0.02,
        "labels": 0.0,
        "boxes": 0.01,
        "mask_vectors": 0.5 / scale,
        "masks": 4 / 64,
    }
    assert largest == pytest.approx(expected, rel=1e-3)


def test_a_file_fails_by_the_outputs_beyond_their_tolerance(build_small_model):
    module = InferenceModule(build_small_model(), top_k=4)

    def runtime(images):
        found = module(images)
        found["boxes"] = found["boxes"] + 2 * TOLERANCES["boxes"]
        found["scores"] = found["scores"].clone()
        found["scores"][0, 2] = torch.nan
        return found

    with torch.no_grad():
        (exact,) = measure_parity(module, module, [(64, 96)])
        (parity,) = measure_parity(module, runtime, [(64, 96)])
    assert exact.failures == []
    assert exact.image_size == (64, 96)
    assert exact.file_milliseconds > 0
    assert {"scores", "boxes"} <= set(parity.failures)


def test_example_images_are_the_same_for_the_same_seed(build_small_model):
    module = InferenceModule(build_small_model(), pixels="uint8")
    first, again, other = (example_images(module, (40, 50), seed) for seed in (1, 1, 2))
    assert first.shape == (1, 3, 40, 50)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
