"""Bad input through the command line: a clear message, exit code 2, and nothing half-written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from solq_model import SOLQ
from solq_train.failure import FAILURE

# What a run has written before it reads its first image.
BEFORE_THE_FIRST_STEP = {"config.json"}


@pytest.fixture
def train(solq, run_file, tmp_path):
    """Trains the small network on a data set into `run`; more arguments may follow."""

    def start(data: Path, *arguments: object):
        named = ("--recipe", "tiny_cpu", "--config", run_file, "--data", data)
        return solq("train", *named, "--output", tmp_path / "run", *arguments)

    return start


@pytest.fixture
def refused(train, solq, copied_set, tmp_path):
    """The messages of training and of the check for a data set that neither accepts."""

    def messages() -> str:
        ran = train(copied_set.folder)
        assert ran.code == 2
        assert "Traceback" not in ran.errors
        assert written(tmp_path / "run") <= BEFORE_THE_FIRST_STEP
        checked = solq("data", "check", copied_set.folder)
        assert checked.code == 2
        return ran.errors + checked.output + checked.errors

    return messages


def written(folder: Path) -> set[str]:
    """All files below a folder, half-written ones too."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def changed(name: str, index: int, **values: Any) -> Callable[[dict[str, Any]], None]:
    """A change of one entry of a document."""
    return lambda document: document[name][index].update(values)


def without(name: str, key: str) -> Callable[[dict[str, Any]], object]:
    return lambda document: document[name][0].pop(key)


def test_no_data_set_folder(train, tmp_path):
    ran = train(tmp_path / "none")
    assert ran.code == 2
    assert f"data set {tmp_path / 'none'}: no such folder" in ran.errors
    assert not (tmp_path / "run").exists()


def test_no_annotation_file(train, solq, copied_set, tmp_path):
    copied_set.annotations.unlink()
    expected = "expected one annotations/instances_train[year].json (or train/_annot"
    for ran in (train(copied_set.folder), solq("data", "check", copied_set.folder)):
        assert ran.code == 2
        assert f"data set {copied_set.folder}: {expected}" in ran.errors
    assert not (tmp_path / "run").exists()


def test_no_image_folder(train, copied_set):
    copied_set.images.rename(copied_set.folder / "elsewhere")
    ran = train(copied_set.folder)
    assert ran.code == 2
    assert "expected the images of instances_train.json in one of train/, images/" in ran.errors


def test_invalid_json(refused, copied_set):
    text = copied_set.annotations.read_text()
    copied_set.annotations.write_text(text[: len(text) // 2])
    messages = refused()
    assert f"{copied_set.annotations}: line 1 column " in messages
    assert "must be JSON, but" in messages
    assert "invalid JSON" in messages


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda document: document.pop("categories"), "top level: key 'categories' is missing"),
        (without("images", "file_name"), "images[0] (id 1): key 'file_name' is missing"),
        (without("annotations", "bbox"), "annotations[0] (id 1): key 'bbox' is missing"),
    ],
)
def test_a_missing_key(refused, copied_set, change, expected):
    copied_set.edit(change)
    messages = refused()
    assert f"{copied_set.annotations}: {expected}" in messages
    assert "error: missing key: 1 (training stops)" in messages


def test_a_missing_image(refused, copied_set):
    (copied_set.images / "000003.png").unlink()
    messages = refused()
    assert f"{copied_set.images / '000003.png'}: no such image file (image id 3)" in messages
    assert "error: missing image file: 1 (training stops)" in messages


