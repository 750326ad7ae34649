"""ResNet backbones: stages, strides, what is frozen."""

import pytest
import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from solq_model.backbones import ResNetBackbone


def backbone(name="resnet10_w32", **changes):
    torch.manual_seed(0)
    values = {"norm": "frozen", "frozen_stages": 0, "dilation": False, "num_outputs": 3}
    return ResNetBackbone(name=name, **(values | changes))


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("resnet10_w32", [64, 128, 256]),
        ("resnet18", [128, 256, 512]),
        ("resnet34", [128, 256, 512]),
        ("resnet50", [512, 1024, 2048]),
        ("resnet101", [512, 1024, 2048]),
    ],
)
def test_features_halve_and_widen_from_stage_to_stage(name, channels):
    with torch.device("meta"):  # shapes only
        network = backbone(name)
        features = network(torch.zeros(1, 3, 64, 96))
    assert network.num_channels == channels
    sizes = [(8, 12), (4, 6), (2, 3)]
    expected = [(1, c, *size) for c, size in zip(channels, sizes, strict=True)]
    assert [tuple(f.shape) for f in features] == expected


@pytest.mark.parametrize("num_outputs", [1, 2, 3])
def test_the_last_stages_are_returned(num_outputs):
    images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    features = backbone(num_outputs=num_outputs)(images)
    assert len(features) == num_outputs
    assert torch.equal(features[-1], backbone()(images)[-1])


@pytest.mark.parametrize("name", ["resnet50", "resnet101"])
def test_a_dilated_last_stage_keeps_its_resolution(name):
    with torch.device("meta"):
        network, plain = backbone(name, dilation=True), backbone(name)
        features = network(torch.zeros(1, 3, 64, 64))
    assert [tuple(f.shape[2:]) for f in features] == [(8, 8), (4, 4), (4, 4)]
    assert network.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize(
    ("frozen_stages", "frozen"),
    [
        (0, set()),
        (1, {"conv1", "bn1", "layer1"}),
        (3, {"conv1", "bn1", "layer1", "layer2", "layer3"}),
        (4, {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}),
    ],
)
def test_frozen_stages_are_not_trained(frozen_stages, frozen):
    network = backbone(norm="batch", frozen_stages=frozen_stages)
    parts = {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}
    for part in parts:
        trained = {p.requires_grad for p in getattr(network.body, part).parameters()}
        assert trained == {part not in frozen}


def test_the_stem_can_be_frozen_alone():
    network = backbone(norm="batch", frozen_stem=True)
    frozen = {name for name, p in network.body.named_parameters() if not p.requires_grad}
    assert frozen == {"conv1.weight", "bn1.weight", "bn1.bias"}


def test_frozen_norms_are_constant_and_batch_norms_are_trained():
    frozen, batch = backbone(), backbone(norm="batch")
    assert not any("bn1" in name for name, _ in frozen.named_parameters())
    assert any("bn1" in name for name, _ in batch.named_parameters())
    before = {name: tensor.clone() for name, tensor in frozen.state_dict().items()}
    frozen.train()(torch.randn(2, 3, 32, 32))
    for name, tensor in frozen.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    batch.train()(torch.randn(2, 3, 32, 32))
    assert batch.body.bn1.num_batches_tracked == 1


def test_nothing_that_classifies_is_left():
    with torch.device("meta"):
        for name in ("resnet10_w32", "resnet18"):
            assert not any("fc" in key for key in backbone(name).state_dict())


@pytest.mark.parametrize("size", [(1, 1), (1, 33), (31, 32), (65, 97)])
def test_images_of_any_size_have_features(size):
    features = backbone()(torch.zeros(1, 3, *size))
    for stride, feature in zip((8, 16, 32), features, strict=True):
        assert tuple(feature.shape[2:]) == tuple(-(-side // stride) for side in size)


def test_the_narrow_network_has_an_eighth_of_resnet18s_parameters():
    def count(network: nn.Module) -> int:
        return sum(p.numel() for p in network.parameters())

    with torch.device("meta"):
        assert count(backbone()) < count(backbone("resnet18")) / 8


def with_random_norms(name="resnet18"):
    """A network in float64 with frozen norms as training leaves them, in evaluation mode."""
    network = backbone(name).double().eval()
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, FrozenBatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return network


def torchvisions_features(network, images):
    """What torchvision's own modules make of the images, norms after the convolutions."""
    features = images
    for part in (network.body.conv1, network.body.bn1, nn.ReLU(), network.body.maxpool):
        features = part(features)
    outputs = []
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        for block in getattr(network.body, stage):
            features = type(block).__bases__[0].forward(block, features)
        outputs.append(features)
    return outputs[-network.num_outputs :]


@pytest.mark.parametrize("name", ["resnet10_w32", "resnet18", "resnet50"])
def test_frozen_norms_within_convolutions_change_no_features_and_no_gradients(name):
    network = with_random_norms(name)
    images = torch.randn(2, 3, 33, 46, dtype=torch.float64)
    results = []
    for features in (network(images), torchvisions_features(network, images)):
        total = sum(f.square().mean() for f in features)
        results.append((*features, *torch.autograd.grad(total, list(network.parameters()))))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_channels_last_changes_no_features():
    network = with_random_norms()
    images = torch.randn(2, 3, 33, 46, dtype=torch.float64)
    expected = network(images)
    network.to(memory_format=torch.channels_last)
    for ours, theirs in zip(network(images), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_no_norm_keeps_features_for_a_gradient():
    """Per block of two: the inputs of its convolutions, and the weights they had."""
    network = backbone("resnet18")
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        network.body.layer1[0](torch.randn(2, 64, 8, 12, requires_grad=True))
    features = {tensor.data_ptr() for tensor in kept if tensor.shape == (2, 64, 8, 12)}
    assert len(features) == 3  # the block's input, the first ReLU's result, the block's output
