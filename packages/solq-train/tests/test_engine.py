"""Steps, evaluations and checkpoints of a run; what repeats, what goes on, what stops."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from solq_train import engine
from solq_train.checkpoint import EARLIER, LAST
from solq_train.data import Split, find_split
from solq_train.engine import BEST, changed_settings, train
from solq_train.evaluation import evaluate
from solq_train.journal import METRICS
from solq_train.run import prepare_run
from solq_train.step import train_step
from solq_train.stopping import StoppedError

TIMING = {"images_per_second", "train_seconds"}


@pytest.fixture
def start(shapes: Path, console):
    """Prepares a run and trains it into a folder."""

    def run(config, output: Path, *, resume: bool = False):
        output.mkdir(exist_ok=True)
        run = prepare_run(config, find_split(shapes, "train"))
        return train(run, find_split(shapes, "val"), output, console, resume=resume)

    return run


@pytest.fixture
def run(small_config, shapes: Path):
    return prepare_run(small_config, find_split(shapes, "train"))


def records(output: Path) -> list[dict]:
    """The lines of metrics.jsonl without what a clock measured."""
    lines = (output / METRICS).read_text().splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if key not in TIMING}
        for line in lines
    ]


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def stop_at(monkeypatch, step: int) -> None:
    """Have the training be interrupted at the beginning of a step."""
    real = train_step

    def interrupted(run, batch, at, output):
        if at == step:
            raise KeyboardInterrupt
        return real(run, batch, at, output)

    monkeypatch.setattr(engine, "train_step", interrupted)


def test_a_run_leaves_its_weights_and_a_line_for_every_step_and_evaluation(
    start, small_config, tmp_path
):
    result = start(small_config, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [BEST, EARLIER, LAST, METRICS]
    lines = records(tmp_path)
    assert [(r["step"], "loss" in r) for r in lines] == [
        (1, True),
        (2, True),
        (2, False),
        (3, True),
        (4, True),
        (4, False),
    ]
    assert (result.progress.step, result.progress.evaluated) == (4, 4)
    assert result.progress.seconds > 0
    assert lines[-1]["segm.AP"] == result.evaluation.metrics.segm.AP


def test_a_line_of_a_step_has_every_term_rate_and_norm(start, small_config, tmp_path):
    start(small_config, tmp_path)
    first = json.loads((tmp_path / METRICS).read_text().splitlines()[0])
    terms = ("loss_ce", "loss_bbox", "loss_giou", "loss_vector")
    expected = 2 * first["loss_ce"] + 5 * first["loss_bbox"] + 2 * first["loss_giou"]
    assert first["loss"] == pytest.approx(expected + first["loss_vector"], abs=1e-3)
    assert first["lr"] == first["lr.base"] == 1e-3
    assert (first["lr.backbone"], first["lr.offsets"]) == (2e-5, 1e-4)
    assert {*terms, "class_error", "grad_norm", "images_per_second"} <= first.keys()
    assert first["epoch"] == 0


def test_two_runs_with_one_seed_write_the_same_metrics_and_weights(start, small_config, tmp_path):
    for name in ("a", "b"):
        start(small_config, tmp_path / name)
    assert records(tmp_path / "a") == records(tmp_path / "b")
    assert weights(tmp_path / "a" / LAST) == weights(tmp_path / "b" / LAST)


def test_another_seed_gives_other_weights(start, small_config, tmp_path):
    for seed in (1, 2):
        start(replace(small_config, seed=seed), tmp_path / str(seed))
    assert weights(tmp_path / "1" / LAST) != weights(tmp_path / "2" / LAST)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(
    start, small_config, tmp_path, monkeypatch, num_workers
):
    config = replace(small_config, data=replace(small_config.data, num_workers=num_workers))
    assert config.model.dropout > 0  # so that the random state matters
    start(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(patch, 3)  # in the middle of the second epoch
        with pytest.raises(KeyboardInterrupt):
            start(config, tmp_path / "parts")
    start(config, tmp_path / "parts", resume=True)
    for folder in (LAST, BEST):
        assert weights(tmp_path / "parts" / folder) == weights(tmp_path / "whole" / folder)
    assert records(tmp_path / "parts") == records(tmp_path / "whole")


def test_a_resumed_run_goes_on_with_its_averaged_weights(
    start, small_config, tmp_path, monkeypatch
):
    config = replace(small_config, ema_decay=0.9, checkpoint_every=1)
    start(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            start(config, tmp_path / "parts")
    start(config, tmp_path / "parts", resume=True)
    for folder in (LAST, BEST):
        assert weights(tmp_path / "parts" / folder) == weights(tmp_path / "whole" / folder)
    with pytest.raises(ValueError, match="it was made with ema_decay"):
        start(small_config, tmp_path / "parts", resume=True)


def test_a_resumed_run_tells_the_time_of_both_parts_apart(start, small_config, tmp_path):
    first = start(replace(small_config, max_steps=2), tmp_path)
    second = start(small_config, tmp_path, resume=True)
    assert first.earlier_seconds == 0
    assert second.earlier_seconds == first.progress.seconds
    assert second.progress.seconds > first.progress.seconds


def test_resuming_a_finished_run_evaluates_it_once_more(start, small_config, tmp_path):
    first = start(small_config, tmp_path)
    before = weights(tmp_path / LAST)
    again = start(small_config, tmp_path, resume=True)
    assert again.progress == first.progress
    assert again.evaluation.metrics == first.evaluation.metrics
    assert weights(tmp_path / LAST) == before


def test_max_steps_stops_within_an_epoch(start, small_config, tmp_path):
    result = start(replace(small_config, max_steps=3), tmp_path)
    assert result.progress.step == 3
    assert records(tmp_path)[-1]["step"] == 3
    assert "segm.AP" in records(tmp_path)[-1]


def test_epochs_between_evaluations_only_write_a_checkpoint(start, small_config, tmp_path):
    optimizer = replace(small_config.optimizer, epochs=3)
    start(replace(small_config, optimizer=optimizer, evaluate_every=2), tmp_path)
    evaluated = [r["epoch"] for r in records(tmp_path) if "segm.AP" in r]
    assert evaluated == [2, 3]  # the last one always


def test_best_is_the_epoch_of_the_highest_mask_ap(start, small_config, tmp_path, monkeypatch):
    numbers = iter([0.2, 0.5, 0.3])
    real, after = engine.evaluate, []

    def graded(model, *arguments, **options):
        found = real(model, *arguments, **options)
        after.append(model.level_embedding.detach().clone())
        segm = replace(found.metrics.segm, AP=next(numbers))
        return replace(found, metrics=replace(found.metrics, segm=segm))

    monkeypatch.setattr(engine, "evaluate", graded)
    optimizer = replace(small_config.optimizer, epochs=3)
    result = start(replace(small_config, optimizer=optimizer), tmp_path)
    assert result.progress.best == 0.5
    for folder, epoch in ((BEST, 1), (LAST, 2)):
        saved = load_file(tmp_path / folder / "model.safetensors")["level_embedding"]
        assert torch.equal(saved, after[epoch])


@pytest.fixture
def graded(monkeypatch):
    """Has evaluations come to these mask APs, one after another."""

    def grade(*numbers: float) -> None:
        left, real = iter(numbers), evaluate

        def evaluate_as(*arguments, **options):
            found = real(*arguments, **options)
            segm = replace(found.metrics.segm, AP=next(left))
            return replace(found, metrics=replace(found.metrics, segm=segm))

        monkeypatch.setattr(engine, "evaluate", evaluate_as)

    return grade


def with_patience(config, epochs: int, evaluations: int):
    optimizer = replace(config.optimizer, epochs=epochs)
    return replace(config, optimizer=optimizer, early_stopping=evaluations)


def test_a_run_ends_early_after_so_many_evaluations_without_a_higher_ap(
    start, small_config, console, tmp_path, graded
):
    graded(0.2, 0.5, 0.3, 0.5)
    result = start(with_patience(small_config, 9, 2), tmp_path)
    assert (result.progress.step, result.progress.best, result.progress.stale) == (8, 0.5, 2)
    told = "stopped early after step 8 of 18: no better AP than 0.500 in 2 evaluations"
    assert told in console.file.getvalue()
    assert json.loads((tmp_path / LAST / "training.json").read_text())["step"] == 8


def test_a_higher_ap_begins_the_count_anew_and_no_patience_never_ends_a_run(
    start, small_config, tmp_path, graded
):
    graded(0.2, 0.1, 0.3, 0.1)
    assert start(with_patience(small_config, 4, 2), tmp_path / "a").progress.step == 8
    graded(0.2, 0.1, 0.1, 0.1)
    assert start(with_patience(small_config, 4, 0), tmp_path / "b").progress.step == 8


def test_the_count_of_evaluations_goes_on_in_a_resumed_run(
    start, small_config, tmp_path, monkeypatch, graded
):
    config = with_patience(small_config, 5, 2)
    graded(0.5, 0.2, 0.1)
    start(config, tmp_path / "whole")
    graded(0.5, 0.2)
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            start(config, tmp_path / "parts")
    graded(0.1, 0.1)
    result = start(config, tmp_path / "parts", resume=True)
    assert (result.progress.step, result.progress.stale) == (6, 2)
    for folder in (LAST, BEST):
        assert weights(tmp_path / "parts" / folder) == weights(tmp_path / "whole" / folder)
    again = start(config, tmp_path / "parts", resume=True)
    assert again.progress == result.progress


def test_lines_tell_loss_the_last_ap_speed_and_memory(start, small_config, console, tmp_path):
    start(small_config, tmp_path)
    line = next(line for line in console.file.getvalue().splitlines() if "train 4/4" in line)
    pattern = r"train 4/4 loss [\d.]+  mask AP 0\.\d{3}  [\d.]+ images/s  [\d.]+ [MG]B"
    assert re.match(pattern, line), line


def test_a_run_on_chosen_images_is_evaluated_on_these(small_config, shapes, console, tmp_path):
    config = replace(small_config, data=replace(small_config.data, image_ids=(1, 3, 4, 7)))
    split = find_split(shapes, "train")
    result = train(prepare_run(config, split), split, tmp_path, console)
    assert {d["image_id"] for d in result.evaluation.detections} == {1, 3, 4, 7}


def test_a_run_that_fails_keeps_the_checkpoint_of_the_last_epoch(
    start, small_config, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        stop_at(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            start(small_config, tmp_path)
    kept = weights(tmp_path / LAST)
    shutil.rmtree(tmp_path / BEST)
    start(replace(small_config, max_steps=2), tmp_path, resume=True)
    assert weights(tmp_path / LAST) == kept


def test_training_and_evaluation_use_their_own_split(
    small_config, shapes, console, tmp_path, monkeypatch
):
    asked: list[Split] = []
    real = engine.evaluate
    monkeypatch.setattr(
        engine,
        "evaluate",
        lambda model, split, *a, **k: asked.append(split) or real(model, split, *a, **k),
    )
    run = prepare_run(small_config, find_split(shapes, "train"))
    train(run, find_split(shapes, "val"), tmp_path, console)
    assert {split.images.name for split in asked} == {"val"}
    assert run.dataset.images.name == "train"


def test_a_run_asked_to_stop_saves_after_the_step_and_goes_on_from_there(
    start, small_config, tmp_path, monkeypatch
):
    start(small_config, tmp_path / "whole")
    real = train_step

    def asked(run, batch, at, output):
        if at == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(run, batch, at, output)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "train_step", asked)
        with pytest.raises(StoppedError, match="SIGTERM after step 3 of 4") as stopped:
            start(small_config, tmp_path / "parts")
    assert stopped.value.signum == signal.SIGTERM
    assert json.loads((tmp_path / "parts" / LAST / "training.json").read_text())["step"] == 3
    start(small_config, tmp_path / "parts", resume=True)
    assert weights(tmp_path / "parts" / LAST) == weights(tmp_path / "whole" / LAST)
    assert records(tmp_path / "parts") == records(tmp_path / "whole")


def test_a_run_stopped_at_the_end_of_an_epoch_still_evaluates_it(
    start, small_config, tmp_path, monkeypatch
):
    start(small_config, tmp_path / "whole")
    real = train_step

    def asked(run, batch, at, output):
        if at == 1:  # the last step of the first epoch
            os.kill(os.getpid(), signal.SIGINT)
        return real(run, batch, at, output)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "train_step", asked)
        with pytest.raises(StoppedError, match="SIGINT after step 2 of 4"):
            start(small_config, tmp_path / "parts")
    start(small_config, tmp_path / "parts", resume=True)
    for folder in (LAST, BEST):
        assert weights(tmp_path / "parts" / folder) == weights(tmp_path / "whole" / folder)
    assert records(tmp_path / "parts") == records(tmp_path / "whole")


def test_checkpoints_within_an_epoch_are_written_as_often_as_asked(start, small_config, tmp_path):
    start(replace(small_config, checkpoint_every=1, keep_checkpoints=3), tmp_path)
    kept = sorted(path.name for path in (tmp_path / "earlier").iterdir())
    assert kept == ["step-00000002", "step-00000003"]
    assert json.loads((tmp_path / LAST / "training.json").read_text())["step"] == 4


def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(
    start, small_config, tmp_path, caplog
):
    config = replace(small_config, checkpoint_every=1)
    start(config, tmp_path / "whole")
    start(config, tmp_path / "parts")
    damaged = tmp_path / "parts" / LAST / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    start(config, tmp_path / "parts", resume=True)
    assert "skipped: weights" in caplog.text
    assert weights(tmp_path / "parts" / LAST) == weights(tmp_path / "whole" / LAST)


def test_a_resumed_run_says_which_settings_are_others(start, small_config, tmp_path, caplog):
    start(replace(small_config, max_steps=2), tmp_path)
    start(replace(small_config, log_every=2), tmp_path, resume=True)
    assert "resumed with another setting: max_steps: 2 → null" in caplog.text
    assert "resumed with another setting: log_every: 1 → 2" in caplog.text


def test_settings_are_compared_through_nested_tables():
    before = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert changed_settings(before, {"a": {"b": 2, "c": (1, 2)}, "d": 1, "new": 3}) == [
        "a.b: 1 → 2"
    ]
