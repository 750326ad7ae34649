"""`solq convert`: a published checkpoint becomes a model that every other command takes."""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import replace

import pytest
import torch

from solq_model import SOLQ, build_model
from solq_model.published.names import official_names
from solq_train.data import find_split


@pytest.fixture
def published(small_model, tmp_path):
    """Writes a file as the published code does; the path."""

    def write(**content: object):
        torch.manual_seed(0)
        model = build_model(replace(small_model, num_classes=24, backbone_norm="frozen"))
        state = {
            name: tensor
            for ours, tensor in model.state_dict().items()
            for name in official_names(ours, model.config)
        }
        args = argparse.Namespace(nheads=small_model.num_heads, gt_mask_len=32)
        path = tmp_path / "official.pth"
        torch.save({"model": state, "args": args} | content, path)
        return path

    return write


def test_a_published_file_becomes_a_model_with_a_report(solq, published, tmp_path):
    path, output = published(epoch=49), tmp_path / "out"
    ran = solq("convert", path, output)
    assert (ran.code, ran.errors) == (0, "")
    assert sorted(p.name for p in output.iterdir()) == [
        "conversion.json",
        "model.json",
        "model.safetensors",
    ]
    report = json.loads((output / "conversion.json").read_text())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert report["source"]["sha256"] == digest
    counts = report["counts"]
    for line in (
        f"official.pth: {path.stat().st_size / 1e6:.1f} MB, SHA-256 {digest}",
        "backbone resnet10_w32, hidden_dim 32, encoder_layers 1, decoder_layers 1",
        f"{counts['weight']} mapped, {counts['copy']} shared copies, 0 constants checked; nothing",
        "from args   num_heads 2, mask_size 32",
        "on trust    activation relu, dropout 0.1, dilation False",
        "note        only 'model' is taken; beside it: epoch",
        "categories  24 class slots without names (--categories gives them)",
        "predicts the same for an image of noise, bit for bit",
        f"wrote       {output} (every tensor: {output / 'conversion.json'})",
    ):
        assert line in ran.output
    assert "input_proj" not in ran.output


def test_the_report_can_be_printed_tensor_by_tensor(solq, published, tmp_path):
    ran = solq("convert", published(), tmp_path / "out", "--verbose")
    rows = [line for line in ran.output.splitlines() if "transformer.level_embed" in line]
    assert len(rows) == 1
    assert "2 x 32" in rows[0]
    assert "level_embedding" in rows[0]
    for row in json.loads((tmp_path / "out" / "conversion.json").read_text())["tensors"]:
        assert row["published"] in ran.output


def test_an_annotation_file_names_the_categories(solq, published, tmp_path, shapes):
    annotations = find_split(shapes, "val").annotations
    ran = solq("convert", published(), tmp_path / "out", "--categories", annotations)
    assert f"categories  3, of {annotations}" in ran.output
    names = {(e.slot, e.name) for e in SOLQ.load(tmp_path / "out").categories.entries}
    assert names == {(1, "blob"), (7, "star"), (23, "ring")}


def test_settings_of_a_file_count_whatever_the_checkpoint_says(solq, published, tmp_path):
    settings = tmp_path / "settings.toml"
    settings.write_text('num_heads = 1\nactivation = "gelu"\n')
    assert solq("convert", published(), tmp_path / "out", "--config", settings).code == 0
    config = SOLQ.load(tmp_path / "out").config
    assert (config.num_heads, config.encoder_points, config.activation) == (1, 2, "gelu")


def test_a_converted_model_predicts_and_evaluates(solq, published, tmp_path, shapes):
    annotations = find_split(shapes, "val").annotations
    solq("convert", published(), tmp_path / "out", "--categories", annotations)
    image = next((shapes / "val").iterdir())
    ran = solq("predict", image, "--model", tmp_path / "out", "--output", tmp_path / "pictures")
    assert ran.code == 0
    assert solq("evaluate", "--model", tmp_path / "out", "--data", shapes).code == 0


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), r"official.pth: no such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:1000]), "it cannot be read"),
        (
            lambda path: torch.save({"model.0.conv.weight": torch.zeros(1)}, path),
            "1 tensors of an unknown network: model.0.conv.weight",
        ),
        (
            lambda path: torch.save(
                dict.fromkeys(("rpn.head.a", "roi_heads.mask_predictor.b"), torch.ones(1)), path
            ),
            "found a torchvision Mask R-CNN checkpoint",
        ),
    ],
    ids=["absent", "truncated", "unknown", "foreign"],
)
def test_a_file_that_cannot_be_converted_is_refused_and_leaves_nothing(
    solq, published, tmp_path, spoil, message
):
    path = published()
    spoil(path)
    ran = solq("convert", path, tmp_path / "out")
    assert ran.code == 2
    assert message in ran.errors
    assert "Traceback" not in ran.errors
    assert not (tmp_path / "out").exists()


def test_a_folder_with_files_is_not_written_to(solq, published, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    ran = solq("convert", published(), tmp_path / "out")
    assert ran.code == 2
    assert "expected a new or empty folder, found files in it" in ran.errors
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("num_heads = ", "not valid TOML"),
        ("depth = 3", "unknown model config key(s) depth"),
        ("num_heads = 4", "4 samples, which are no multiple of 4 heads x 2 levels"),
        ("num_heads = 3", "hidden_dim must be a multiple of 32 and of num_heads (3), got 32"),
        ("num_heads = 0", "num_heads must be at least 1, got 0"),
        ('num_heads = "2"', "num_heads must be an integer, got '2'"),
        ('activation = "glu"', "ModelConfig.activation must be one of relu, gelu, silu, got 'glu'"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(solq, published, tmp_path, text, message):
    (tmp_path / "settings.toml").write_text(text)
    arguments = ("--config", tmp_path / "settings.toml")
    ran = solq("convert", published(), tmp_path / "out", *arguments)
    assert ran.code == 2
    assert message in ran.errors
    assert not (tmp_path / "out").exists()