@pytest.mark.parametrize("kind", ["truncated", "no image", "empty"])
def test_an_image_that_is_truncated_or_none(refused, copied_set, kind):
    path = copied_set.images / "000003.png"
    whole = path.read_bytes()
    contents = {"truncated": whole[: len(whole) // 2], "no image": b"hello", "empty": b""}
    path.write_bytes(contents[kind])
    messages = refused()
    assert f"{path}: must be a whole image file, but: " in messages
    assert "error: truncated or not an image: 1 (training stops)" in messages


def test_a_truncated_image_in_a_worker_process(train, copied_set, tmp_path):
    path = copied_set.images / "000003.png"
    path.write_bytes(path.read_bytes()[:200])
    ran = train(copied_set.folder, "--data.num-workers", 2)
    assert ran.code == 2
    assert ran.errors.startswith(f"solq: {path}: must be a whole image file, but: ")
    assert len(ran.errors.splitlines()) == 1
    assert written(tmp_path / "run") <= BEFORE_THE_FIRST_STEP


def test_an_annotation_of_an_unknown_image(refused, copied_set):
    copied_set.edit(changed("annotations", 1, image_id=999))
    messages = refused()
    assert "annotations[1] (id 2): 'image_id' must be the id of an image of the file" in messages
    assert "got 999" in messages
    assert "error: unknown image: 1" in messages


def test_an_annotation_of_an_unknown_category(refused, copied_set):
    copied_set.edit(changed("annotations", 1, category_id=5))
    messages = refused()
    assert "annotations[1] (id 2): 'category_id' must be the id of a category" in messages
    assert "got 5" in messages
    assert "error: unknown category: 1" in messages


@pytest.mark.parametrize("name", ["images", "annotations", "categories"])
def test_duplicate_ids(refused, copied_set, name):
    copied_set.edit(lambda document: document[name][1].update(id=document[name][0]["id"]))
    messages = refused()
    assert f"{name}[1] (id 1): 'id' must be its own, but {name}[0] (id 1) has it" in messages
    assert "error: duplicate id: 1" in messages


@pytest.mark.parametrize(
    ("box", "kind"),
    [([5, 5, 0, 10], "box without area"), ([200, 200, 10, 10], "box outside the image")],
)
def test_boxes_without_area_or_outside_are_listed_and_left_out(
    train, solq, copied_set, tmp_path, box, kind
):
    copied_set.edit(changed("annotations", 0, bbox=box))
    checked = solq("data", "check", copied_set.folder)
    assert checked.code == 2
    assert f"error: {kind}: 1 (training" in checked.output
    assert "annotation id 1: 'bbox' [x, y, width, height] must" in checked.output
    ran = train(copied_set.folder, "--max-steps", 1)
    assert ran.code == 0
    assert "1 objects are left out" in ran.errors
    assert {"best/model.safetensors", "summary.json"} <= written(tmp_path / "run")


@pytest.mark.parametrize("polygons", [[], [[1, 2, 3, 4]]])
def test_an_empty_polygon(refused, copied_set, polygons):
    copied_set.edit(changed("annotations", 0, segmentation=polygons))
    messages = refused()
    assert f"{copied_set.annotations}: annotations[0] (id 1): " in messages
    assert "must have at least" in messages
    assert "error: empty or broken polygon: 1" in messages


def test_run_lengths_of_the_wrong_size(refused, copied_set):
    wrong = {"size": [32, 64], "counts": [32 * 64]}
    copied_set.edit(changed("annotations", 0, segmentation=wrong))
    messages = refused()
    assert (
        "annotations[0] (id 1): segmentation.size must be the image's [height, width]" in messages
    )
    assert "[64, 64], got [32, 64]" in messages
    assert "error: RLE of the wrong size: 1" in messages


def flatten_the_last_boxes(document: dict[str, Any]) -> None:
    objects = [entry for entry in document["annotations"] if not entry["iscrowd"]]
    for entry in objects[-5:]:
        entry["bbox"] = [0, 0, 0, 0]


def test_all_defects_are_listed_at_once(solq, copied_set):
    (copied_set.images / "000001.png").unlink()
    copied_set.edit(changed("annotations", 0, segmentation=[]))
    copied_set.edit(changed("annotations", 1, category_id=5))
    copied_set.edit(flatten_the_last_boxes)
    checked = solq("data", "check", copied_set.folder)
    assert checked.code == 2
    for line in (
        "error: missing image file: 1 ",
        "error: empty or broken polygon: 1 ",
        "error: unknown category: 1 ",
        "error: box without area: 5 ",
    ):
        assert line in checked.output
    assert checked.output.count("must have an area") == 3  # the first examples


def test_validation_data_are_refused_before_training_begins(train, copied_set, tmp_path):
    (copied_set.folder / "val" / "000003.png").unlink()
    ran = train(copied_set.folder)
    assert ran.code == 2
    assert "val/000003.png: no such image file" in ran.errors
    assert written(tmp_path / "run") == set()


def test_a_network_that_does_not_fit_the_initial_weights(train, trained, shapes, tmp_path):
    ran = train(shapes, "--initial-weights", trained / "best", "--model.hidden-dim", 64)
    assert ran.code == 2
    assert f"initial_weights {trained / 'best'} do not fit the network" in ran.errors
    assert "expected (64," in ran.errors
    assert written(tmp_path / "run") == set()


@pytest.fixture
def broken_model(trained: Path, tmp_path: Path) -> Path:
    """A copy of a saved model for a test to break."""
    folder = tmp_path / "broken"
    SOLQ.load(trained / "best").save(folder)
    return folder


def use_model(solq, train, shapes: Path, model: Path, output: Path):
    """The model handed to every command that takes one."""
    picture = shapes / "val" / "000001.png"
    yield solq("evaluate", "--model", model, "--data", shapes, "--output", output)
    yield solq("predict", picture, "--model", model, "--output", output)
    yield train(shapes, "--initial-weights", model)


def test_a_truncated_model(solq, train, shapes, broken_model, tmp_path):
    path = broken_model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    for ran in use_model(solq, train, shapes, broken_model, tmp_path / "out"):
        assert ran.code == 2
        assert f"weights {path}: not a whole safetensors file" in ran.errors
    assert not (tmp_path / "out").exists()
    assert written(tmp_path / "run") == set()


def test_a_folder_that_is_no_model(solq, train, shapes, tmp_path):
    for ran in use_model(solq, train, shapes, shapes, tmp_path / "out"):
        assert ran.code == 2
        assert f"model {shapes}: expected a folder with model.json" in ran.errors
    assert not (tmp_path / "out").exists()


def test_a_model_card_of_something_else(solq, shapes, broken_model):
    (broken_model / "model.json").write_text(json.dumps({"format": "other/1"}))
    ran = solq("evaluate", "--model", broken_model, "--data", shapes)
    assert ran.code == 2
    assert "model.json: expected format 'solq-model/1', got 'other/1'" in ran.errors


@pytest.mark.parametrize("kind", ["truncated", "foreign", "code"])
def test_a_truncated_or_foreign_checkpoint(solq, train, shapes, tmp_path, kind):
    path = tmp_path / "published.pth"
    torch.save({"model": {"weight": torch.zeros(1000)}}, path)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    elif kind == "foreign":
        torch.save({"state_dict": {}}, path)
    else:
        torch.save({"model": {}, "hook": print}, path)
    expected = "expected a dict with the weights" if kind == "foreign" else "expected a published"
    for ran in use_model(solq, train, shapes, path, tmp_path / "out"):
        assert ran.code == 2
        assert f"checkpoint {path}: {expected}" in ran.errors
    assert not (tmp_path / "out").exists()
    assert written(tmp_path / "run") == set()


def test_a_checkpoint_to_resume_that_is_truncated_with_none_before_it(train, shapes, tmp_path):
    assert train(shapes, "--max-steps", 2).code == 0
    before = written(tmp_path / "run")
    state = tmp_path / "run" / "last" / "training_state.pt"
    state.write_bytes(state.read_bytes()[:500])
    ran = train(shapes, "--resume")
    assert ran.code == 2
    assert f"no checkpoint of {tmp_path / 'run'} can be used: checkpoint {state}" in ran.errors
    assert "not a whole training state of this run" in ran.errors
    assert written(tmp_path / "run") == before


@pytest.mark.parametrize("command", ["train", "evaluate", "predict"])
@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("file", "expected a folder, found a file"),
        ("file/below", "cannot be made (Not a directory)"),
        ("/proc/solq", "cannot be made ("),
        ("full", "expected a new or empty folder, found files in it"),
    ],
)
def test_an_output_folder_that_cannot_be_written(
    solq, shapes, trained, run_file, tmp_path, command, place, expected
):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("precious")
    output = tmp_path / place
    model = ("--model", trained / "best")
    arguments = {
        "train": ("--recipe", "tiny_cpu", "--config", run_file, "--data", shapes),
        "evaluate": (*model, "--data", shapes),
        "predict": (shapes / "val" / "000001.png", *model),
    }
    ran = solq(command, *arguments[command], "--output", output)
    assert ran.code == 2
    assert f"output {output}: {expected}" in ran.errors
    assert written(tmp_path) == {"file", "full/file"}
    assert (tmp_path / "file").read_text() == "precious"


