"""Pretrained weights of a backbone, from the files people have."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torchvision

from solq_model import build_model
from solq_train.backbone_weights import load_backbone


def torchvision_weights(path):
    """A file of ResNet-18 weights as torchvision saves them."""
    state = torchvision.models.resnet18().state_dict()
    torch.save(state, path)
    return state


def test_backbone_weights_come_from_a_file_of_torchvision(small_model, tmp_path):
    state = torchvision_weights(tmp_path / "resnet18.pth")
    model = build_model(replace(small_model, backbone="resnet18"))
    load_backbone(model, str(tmp_path / "resnet18.pth"))
    assert torch.equal(model.backbone.body.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])


@pytest.fixture
def swin_model(small_model):
    return build_model(replace(small_model, backbone="swin_t", backbone_norm="frozen"))


@pytest.mark.parametrize("wrapped", [False, True])
def test_swin_weights_come_from_files_of_torchvision_and_of_its_authors(
    swin_model, tmp_path, wrapped
):
    state = torchvision.models.swin_t().state_dict()
    torch.save({"model": state} if wrapped else state, tmp_path / "swin_t.pth")
    load_backbone(swin_model, str(tmp_path / "swin_t.pth"))
    ours = swin_model.backbone.body.patch_embed.proj.weight
    assert torch.equal(ours, state["features.0.0.weight"])


def test_weights_that_fit_no_swin_are_refused_by_name(swin_model, tmp_path):
    torchvision_weights(tmp_path / "resnet18.pth")
    with pytest.raises(ValueError, match=r"backbone_weights .*resnet18\.pth: state does not fit"):
        load_backbone(swin_model, str(tmp_path / "resnet18.pth"))


def test_a_backbone_that_torchvision_does_not_have_is_told(small_model):
    model = build_model(small_model)
    with pytest.raises(ValueError, match="imagenet: torchvision has none of resnet10_w32; name a"):
        load_backbone(model, "imagenet")


@pytest.mark.parametrize("content", [b"", b"not weights"])
def test_a_broken_file_of_backbone_weights_is_refused_by_name(small_model, tmp_path, content):
    path = tmp_path / "resnet18.pth"
    path.write_bytes(content)
    expected = r"backbone_weights .*resnet18\.pth: not a file of torchvision weights"
    with pytest.raises(ValueError, match=expected):
        load_backbone(build_model(small_model), str(path))


def test_a_missing_file_of_backbone_weights_is_refused_by_name(small_model, tmp_path):
    with pytest.raises(ValueError, match=r"backbone_weights .*none\.pth: .*No such file"):
        load_backbone(build_model(small_model), str(tmp_path / "none.pth"))


@pytest.mark.parametrize("content", [torch.zeros(2), {"conv1.weight": torch.zeros(1)}, {}])
def test_weights_of_another_network_are_refused_by_name(small_model, tmp_path, content):
    path = tmp_path / "other.pth"
    torch.save(content, path)
    expected = r"other\.pth: state does not fit this ResNet: \d+ tensors missing .*: conv1"
    with pytest.raises(ValueError, match=expected):
        load_backbone(build_model(small_model), str(path))
