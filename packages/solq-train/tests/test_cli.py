"""The `solq` command: help, settings from recipe, file and arguments, exit codes."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from solq_train import cli
from solq_train.cli import main, parse
from solq_train.commands.data import Check, MakeShapes
from solq_train.commands.demo import Demo
from solq_train.commands.evaluate import Evaluate
from solq_train.commands.export import Export
from solq_train.commands.predict import Predict
from solq_train.commands.serve import Serve
from solq_train.commands.submit import CheckSubmission, Submit
from solq_train.commands.train import Train
from solq_train.config import TrainConfig
from solq_train.data import DataError
from solq_train.recipes import RECIPES

REQUIRED = ("--data", "data", "--output", "output")


def options(config: type | TrainConfig, prefix: str = "") -> Iterator[str]:
    """The names of the arguments of a configuration, nested ones with their table."""
    for field in fields(config):
        value = getattr(config, field.name)
        name = prefix + field.name.replace("_", "-")
        if is_dataclass(value):
            yield from options(value, f"{name}.")
        else:
            yield f"--{name}"


def names_of(command: type, *positional: str) -> set[str]:
    names = {field.name for field in fields(command)} - {*positional, "settings"}
    return {f"--{name.replace('_', '-')}" for name in names}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), {"demo", "train", "evaluate", "predict", "export", "data"}),
        (("demo",), names_of(Demo)),
        (("train",), names_of(Train) | set(options(TrainConfig()))),
        (("evaluate",), names_of(Evaluate)),
        (("predict",), {*names_of(Predict, "images", "overlays"), "FILE", "--no-overlays"}),
        (("export",), {*names_of(Export, "model", "grid_sample"), "MODEL", "--no-grid-sample"}),
        (("submit",), names_of(Submit)),
        (("check-submission",), names_of(CheckSubmission, "file") | {"PATH"}),
        (("serve",), names_of(Serve)),
        (("data",), {"make-shapes", "check"}),
        (("data", "make-shapes"), names_of(MakeShapes, "directory") | {"PATH"}),
        (("data", "check"), names_of(Check, "directory") | {"[PATH]"}),
    ],
)
def test_help_names_every_argument(solq, arguments, expected):
    ran = solq(*arguments, "--help")
    assert ran.code == 0
    assert ran.errors == ""
    assert {name for name in expected if name not in ran.output} == set()


def test_help_of_training_shows_the_values_of_the_recipe(solq):
    shown = solq("train", "--recipe", "r50_coco", "--help").output
    assert "(default: category_id)" in shown
    assert "(default: imagenet)" in shown


def test_without_a_command_the_commands_are_named(solq):
    ran = solq()
    assert ran.code == 2
    assert "train" in ran.errors
    assert "predict" in ran.errors


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("train", "--recipe", "r51"), "r50_coco"),
        (("train", "--recipe", "tiny_cpu", *REQUIRED, "--sead", "1"), "--sead"),
        (("train", "--recipe", "tiny_cpu", *REQUIRED, "--seed", "one"), "--seed"),
        (("train", "--recipe", "tiny_cpu"), "--data"),
        (("evaluate", "--data", "data"), "--model"),
        (("predict", "--model", "model", "--output", "out"), "images"),
        (("data", "make-shapes"), "PATH"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(solq, arguments, expected):
    ran = solq(*arguments)
    assert ran.code == 2
    assert expected in ran.errors


@pytest.fixture
def settings(tmp_path: Path):
    """The settings that a recipe, a run file and further arguments come to."""

    def resolve(text: str, *arguments: str, equals: bool = False) -> TrainConfig:
        path = tmp_path / "run.toml"
        path.write_text(text)
        file = [f"--config={path}"] if equals else ["--config", str(path)]
        command = parse(["train", "--recipe", "tiny_cpu", *file, *REQUIRED, *arguments])
        assert isinstance(command, Train)
        return command.settings

    return resolve


def test_arguments_beat_the_file_which_beats_the_recipe(settings):
    recipe = RECIPES["tiny_cpu"]()
    text = "seed = 7\n[optimizer]\nepochs = 77\nbatch_size = 5\n"
    found = settings(text, "--optimizer.epochs", "99", "--model.dropout", "0.2")
    assert found.optimizer.epochs == 99
    assert found.optimizer.batch_size == 5
    assert found.seed == 7
    assert found.model.dropout == 0.2
    assert found.optimizer.learning_rate == recipe.optimizer.learning_rate
    assert found.data == recipe.data


def test_the_file_may_be_given_with_an_equals_sign(settings):
    assert settings("seed = 7\n", equals=True).seed == 7


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_alone_is_taken_as_it_is(name):
    command = parse(["train", "--recipe", name, *REQUIRED])
    assert isinstance(command, Train)
    assert command.settings == RECIPES[name]()


def test_the_configuration_that_a_run_left_makes_the_same_run(trained, small_config):
    file = trained / "config.json"
    # On another recipe: every value comes from the file.
    command = parse(["train", "--recipe", "r50_coco", "--config", str(file), *REQUIRED])
    assert isinstance(command, Train)
    assert command.settings == small_config
    assert json.loads(file.read_text())["model"]["num_queries"] == 5


class Failing:
    """A command that ends in an error."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def run(self, _console) -> int:
        raise self.error