def test_a_data_set_folder_that_cannot_be_written(solq, tmp_path):
    (tmp_path / "file").write_text("precious")
    ran = solq("data", "make-shapes", tmp_path / "file" / "below", "--num-train", 3, "--num-val", 3)
    assert ran.code == 2
    assert f"{tmp_path / 'file' / 'below'}: the data set cannot be written there" in ran.errors
    assert written(tmp_path) == {"file"}


def test_a_loss_that_is_not_finite(train, shapes, tmp_path):
    ran = train(shapes, "--optimizer.learning-rate", "1e30", "--optimizer.clip-norm", "0")
    assert ran.code == 1
    assert "not finite at step 1: loss_" in ran.errors
    assert str(tmp_path / "run" / FAILURE) in ran.errors
    batch = torch.load(tmp_path / "run" / FAILURE / "batch.pt", weights_only=True)
    assert len(batch["images"]) == len(batch["targets"]) == 4
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"config.json", "metrics.jsonl", FAILURE}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[optimizer]\nepoch = 3\n", "unknown key 'optimizer.epoch'"),
        ('seed = "7"\n', "seed must be int, got '7'"),
        ("seed = = 7\n", "not valid TOML"),
    ],
)
def test_a_run_file_that_does_not_fit(solq, shapes, tmp_path, text, expected):
    path = tmp_path / "run.toml"
    path.write_text(text)
    named = ("--recipe", "tiny_cpu", "--config", path, "--data", shapes)
    ran = solq("train", *named, "--output", tmp_path / "run")
    assert ran.code == 2
    assert f"run file {path}: {expected}" in ran.errors
    assert not (tmp_path / "run").exists()


