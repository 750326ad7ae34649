"""Run files replace values of a recipe; what does not fit stops the run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from solq_train.config import TrainConfig
from solq_train.recipes import RECIPES
from solq_train.run_file import override, read_run_file, write_run_file


@pytest.fixture
def read(tmp_path: Path):
    """The configuration of a TOML text on top of the defaults."""

    def parse(text: str, name: str = "run.toml") -> TrainConfig:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return read_run_file(path, TrainConfig())

    return parse


def test_named_values_are_replaced_and_all_others_stay(read):
    config = read("seed = 7\n[optimizer]\nepochs = 3\n[model]\nnum_queries = 100\n")
    default = TrainConfig()
    assert config == replace(
        default,
        seed=7,
        optimizer=replace(default.optimizer, epochs=3),
        model=replace(default.model, num_queries=100),
    )


def test_an_empty_file_changes_nothing(read):
    assert read("") == TrainConfig()


def test_whole_numbers_fit_where_a_fraction_is_expected(read):
    rate = read("[optimizer]\nlearning_rate = 1\n").optimizer.learning_rate
    assert rate == 1.0
    assert isinstance(rate, float)


def test_lists_become_tuples(read):
    data = read("[data]\nshort_sides = [64, 96]\ncrop_size = [32, 48]\n").data
    assert data.short_sides == (64, 96)
    assert data.crop_size == (32, 48)


def test_null_fits_where_a_value_may_be_absent(read):
    assert read('{"max_steps": 5}', "run.json").max_steps == 5
    assert read('{"max_steps": null}', "run.json").max_steps is None


@pytest.mark.parametrize("name", RECIPES)
def test_a_written_configuration_is_read_back_the_same(name, tmp_path):
    config = RECIPES[name]()
    write_run_file(tmp_path / "config.json", config)
    assert read_run_file(tmp_path / "config.json", TrainConfig()) == config


def test_writing_leaves_no_other_file(tmp_path):
    write_run_file(tmp_path / "config.json", TrainConfig())
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == TrainConfig().seed


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("sede = 7\n", "'sede'"),
        ("[optimizer]\nepoch = 3\n", r"'optimizer\.epoch'"),
        ("[optimiser]\nepochs = 3\n", "'optimiser'"),
    ],
)
def test_unknown_keys_are_refused_with_the_known_ones(read, text, key):
    with pytest.raises(ValueError, match=rf"run file .*run\.toml: unknown key {key}; known here: "):
        read(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('seed = "7"', "seed must be int, got '7'"),
        ("seed = 7.5", r"seed must be int, got 7\.5"),
        ("seed = true", "seed must be int, got True"),
        ("device = 1", "device must be str, got 1"),
        ("optimizer = 3", "optimizer must be a table of keys, got 3"),
        ('[optimizer]\nlearning_rate = "fast"', r"optimizer\.learning_rate must be float, got"),
        ("[optimizer]\nlearning_rate = true", r"optimizer\.learning_rate must be float, got True"),
        ('[optimizer]\nschedule = "linear"', "schedule must be 'step' or 'cosine', got 'linear'"),
        ("[model]\ntwo_stage = 1", r"model\.two_stage must be bool, got 1"),
        ("[data]\nshort_sides = 64", r"data\.short_sides must be a list of int, got 64"),
        ("[data]\nshort_sides = [64, 9.5]", r"data\.short_sides\[1\] must be int, got 9\.5"),
        ("[data]\ncrop_size = [1, 2, 3]", r"data\.crop_size must hold 2 values, got 3"),
        ("max_steps = 1.5", r"max_steps must be int, got 1\.5"),
    ],
)
def test_wrong_types_are_refused_by_key_and_file(read, text, expected):
    with pytest.raises(ValueError, match=rf"run file .*run\.toml: .*{expected}"):
        read(text)


def test_values_that_the_configuration_refuses_are_refused_with_the_file(read):
    with pytest.raises(ValueError, match=r"run\.toml: optimizer\.epochs must be above 0, got 0"):
        read("[optimizer]\nepochs = 0\n")


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [("run.toml", "seed = = 7", "TOML"), ("run.json", '{"seed": 7', "JSON")],
)
def test_files_that_cannot_be_parsed_are_refused_by_name(read, name, text, kind):
    with pytest.raises(ValueError, match=rf"run file .*{name}: not valid {kind}: "):
        read(text, name)


def test_files_that_are_no_text_are_refused_by_name(tmp_path):
    (tmp_path / "run.toml").write_bytes(b"seed = \xff")
    with pytest.raises(ValueError, match=r"run file .*run\.toml: not valid TOML"):
        read_run_file(tmp_path / "run.toml", TrainConfig())


def test_a_list_is_no_run_file(read):
    with pytest.raises(ValueError, match=r"the file must be a table of keys, got \[\]"):
        read("[]", "run.json")


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"run file .*none\.toml: no such file"):
        read_run_file(tmp_path / "none.toml", TrainConfig())


def test_override_names_the_table_it_is_in():
    with pytest.raises(ValueError, match=r"unknown key 'run\.sede'"):
        override(TrainConfig(), {"sede": 1}, "run")
