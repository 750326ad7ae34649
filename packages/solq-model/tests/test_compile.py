"""`torch.compile(fullgraph=True)`: the network, its gradients and what follows it, as one graph."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from solq_model.postprocess import postprocess


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def test_images_of_any_size_share_one_graph_from_the_second_size_on(
    make_model, make_images, assert_same_predictions
):
    model = make_model(
        two_stage=True, query_selection="mixed", num_feature_levels=2, decoder_layers=1
    )
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(model, fullgraph=True, backend=counter)
    # Larger than what torch keeps another convolution for (20480 numbers in a map).
    for size in ((160, 224), (256, 192), (161, 353)):
        images = make_images(size)
        with torch.no_grad():
            assert_same_predictions(compiled(images), model(images), tolerance=1e-5)
    assert counter.frame_count == 2  # the first size as it is, then any


def test_a_compiled_training_step_has_the_same_gradients(make_model, make_images):
    model = make_model(num_feature_levels=2, decoder_layers=1).train()
    images = make_images((64, 96))

    def gradients(network) -> dict[str, torch.Tensor]:
        model.zero_grad()
        found = network(images)
        total = found.logits.square().sum() + found.boxes.sum() + found.mask_vectors.square().sum()
        total.backward()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    expected = gradients(model)
    found = gradients(torch.compile(model, fullgraph=True, backend="aot_eager"))
    assert len(expected) > 50
    for name, gradient in expected.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(found[name], gradient, atol=1e-5 * scale, rtol=1e-4)


def test_postprocessing_and_decoding_compile_too(make_model, make_images):
    model = make_model(decoder_layers=1)
    with torch.no_grad():
        predictions = model(make_images((64, 96)))

    def finish() -> tuple[torch.Tensor, torch.Tensor]:
        (found,) = postprocess(predictions, [(64, 96)], model.codec, top_k=5)
        return found.boxes, found.box_masks

    compiled = torch.compile(finish, fullgraph=True, backend="eager")
    for ours, expected in zip(compiled(), finish(), strict=True):
        torch.testing.assert_close(ours, expected)
