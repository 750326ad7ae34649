"""ImageNet weights of Swin Transformers: both kinds of names, nothing dropped in silence."""

import pytest
import torch
import torchvision

from solq_model.backbones import SwinBackbone, load_swin_weights


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    return torchvision.models.swin_t().eval()


@pytest.fixture
def backbone():
    torch.manual_seed(1)
    return SwinBackbone(name="swin_t", frozen_stages=0, drop_path=0.0, num_outputs=3).eval()


def published_file(backbone):
    """The entries of a published file, whose classifier is wider than our backbone."""
    state = {
        name: tensor.clone()
        for name, tensor in backbone.body.state_dict().items()
        if not name.startswith("norm")
    }
    state |= {"norm.weight": torch.ones(768), "norm.bias": torch.zeros(768)}
    state |= {"head.weight": torch.zeros(1000, 768), "head.bias": torch.zeros(1000)}
    state["layers.0.blocks.1.attn_mask"] = torch.zeros(64, 49, 49)
    state["layers.0.blocks.1.attn.relative_position_index"] = torch.zeros(49, 49)
    return state


def test_torchvisions_weights_give_torchvisions_features(classifier, backbone):
    load_swin_weights(backbone, classifier.state_dict())
    # So large that no window covers a whole map: there torchvision would not shift.
    images = torch.randn(1, 3, 260, 420, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = backbone(images)
        # The last stage, whose norm is that of the classifier while both are fresh.
        expected = classifier.norm(classifier.features(images)).permute(0, 3, 1, 2)
    torch.testing.assert_close(ours[-1], expected, atol=1e-4, rtol=1e-4)


def test_a_published_file_is_loaded_but_for_what_classifies(backbone):
    other = SwinBackbone(name="swin_t", frozen_stages=0, drop_path=0.0, num_outputs=3)
    load_swin_weights(backbone, published_file(other))
    for name, tensor in other.body.state_dict().items():
        assert torch.equal(backbone.body.state_dict()[name], tensor), name


def test_weights_of_another_network_are_refused_by_name(backbone):
    state = published_file(backbone)
    before = backbone.body.patch_embed.proj.bias.clone()
    state["patch_embed.proj.bias"] = state["patch_embed.proj.bias"] + 1
    del state["patch_embed.norm.bias"]
    state["absolute_pos_embed"] = torch.zeros(1)
    state["layers.0.blocks.0.attn.relative_position_bias_table"] = torch.zeros(529, 3)
    message = (
        r"1 missing: patch_embed\.norm\.bias\. 1 left over: absolute_pos_embed\. 1 of another "
        r"shape: layers\.0\S+bias_table \(529, 3\), expected \(169, 3\)"
    )
    with pytest.raises(ValueError, match=message):
        load_swin_weights(backbone, state)
    assert torch.equal(backbone.body.patch_embed.proj.bias, before)
