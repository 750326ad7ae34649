"""The inference module: what the model and `postprocess` say, as tensors."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from solq_model.export import InferenceModule
from solq_model.export.parity import example_images
from solq_model.images import to_tensor
from solq_model.postprocess import postprocess
from solq_model.preprocess import normalize
from solq_model.records import PaddedImages


@pytest.fixture(scope="module")
def model(build_small_model):
    return build_small_model(two_stage=True, query_selection="mixed")


def test_detections_are_those_of_postprocess(model):
    module = InferenceModule(model, masks=True, top_k=6)
    images = example_images(module, (64, 96), seed=0, batch=2)
    with torch.no_grad():
        found = module(images)
        predictions = model.forward_padded(
            PaddedImages(tensors=images, padding=torch.zeros(2, 64, 96, dtype=torch.bool))
        )
    assert tuple(found) == module.output_names
    expected = postprocess(predictions, [(1, 1), (1, 1)], model.codec, top_k=6)
    for image, instances in enumerate(expected):
        for name in ("scores", "labels", "boxes", "mask_vectors"):
            assert torch.equal(found[name][image], getattr(instances, name)), name
        assert torch.equal(found["masks"][image], instances.box_masks)


def test_uint8_images_are_normalised_as_the_model_does_it(model):
    module = InferenceModule(model, pixels="uint8")
    images = example_images(module, (64, 96), seed=1)
    picture = Image.fromarray(images[0].permute(1, 2, 0).numpy())
    with torch.no_grad():
        expected = InferenceModule(model)(normalize(to_tensor(picture))[None])
        found = module(images)
    assert images.dtype == torch.uint8
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-5, rtol=1e-5)


def test_a_detector_has_no_mask_outputs(build_small_model):
    detector = build_small_model(mask_head="none")
    module = InferenceModule(detector)
    assert module.output_names == ("scores", "labels", "boxes")
    with torch.no_grad():
        assert tuple(module(torch.zeros(1, 3, 64, 64))) == module.output_names
    with pytest.raises(ValueError, match="masks must be False for a model without mask vectors"):
        InferenceModule(detector, masks=True)


def test_the_model_itself_keeps_its_kernel_and_its_mode(model):
    before = [module.sampler for module in model.modules() if hasattr(module, "sampler")]
    model.train()
    module = InferenceModule(model, sampling="gather")
    assert model.training
    assert not module.model.training
    assert [m.sampler for m in model.modules() if hasattr(m, "sampler")] == before
    model.eval()


@pytest.mark.parametrize(
    ("changes", "levels_stride"),
    [({}, 32), ({"num_feature_levels": 4}, 64), ({"num_feature_levels": 1}, 32)],
)
def test_the_stride_is_that_of_the_coarsest_level(build_small_model, changes, levels_stride):
    assert InferenceModule(build_small_model(**changes)).stride == levels_stride


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"top_k": 0}, "top_k must be at least 1, got 0"),
        ({"pixels": "float"}, "pixels must be normalized or uint8, got 'float'"),
        ({"sampling": "none"}, "sampling must be one of kernel, grid_sample, gather, got 'none'"),
    ],
)
def test_wrong_choices_are_refused(model, changes, message):
    with pytest.raises(ValueError, match=message):
        InferenceModule(model, **changes)
