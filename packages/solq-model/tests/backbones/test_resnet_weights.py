"""ImageNet weights by torchvision's names."""

import pytest
import torch
import torchvision

from solq_model.backbones import ResNetBackbone, load_resnet_weights


def backbone(name, **changes):
    torch.manual_seed(1)
    values = {"norm": "frozen", "frozen_stages": 1, "dilation": False, "num_outputs": 3}
    return ResNetBackbone(name=name, **(values | changes))


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    return torchvision.models.resnet50()


def test_a_deformed_network_starts_as_the_pretrained_one(classifier):
    plain, deformed = backbone("resnet50"), backbone("resnet50", deformable=True)
    fresh = deformed.body.layer2[0].conv2.offset.weight.clone()
    for network in (plain, deformed):
        load_resnet_weights(network, classifier.state_dict())
    images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for a, b in zip(plain(images), deformed(images), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5 * a.abs().max().item(), rtol=1e-4)
    assert torch.equal(plain.body.layer2[0].conv2.weight, classifier.layer2[0].conv2.weight)
    assert torch.equal(deformed.body.layer2[0].conv2.offset.weight, fresh)


@pytest.mark.parametrize("norm", ["frozen", "batch"])
def test_only_the_classifier_is_left_out(norm):
    torch.manual_seed(0)
    state = torchvision.models.resnet18().state_dict()
    network = backbone("resnet18", norm=norm)
    load_resnet_weights(network, state)
    own = network.body.state_dict()
    assert state.keys() - own.keys() - {"fc.weight", "fc.bias"} == {
        name for name in state if name.endswith("num_batches_tracked") and norm == "frozen"
    }
    assert all(torch.equal(own[name], state[name]) for name in own if "tracked" not in name)


def test_weights_of_another_network_are_refused(classifier):
    message = r"\d+ tensors missing or of another shape: layer1\.0\.conv1\.weight"
    with pytest.raises(ValueError, match=message):
        load_resnet_weights(backbone("resnet18"), classifier.state_dict())
