"""`solq export`: a file whose results are those of the model, or no file."""

from __future__ import annotations

import sys

import pytest
import torch

from solq_model import SOLQ
from solq_model.export import InferenceModule, load_runtime, parity
from solq_model.export.parity import differences, example_images


@pytest.fixture
def export(solq, trained, tmp_path):
    def start(*arguments: object, output: str = "model.pt2"):
        named = (trained / "best", "--output", tmp_path / output, "--image-size", 64, 96)
        return solq("export", *named, *arguments)

    return start


@pytest.fixture
def quick_export(monkeypatch):
    """Exporting takes seconds: the file is empty here, and what runs is another copy."""

    def write(module: InferenceModule, path, **_: object) -> None:
        path.write_bytes(b"")
        monkeypatch.setattr("solq_train.commands.export.load_runtime", lambda _: module)

    monkeypatch.setattr("solq_train.commands.export.export_torch", write)
    monkeypatch.setattr("solq_train.commands.export.export_onnx", write)


def test_the_file_computes_what_the_model_does_and_the_parity_is_shown(export, trained, tmp_path):
    ran = export("--format", "torch", "--masks", "--uint8")
    assert (ran.code, ran.errors) == (0, "")
    for text in ("64 x 96", "scores", "masks", "file, ms per image", "MB of weights"):
        assert text in ran.output
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt2"]
    model = SOLQ.load(trained / "best")
    module = InferenceModule(model, masks=True, sampling="kernel", pixels="uint8")
    images = example_images(module, (128, 72), seed=9, batch=2)
    with torch.no_grad():
        expected = module(images)
    found = load_runtime(tmp_path / "model.pt2")(images)
    assert max(differences(expected, found).values()) <= 1e-6


@pytest.mark.usefixtures("quick_export")
@pytest.mark.parametrize(
    ("arguments", "sampling"),
    [
        ((), "grid_sample"),
        (("--no-grid-sample",), "gather"),
        (("--format", "torch"), "kernel"),
        (("--format", "torch", "--no-grid-sample"), "gather"),
    ],
)
def test_the_format_chooses_the_attention(export, monkeypatch, arguments, sampling):
    chosen = []
    monkeypatch.setattr(
        "solq_train.commands.export.InferenceModule",
        lambda *a, **k: chosen.append(k["sampling"]) or InferenceModule(*a, **k),
    )
    output = "model.pt2" if "torch" in arguments else "model.onnx"
    assert export(*arguments, output=output).code == 0
    assert chosen == [sampling]


@pytest.mark.parametrize("fixed", [True, False])
def test_a_fixed_size_is_that_of_the_measurement(export, monkeypatch, fixed):
    asked = []

    def write(module: InferenceModule, path, *, image_size) -> None:
        path.write_bytes(b"")
        monkeypatch.setattr("solq_train.commands.export.load_runtime", lambda _: module)
        asked.append(image_size)

    monkeypatch.setattr("solq_train.commands.export.export_torch", write)
    arguments = ("--format", "torch", "--image-size", 96, 128)
    ran = export(*arguments, *(["--fixed-size"] if fixed else []))
    assert ran.code == 0
    assert asked == [(96, 128) if fixed else None]
    assert "96 x 128" in ran.output
    assert ran.output.count(" x ") == (1 if fixed else 2)


@pytest.mark.usefixtures("quick_export")
def test_a_file_that_differs_is_not_kept(export, monkeypatch, tmp_path):
    monkeypatch.setitem(parity.TOLERANCES, "scores", -1.0)
    ran = export("--format", "torch")
    assert ran.code == 1
    assert "scores differ by more than rounding: no file kept" in ran.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick_export")
def test_half_precision_is_half_the_weights(export):
    whole = export("--format", "torch").output
    half = export("--format", "torch", "--half").output
    megabytes = [float(text.split("(")[1].split(" MB")[0]) for text in (whole, half)]
    assert megabytes[1] == pytest.approx(megabytes[0] / 2, abs=0.11)


@pytest.mark.parametrize(
    ("arguments", "output", "message"),
    [
        ((), "model.pt2", "model.pt2: the ending must be .onnx with --format onnx"),
        (("--format", "torch"), "model.onnx", "the ending must be .pt2 with --format torch"),
        ((), "absent/model.onnx", "expected an existing folder to write into"),
        (("--opset", 17), "model.onnx", "opset must be at least 18, got 17"),
        (("--top-k", 0), "model.onnx", "top_k must be at least 1, got 0"),
        (("--image-size", 20, 96), "model.onnx", "image_size must be at least 33 x 33, got 20 x"),
    ],
)
def test_what_cannot_be_exported_is_refused(export, tmp_path, arguments, output, message):
    ran = export(*arguments, output=output)
    assert ran.code == 2
    assert message in ran.errors
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_named(export, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    for name in [name for name in sys.modules if name.startswith("torch.onnx._internal.exporter")]:
        monkeypatch.delitem(sys.modules, name)
    ran = export(output="model.onnx")
    assert ran.code == 2
    assert "pip install 'solq-model[onnx]'" in ran.errors
    assert list(tmp_path.iterdir()) == []
