"""ONNX: one file, run by onnxruntime, within 1e-4 of torch for every size."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from solq_model.export import InferenceModule, export_onnx, load_runtime, measure_parity
from solq_model.export.description import weights_sha256
from solq_model.export.parity import TOLERANCES, differences, example_images

onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module", params=["grid_sample", "gather"])
def exported(request, build_small_model, tmp_path_factory):
    """A module and its file: the one-stage network as published, and two stages with all options.

    Between them are one stage and two, points and boxes as references, both kinds of positions.
    """
    if request.param == "grid_sample":
        model = build_small_model(position_embedding="learned")
        module = InferenceModule(model, top_k=5, sampling="grid_sample")
    else:
        model = build_small_model(two_stage=True, query_selection="mixed", whitened_vectors=True)
        module = InferenceModule(model, masks=True, top_k=5, sampling="gather", pixels="uint8")
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_onnx(module, path)
    return module, path


def test_two_image_sizes_and_batches_of_one_file_are_within_tolerance(exported):
    module, path = exported
    runtime = load_runtime(path)
    assert max(TOLERANCES.values()) <= 1e-3
    for parity in measure_parity(module, runtime, [(64, 96), (131, 72)]):
        assert parity.failures == []
        assert list(parity.differences) == list(module.output_names)
        assert parity.differences["scores"] <= 1e-4
        assert parity.differences["boxes"] <= 1e-4
    images = example_images(module, (96, 128), seed=3, batch=2)
    with torch.no_grad():
        found = differences(module(images), runtime(images))
    assert all(difference <= TOLERANCES[name] for name, difference in found.items())


def test_the_axes_have_names_and_gather_leaves_no_grid_sample(exported):
    module, path = exported
    graph = onnx.load(path).graph
    (images,) = graph.input
    axes = [axis.dim_param or axis.dim_value for axis in images.type.tensor_type.shape.dim]
    assert (images.name, axes) == ("images", ["batch", 3, "height", "width"])
    assert [output.name for output in graph.output] == list(module.output_names)
    used = {node.op_type for node in graph.node}
    assert ("GridSample" in used) == (module.sampling == "grid_sample")
    # What TensorRT and OpenVINO do not run, or only on the host.
    assert not used & {"NonZero", "Loop", "If", "Scan", "SequenceAt", "Unique"}
    assert {node.domain for node in graph.node} <= {""}


def test_a_swin_transformer_has_a_file_of_one_image_size(build_small_swin, tmp_path):
    module = InferenceModule(build_small_swin(), top_k=5, sampling="grid_sample")
    path = tmp_path / "model.onnx"
    export_onnx(module, path, image_size=(70, 90))
    (parity,) = measure_parity(module, load_runtime(path), [(70, 90)])
    assert parity.failures == []
    (images,) = onnx.load(path).graph.input
    axes = [axis.dim_param or axis.dim_value for axis in images.type.tensor_type.shape.dim]
    assert axes == ["batch", 3, 70, 90]


def test_the_file_says_what_it_is_in_little_more_than_its_weights(exported):
    module, path = exported
    (entry,) = onnx.load(path).metadata_props
    assert entry.key == "solq"
    description = json.loads(entry.value)
    assert description["weights_sha256"] == weights_sha256(module.model)
    assert description["categories"] == module.model.categories.to_json()
    assert description["preprocessing"]["short_side"] == 800
    weights = sum(tensor.nbytes for tensor in module.model.state_dict().values())
    assert path.stat().st_size < weights + 200_000
    assert b"site-packages" not in path.read_bytes()


@pytest.mark.parametrize(
    ("sampling", "opset", "message"),
    [
        ("kernel", 18, "sampling must be grid_sample or gather for ONNX, got kernel"),
        ("gather", 17, "opset must be at least 18, got 17"),
    ],
)
def test_what_onnx_cannot_hold_is_refused(build_small_model, tmp_path, sampling, opset, message):
    module = InferenceModule(build_small_model(), sampling=sampling)
    with pytest.raises(ValueError, match=message):
        export_onnx(module, tmp_path / "model.onnx", opset=opset)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_names_the_extra(exported, monkeypatch):
    _, path = exported
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs onnxruntime: pip install 'solq-model\["):
        load_runtime(path)
