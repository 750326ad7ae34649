"""`solq train`: a recipe on a data set becomes a run folder."""

from __future__ import annotations

import hashlib
import json

import pytest

from solq_model import SOLQ
from solq_train import engine
from solq_train.run_file import write_run_file


def weights(folder) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture
def train(solq, run_file, shapes, tmp_path):
    def start(*arguments: object):
        named = ("--recipe", "tiny_cpu", "--config", run_file, "--data", shapes)
        return solq("train", *named, "--output", tmp_path / "run", *arguments)

    return start


def test_a_run_leaves_all_that_it_promises(trained):
    assert sorted(path.name for path in trained.iterdir()) == [
        "best",
        "config.json",
        "detections.json",
        "earlier",
        "last",
        "metrics.jsonl",
        "report.html",
        "summary.json",
    ]
    summary = json.loads((trained / "summary.json").read_text())
    assert {"bbox.AP", "segm.AP", "ceiling.segm.AP", "train_seconds", "total_seconds"} <= set(
        summary
    )
    assert summary["steps"] == 4
    assert summary["epochs"] == 2
    assert summary["weights_sha256"] == {name: weights(trained / name) for name in ("best", "last")}


def test_a_detector_of_boxes_is_trained_evaluated_and_shown_without_mask_figures(
    train, solq, shapes, tmp_path
):
    ran = train("--model.mask-head", "none")
    assert (ran.code, ran.errors) == (0, "")
    assert "box" in ran.output
    assert "mask" not in ran.output
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert "bbox.AP" in summary
    assert not any("segm" in name for name in summary)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Box AP" in page
    assert "mean box IoU" in page
    assert not any(figure in page for figure in ("Mask AP", "mask AP", "ceiling is"))
    records = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert "loss_bbox" in records
    assert "loss_vector" not in records
    best, picture = tmp_path / "run" / "best", shapes / "val" / "000001.png"
    evaluated = solq("evaluate", "--model", best, "--data", shapes, "--output", tmp_path / "out")
    assert (evaluated.code, evaluated.errors) == (0, "")
    numbers = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert len(numbers) == 12
    detections = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert set(detections[0]) == {"image_id", "category_id", "bbox", "score"}
    found = SOLQ.load(best).predict(picture, threshold=0.0)
    assert len(found) > 0
    assert found.plot().size[0] >= 64


def test_a_network_of_spatial_masks_is_trained_evaluated_and_shown(train, solq, shapes, tmp_path):
    spatial = ("--model.mask-head", "spatial", "--model.hidden-dim", 128, "--model.num-heads", 8)
    ran = train(*spatial, "--model.num-feature-levels", 4)
    assert (ran.code, ran.errors) == (0, "")
    assert "mask ceiling" not in ran.output
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert {"bbox.AP", "segm.AP"} <= set(summary)
    assert "ceiling.segm.AP" not in summary
    records = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert "loss_dice" in records
    best = tmp_path / "run" / "best"
    evaluated = solq("evaluate", "--model", best, "--data", shapes, "--output", tmp_path / "out")
    assert (evaluated.code, evaluated.errors) == (0, "")
    detections = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert {d["segmentation"]["size"][0] for d in detections} == {64}
    found = SOLQ.load(best).predict(shapes / "val" / "000001.png", threshold=0.0)
    assert found.masks.shape == (len(found), 64, 64)
    assert found.plot().size[0] >= 64


def test_the_saved_model_knows_the_categories_and_predicts(trained, shapes):
    model = SOLQ.load(trained / "best")
    result = model.predict(shapes / "val" / "000001.png", threshold=0.0)
    assert set(result.labels) <= {1, 7, 23}
    assert set(result.names) <= {"blob", "star", "ring"}
    assert len(result) > 0


def test_the_end_shows_the_table_with_the_ceiling(train):
    ran = train("--max-steps", 1)
    assert ran.code == 0
    assert ran.errors == ""
    for text in ("3 categories, 8 images, 1 steps of 4, device cpu", "mask ceiling", "AP50"):
        assert text in ran.output
    assert "report.html" in ran.output


def test_a_command_line_repeated_gives_the_same_weights(train, trained, tmp_path):
    assert train().code == 0
    assert weights(tmp_path / "run" / "best") == weights(trained / "best")
    assert (tmp_path / "run" / "config.json").read_text() == (trained / "config.json").read_text()


def test_a_run_stopped_between_epochs_and_resumed_equals_the_whole_one(
    train, trained, tmp_path, monkeypatch
):
    real = engine.train_step

    def interrupted(run, batch, step, output):
        if step == 2:
            raise KeyboardInterrupt
        return real(run, batch, step, output)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "train_step", interrupted)
        assert train().code == 130
    refused = train()
    assert refused.code == 2
    assert "(--resume goes on)" in refused.errors
    resumed = train("--resume")
    assert resumed.code == 0
    assert "resumed after step 2 of 4" in resumed.output
    assert weights(tmp_path / "run" / "last") == weights(trained / "last")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["train_seconds"] <= summary["total_seconds"]


def test_resuming_nothing_is_refused(train, tmp_path):
    ran = train("--resume")
    assert ran.code == 2
    assert "holds no run to go on with" in ran.errors
    assert not (tmp_path / "run").exists()


def test_the_two_stage_network_with_all_its_losses_trains(train, two_stage_config, tmp_path):
    write_run_file(tmp_path / "two.json", two_stage_config)
    assert train("--config", tmp_path / "two.json", "--max-steps", 1).code == 0
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert {"loss_mask", "loss_ce_enc", "loss_vector", "loss_ce_0"} <= first.keys()
    assert "loss_vector_0" not in first


def test_a_run_on_chosen_images_is_judged_on_these(train, tmp_path):
    assert train("--data.image-ids", 1, 2, 3, 4, "--max-steps", 1).code == 0
    report = (tmp_path / "run" / "report.html").read_text()
    assert report.count("data:image/jpeg;base64,") == 2 * 2 * 3  # one of the four is empty


def test_a_model_of_other_categories_is_trained_on_with_a_fresh_class_head(
    trained, copied_set, solq, run_file, tmp_path
):
    def drop_one(document):
        document["categories"] = [e for e in document["categories"] if e["id"] != 7]
        document["annotations"] = [e for e in document["annotations"] if e["category_id"] != 7]

    copied_set.edit(drop_one)
    validation = copied_set.folder / "annotations" / "instances_val.json"
    document = json.loads(validation.read_text())
    drop_one(document)
    validation.write_text(json.dumps(document))
    named = ("--recipe", "tiny_cpu", "--config", run_file, "--data", copied_set.folder)
    arguments = (*named, "--initial-weights", trained / "best", "--max-steps", 1)
    refused = solq("train", *arguments, "--output", tmp_path / "first")
    assert refused.code == 2
    assert "keep all but the class head with --reset-head" in refused.errors
    ran = solq("train", *arguments, "--reset-head", "--output", tmp_path / "second")
    assert ran.code == 0
    assert "the class head begins anew, with 2 slots" in ran.errors
    assert SOLQ.load(tmp_path / "second" / "best").config.num_classes == 2