@pytest.fixture(params=["truncated", "no image"])
def broken_image(request, shapes, tmp_path) -> Path:
    path = tmp_path / "bad.png"
    whole = (shapes / "val" / "000001.png").read_bytes()
    path.write_bytes(whole[:300] if request.param == "truncated" else b"hello")
    return path


def test_an_image_to_predict_that_is_missing(solq, trained, shapes, tmp_path):
    good, bad, output = shapes / "val" / "000001.png", tmp_path / "bad.png", tmp_path / "out"
    ran = solq("predict", good, bad, "--model", trained / "best", "--output", output)
    assert ran.code == 2
    assert f"{bad}: " in ran.errors
    assert not output.exists()


def test_an_image_to_predict_that_is_broken_is_left_out(
    solq, trained, shapes, broken_image, tmp_path
):
    files = shapes / "val" / "000001.png", broken_image, shapes / "val" / "000002.png"
    ran = solq("predict", *files, "--model", trained / "best", "--output", tmp_path / "out")
    assert ran.code == 1
    message = f"left out: image {broken_image}: not a whole image file"
    assert "".join(message.split()) in "".join(ran.errors.split())  # lines are wrapped
    assert " objects in 2 images, 1 file could not be read" in ran.output
    assert written(tmp_path / "out") == {"000001.png", "000002.png", "predictions.json"}


def test_only_broken_images_to_predict_are_refused(solq, trained, broken_image, tmp_path):
    output = tmp_path / "out"
    ran = solq("predict", broken_image, "--model", trained / "best", "--output", output)
    assert ran.code == 2
    assert f"image {broken_image}: not a whole image file" in ran.errors
    assert not output.exists()


def test_an_image_to_evaluate_that_is_truncated(solq, trained, copied_set, tmp_path):
    path = copied_set.folder / "val" / "000003.png"
    path.write_bytes(path.read_bytes()[:300])
    output = tmp_path / "out"
    output.mkdir()
    named = ("--model", trained / "best", "--data", copied_set.folder, "--output", output)
    for workers in (0, 2):
        ran = solq("evaluate", *named, "--num-workers", workers)
        assert ran.code == 2
        assert ran.errors.startswith(f"solq: {path}: must be a whole image file, but: ")
        assert list(output.iterdir()) == []


def test_impossible_settings_are_refused_by_name(train, shapes, tmp_path):
    for arguments, expected in (
        (("--optimizer.epochs", 0), "optimizer.epochs must be above 0, got 0"),
        (("--model.hidden-dim", 33), "ModelConfig.hidden_dim must be a multiple of 32"),
        (("--data.short-sides", 0), "short_sides must be at least one side"),
        (("--device", "tpu9"), "device must be auto, cpu, cuda or cuda:N, got 'tpu9'"),
        (("--data.crop-size", 50, 40), "crop_size must be (smallest, largest)"),
    ):
        ran = train(shapes, *arguments)
        assert ran.code == 2
        assert expected in ran.errors
        assert written(tmp_path / "run") == set()
