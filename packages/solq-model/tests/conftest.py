"""Small networks and images that the tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from solq_model import SOLQ, ModelConfig, Predictions, build_model
from solq_model.neck import flatten_levels
from solq_model.positions import SinePositions
from solq_model.published.names import official_constants, official_names
from solq_model.records import FeatureMap, Memory

# On tensors this small, waking a second thread costs more than all it could save.
torch.set_num_threads(1)


def small_config(**changes: Any) -> ModelConfig:
    """A network of a hundredth of the published arithmetic, with every part the published has."""
    values = {
        "backbone": "resnet10_w32",
        "num_classes": 3,
        "num_queries": 8,
        "hidden_dim": 64,
        "num_heads": 4,
        "encoder_layers": 1,
        "decoder_layers": 2,
        "feedforward_dim": 64,
        "encoder_points": 2,
        "decoder_points": 2,
        "num_feature_levels": 3,
        "dropout": 0.0,
        "num_coefficients": 16,
        "mask_size": 16,
        "vector_hidden_dim": 64,
    }
    return ModelConfig(**(values | changes))


# What spatial masks need; their head has 8 groups of channels down to a sixteenth of the width.
SPATIAL = {"mask_head": "spatial", "hidden_dim": 128, "num_heads": 8, "num_feature_levels": 4}


def shake(module: nn.Module, seed: int = 0, scale: float = 0.1) -> None:
    """Move every parameter: fresh networks have zeros that would hide what is not connected."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter += scale * noise.to(parameter.dtype)


def noise_images(*sizes: tuple[int, int], seed: int = 0) -> list[Tensor]:
    """Normal noise `[3, height, width]` of each size."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(3, *size, generator=generator) for size in sizes]


def noise_memory(
    *level_sizes: tuple[int, int], batch: int = 1, hidden_dim: int = 64, seed: int = 0
) -> Memory:
    """Tokens of noise on levels of these sizes, without padding."""
    generator = torch.Generator().manual_seed(seed)
    levels = []
    for size in level_sizes:
        padding = torch.zeros(batch, *size, dtype=torch.bool)
        features = torch.randn(batch, hidden_dim, *size, generator=generator)
        positions = SinePositions(hidden_dim)(padding)
        levels.append(FeatureMap(features=features, positions=positions, padding=padding))
    return flatten_levels(levels, torch.zeros(len(levels), hidden_dim))


def small_model(seed: int = 0, **changes: Any) -> SOLQ:
    """A small network with no weight at zero, in evaluation mode."""
    torch.manual_seed(seed)
    model = build_model(small_config(**changes))
    shake(model, seed)
    return model.eval()


def state_as_published(model: SOLQ) -> dict[str, Tensor]:
    """The weights of our model as the published code would have saved them."""
    weights = {
        name: tensor.clone()
        for our_name, tensor in model.state_dict().items()
        for name in official_names(our_name, model.config)
    }
    return weights | official_constants(model)


@pytest.fixture
def published_state() -> Callable[[SOLQ], dict[str, Tensor]]:
    return state_as_published


@pytest.fixture
def make_config() -> Callable[..., ModelConfig]:
    return small_config


@pytest.fixture
def make_model() -> Callable[..., SOLQ]:
    return small_model


@pytest.fixture(scope="session")
def session_model() -> Callable[..., SOLQ]:
    return small_model


@pytest.fixture
def make_images() -> Callable[..., list[Tensor]]:
    return noise_images


@pytest.fixture
def make_memory() -> Callable[..., Memory]:
    return noise_memory


@pytest.fixture
def spatial() -> dict[str, Any]:
    """The changes that give a small network spatial masks."""
    return SPATIAL


@pytest.fixture(name="shake")
def shake_fixture() -> Callable[..., None]:
    return shake


def every_output(predictions: Predictions) -> Tensor:
    """One number that depends on everything the network says, unusable proposals left out."""
    outputs = [
        output
        for layer in (*predictions.auxiliary, predictions)
        for output in (layer.logits, layer.boxes, layer.mask_vectors)
        if output is not None
    ]
    if predictions.proposals is not None:
        outputs += [predictions.proposals.logits, predictions.proposals.boxes]
    return torch.stack([output.square().mean() for output in outputs]).sum()


def is_reached(name: str, gradient: Tensor) -> bool:
    """Whether the gradient is nowhere zero by mistake."""
    if name.endswith("in_proj_bias"):
        # A bias of the keys adds the same to all scores of a query: softmax takes it out.
        query, _, value = gradient.chunk(3)
        return bool(query.abs().max() > 0 and value.abs().max() > 0)
    return bool(gradient.abs().max() > 0)


@pytest.fixture
def assert_gradients_everywhere() -> Callable[..., None]:
    """Whether all that is trained has a gradient, and nothing that is frozen."""

    def check(model: SOLQ, images: list[Tensor]) -> None:
        every_output(model(images)).backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, name
                assert parameter.grad.isfinite().all(), name
                assert is_reached(name, parameter.grad), name
            else:
                assert parameter.grad is None, name

    return check


@pytest.fixture
def assert_same_predictions() -> Callable[..., None]:
    """Whether two predictions agree within a tolerance, layer by layer."""

    def check(ours: Any, others: Any, tolerance: float = 0.0) -> None:
        assert len(ours.auxiliary) == len(others.auxiliary)
        for a, b in zip((*ours.auxiliary, ours), (*others.auxiliary, others), strict=True):
            for name in ("logits", "boxes", "mask_vectors"):
                one, other = getattr(a, name), getattr(b, name)
                if one is None:
                    assert other is None
                else:
                    torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance)
        assert (ours.spatial_masks is None) == (others.spatial_masks is None)
        if ours.spatial_masks is not None:
            for image in range(len(ours.logits)):
                every = torch.arange(ours.logits.shape[1])
                one, other = (p.spatial_masks.best(image, every).logits for p in (ours, others))
                torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance)

    return check