@pytest.fixture
def fails(solq, monkeypatch):
    """What `solq` does when its command ends in an error."""

    def run(error: BaseException):
        monkeypatch.setattr(cli, "parse", lambda _arguments: Failing(error))
        return solq("anything")

    return run


def test_refused_input_is_one_line_and_exit_code_2(fails):
    ran = fails(ValueError("images[0] must be [3, height, width]"))
    assert (ran.code, ran.output) == (2, "")
    assert ran.errors == "solq: images[0] must be [3, height, width]\n"


def test_what_the_system_refuses_is_exit_code_2_too(fails):
    ran = fails(PermissionError(13, "Permission denied", "folder"))
    assert ran.code == 2
    assert "Permission denied: 'folder'" in ran.errors


def test_an_interrupted_command_has_its_own_exit_code(fails):
    ran = fails(KeyboardInterrupt())
    assert ran.code == 130
    assert ran.errors.startswith("interrupted")


def test_our_own_mistakes_keep_their_traceback(fails):
    with pytest.raises(AssertionError):
        fails(AssertionError("a bug"))


def test_a_traceback_is_shown_when_it_is_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(cli, "parse", lambda _arguments: Failing(ValueError("wrong")))
    monkeypatch.setenv("SOLQ_TRACEBACK", "1")
    assert main(["anything"]) == 2
    shown = capsys.readouterr().err
    assert "Traceback (most recent call last)" in shown
    assert "raise self.error" in shown


@pytest.mark.parametrize(
    ("kind", "name"),
    [(DataError, "solq_train.data.defects.DataError"), (ValueError, "ValueError")],
)
def test_an_error_of_a_worker_process_is_told_in_its_own_words(fails, kind, name):
    told = (
        f"Caught {kind.__name__} in DataLoader worker process 0.\n"
        "Original Traceback (most recent call last):\n"
        '  File "worker.py", line 1, in _worker_loop\n'
        "OSError: image file is truncated\n\n"
        "The above exception was the direct cause of the following exception:\n\n"
        "Traceback (most recent call last):\n"
        '  File "images.py", line 2, in load_image\n'
        f"{name}: a.png: must be a whole image file\n"
    )
    assert fails(kind(told)).errors == "solq: a.png: must be a whole image file\n"


def test_the_module_runs_as_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["solq_train", "data", "--help"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_module("solq_train", run_name="__main__")
    assert "make-shapes" in capsys.readouterr().out


def test_the_command_line_starts_without_what_takes_seconds_to_import():
    program = "import sys, solq_train.cli; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
