"""`torch.export`: one program for every size, in a file that a process without the model runs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from solq_model.export import InferenceModule, export_program, export_torch, load_runtime
from solq_model.export.parity import differences, example_images

# What a deployment does: import what the file needs, load, run.
DEPLOYED = """
import sys
import torch
if {needs_kernel}:
    import solq_ops
description = {{"solq.json": ""}}
module = torch.export.load(sys.argv[1], extra_files=description).module()
torch.save((module(torch.load(sys.argv[2])), description["solq.json"]), sys.argv[3])
assert "solq_model" not in sys.modules
assert ("solq_ops" in sys.modules) == {needs_kernel}
"""


@pytest.fixture(scope="module", params=["kernel", "gather"])
def exported(request, build_small_model, tmp_path_factory):
    """A module and its file; two stages with the operator, one stage in plain torch."""
    two_stage = request.param == "kernel"
    positions = "sine" if two_stage else "learned"
    model = build_small_model(two_stage=two_stage, position_embedding=positions)
    module = InferenceModule(model, masks=two_stage, top_k=5, sampling=request.param)
    path = tmp_path_factory.mktemp("exported") / "model.pt2"
    export_torch(module, path)
    return module, path


def test_one_file_takes_other_sizes_and_batches(exported):
    module, path = exported
    runtime = load_runtime(path)
    for batch, size in ((1, (64, 96)), (2, (128, 65)), (3, (33, 200))):
        images = example_images(module, size, seed=batch, batch=batch)
        with torch.no_grad():
            found = differences(module(images), runtime(images))
        assert set(found) == set(module.output_names)
        assert max(found.values()) <= 1e-6


def test_a_process_without_the_model_runs_the_file(exported, tmp_path):
    module, path = exported
    images = example_images(module, (96, 64), seed=0)
    torch.save(images, tmp_path / "images.pt")
    program = DEPLOYED.format(needs_kernel=module.sampling == "kernel")
    files = (path, tmp_path / "images.pt", tmp_path / "found.pt")
    subprocess.run([sys.executable, "-c", program, *map(str, files)], check=True)
    found, description = torch.load(tmp_path / "found.pt")
    with torch.no_grad():
        assert max(differences(module(images), found).values()) <= 1e-6
    description = json.loads(description)
    assert description["outputs"] == list(module.output_names)
    assert description["categories"] == module.model.categories.to_json()
    assert description["preprocessing"]["pixels"] == "normalized"
    assert len(description["weights_sha256"]) == 64


def test_the_file_holds_no_path_of_the_machine_that_wrote_it(exported):
    _, path = exported
    assert b"site-packages" not in path.read_bytes()


@pytest.mark.parametrize("exported", ["gather"], indirect=True)
def test_learned_positions_bound_the_size(exported):
    _, path = exported
    ranges = torch.export.load(path).range_constraints.values()
    bounds = [int(r.upper) for r in ranges if r.upper < 10**6]
    # 50 cells of 16 pixels, the finest of two levels
    assert bounds == [800, 800]


def test_another_ending_is_refused(build_small_model, tmp_path):
    module = InferenceModule(build_small_model())
    with pytest.raises(ValueError, match=r"model\.pth: the ending must be \.pt2"):
        export_torch(module, tmp_path / "model.pth")


def test_a_swin_transformer_needs_an_image_size(build_small_swin):
    with pytest.raises(ValueError, match="image_size must be given for a model with backbone swin"):
        export_program(InferenceModule(build_small_swin()))


def test_a_file_of_one_image_size_takes_batches_of_it_and_nothing_else(build_small_swin, tmp_path):
    module = InferenceModule(build_small_swin(), masks=True, top_k=5)
    export_torch(module, tmp_path / "model.pt2", image_size=(70, 90))
    runtime = load_runtime(tmp_path / "model.pt2")
    for batch in (1, 3):
        images = example_images(module, (70, 90), seed=batch, batch=batch)
        with torch.no_grad():
            assert max(differences(module(images), runtime(images)).values()) <= 1e-6
    with pytest.raises(AssertionError, match="== 70"):
        runtime(example_images(module, (80, 90), seed=0))
