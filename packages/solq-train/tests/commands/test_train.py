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
    assert "Boxes, all categories" in page
    assert "Masks, all categories" not in page
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
    # One of the four is empty: among the worst, but no example of what is found.
    assert report.count("data:image/jpeg;base64,") == 2 * (4 + 3 + 3) + 3
    detections = json.loads((tmp_path / "run" / "detections.json").read_text())
    assert {detection["image_id"] for detection in detections} == {1, 2, 3, 4}


def test_a_model_is_trained_on_with_other_categories_in_one_command(
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
    ran = solq("train", *arguments, "--output", tmp_path / "first")
    assert (ran.code, ran.errors) == (0, "")
    assert "class head is kept for blob, ring" in ran.output
    ran = solq("train", *arguments, "--reset-head", "--output", tmp_path / "second")
    assert ran.code == 0
    assert "class head begins anew for all categories" in ran.output
    assert SOLQ.load(tmp_path / "second" / "best").config.num_classes == 2


def test_the_recipe_for_fine_tuning_takes_the_network_of_the_weights(
    solq, trained, shapes, tmp_path
):
    named = ("--recipe", "small_finetune", "--data", shapes, "--output", tmp_path / "run")
    without = solq("train", *named)
    assert without.code == 2
    assert "recipe small_finetune goes on from weights: name them with --init" in without.errors
    gone = solq("train", *named, "--initial-weights", tmp_path / "gone", "--dry-run")
    assert gone.code == 2
    assert "no such file or folder, and --dry-run downloads nothing" in gone.errors
    given = (*named, "--initial-weights", trained / "best", "--data.num-workers", 0)
    ran = solq("train", *given, "--max-steps", 1)
    assert (ran.code, ran.errors) == (0, "")
    assert "1 + 1 layers of 32, 5 queries" in ran.output
    assert "class head is kept: the same categories" in ran.output
    assert "rates     base 0.0002" in ran.output


def test_a_dry_run_says_what_would_run_and_writes_and_downloads_nothing(
    train, tmp_path, monkeypatch
):
    from torchvision.models import WeightsEnum

    def refuse(*_, **__):
        msg = "a dry run must not download"
        raise AssertionError(msg)

    monkeypatch.setattr(WeightsEnum, "get_state_dict", refuse)
    ran = train(
        "--dry-run", "--model.backbone", "resnet18", "--backbone-weights", "imagenet",
        "--checkpoint-every", 3, "--optimizer.schedule", "cosine", "--optimizer.batch-size", 2,
        "--early-stopping", 5, "--ema-decay", 0.9, "--precision", "bfloat16",
    )  # fmt: skip
    assert (ran.code, ran.errors) == (0, "")
    for text in (
        "batch     2 images a step where tiny_cpu has 8",
        "8 training images with",
        "4 to evaluate on",
        "steps     8 of 2 images, 4 an epoch, 2 epochs",
        "evaluated 2 times, fewer if 5 in a row find no higher AP",
        "saved     4 times, after every epoch and every 3 steps",
        "average",
        "2 images of 64 x 96",
        "activations are less with bfloat16",
        "2 checkpoints of",
        "ImageNet weights, downloaded when the run begins",
    ):
        assert text in ran.output, text
    assert not (tmp_path / "run").exists()


def test_the_rates_of_a_dry_run_are_those_at_the_turns_of_the_schedule(train):
    shown = train("--dry-run", "--optimizer.drop-epoch", 1, "--optimizer.warmup-steps", 1).output
    table = shown[shown.index("rate at") :].splitlines()
    assert table[0].split() == ["rate", "at", "step", "base", "backbone", "offsets"]
    assert table[1].split() == ["1", "0.0005", "1e-05", "5e-05"]
    assert table[2].split() == ["2", "0.001", "2e-05", "0.0001"]
    assert table[3].split() == ["3", "0.0001", "2e-06", "1e-05"]


def test_a_dry_run_refuses_what_a_run_would(train, tmp_path):
    ran = train("--dry-run", "--data", tmp_path / "nothing")
    assert ran.code == 2
    assert "no such folder" in ran.errors


def test_output_that_is_no_terminal_has_no_control_codes(train):
    ran = train("--max-steps", 1)
    text = ran.output + ran.errors
    assert all(c.isprintable() or c == "\n" for c in text)
