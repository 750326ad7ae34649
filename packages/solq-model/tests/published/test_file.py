"""Published files are read without running anything that is in them."""

import argparse
import collections
import pickle

import pytest
import torch
from safetensors.torch import save_file

from solq_model import load_official_checkpoint, read_official_checkpoint


def write(path, content, **options):
    torch.save(content, path, **options)
    return path


class Malicious:
    """Pickled code: whoever unpickles it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "before torch 1.6"])
def test_a_published_file_holds_the_options_beside_the_weights(tmp_path, new_format):
    content = {
        "model": collections.OrderedDict(weight=torch.arange(3.0)),
        "optimizer": {"state": {0: {"step": 1}}, "param_groups": [{"lr": 2e-4, "params": [0]}]},
        "lr_scheduler": {"step_size": 40, "base_lrs": [2e-4]},
        "epoch": 49,
        "args": argparse.Namespace(backbone="resnet50", lr=2e-4, masks=True),
    }
    path = write(tmp_path / "r50.pth", content, _use_new_zipfile_serialization=new_format)
    state = load_official_checkpoint(path)
    assert list(state) == ["weight"]
    assert state["weight"].tolist() == [0, 1, 2]
    assert list(load_official_checkpoint(str(path))) == ["weight"]


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "before torch 1.6"])
def test_pickled_code_is_refused_and_not_run(tmp_path, new_format):
    trap = tmp_path / "trap"
    content = {"model": {"weight": torch.zeros(1)}, "args": Malicious(trap)}
    path = write(tmp_path / "evil.pth", content, _use_new_zipfile_serialization=new_format)
    message = (
        r"evil\.pth: expected a published \.pth file, but it holds \w+\.open, which is neither"
        r" weights nor a plain value; where you trust it, save the network's state_dict\(\) alone$"
    )
    with pytest.raises(ValueError, match=message):
        load_official_checkpoint(path)
    assert not trap.exists()


def test_a_plain_pickle_is_refused_and_not_run(tmp_path):
    trap, path = tmp_path / "trap", tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"model": Malicious(trap)}, protocol=2))
    with pytest.raises(ValueError, match=r"evil\.pth: expected a published \.pth file"):
        load_official_checkpoint(path)
    assert not trap.exists()


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(tmp_path, new_format, share):
    content = {"model": {"weight": torch.arange(1000.0)}, "args": argparse.Namespace()}
    path = write(tmp_path / "r50.pth", content, _use_new_zipfile_serialization=new_format)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"checkpoint .*r50\.pth: expected a published \.pth file"):
        load_official_checkpoint(path)


def test_every_truncation_of_an_old_file_is_refused(tmp_path):
    content = {"model": {"weight": torch.arange(2.0)}, "args": argparse.Namespace(lr=1)}
    path = write(tmp_path / "r50.pth", content, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="expected a published"):
            load_official_checkpoint(path)


@pytest.mark.parametrize("junk", [b"", b"hello", b"\x80\x02.", b"PK\x03\x04", b"{}" * 500])
def test_a_file_of_something_else_is_refused(tmp_path, junk):
    path = tmp_path / "r50.pth"
    path.write_bytes(junk)
    with pytest.raises(ValueError, match=r"checkpoint .*r50\.pth: expected a published \.pth file"):
        load_official_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"weights": {}, "epoch": 3}, r"\['epoch', 'weights'\]"),
        ({"model": {}}, r"\['model'\]"),
        ({"model": [torch.zeros(1)]}, r"\['model'\]"),
        ({"model": {"weight": 3}}, r"\['model'\]"),
        ({"model": {3: torch.zeros(1)}}, r"\['model'\]"),
        ({}, r"\[\]"),
        ([1, 2], "list"),
        (torch.zeros(2), "Tensor"),
    ],
)
def test_a_file_without_a_model_is_described(tmp_path, content, found):
    path = write(tmp_path / "r50.pth", content)
    message = rf"expected a dict with the weights under 'model', found {found}"
    with pytest.raises(ValueError, match=message):
        load_official_checkpoint(path)


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict", None])
@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_weights_are_found_where_wrappers_and_trainers_put_them(tmp_path, key, wrapper):
    state = {f"{wrapper}a.weight": torch.ones(1), f"{wrapper}b.weight": torch.zeros(1)}
    path = write(tmp_path / "r50.pth", state if key is None else {key: state})
    checkpoint = read_official_checkpoint(path)
    assert list(checkpoint.state) == ["a.weight", "b.weight"]
    assert checkpoint.options == {}
    assert [note.split()[0] for note in checkpoint.notes] == [
        f"'{part}.'" for part in wrapper.split(".")[:-1]
    ]


def test_what_lies_beside_the_weights_is_said_to_be_left(tmp_path):
    content = {"model": {"a": torch.ones(1)}, "ema": {"a": torch.zeros(1)}, "epoch": 3, "args": {}}
    checkpoint = read_official_checkpoint(write(tmp_path / "r50.pth", content))
    assert checkpoint.state["a"].tolist() == [1]
    assert checkpoint.notes == ("only 'model' is taken; beside it: ema, epoch",)


def test_counters_of_a_profiler_are_said_to_be_no_weights(tmp_path):
    state = {"a.total_ops": torch.zeros(1), "a.total_params": torch.zeros(1), "a": torch.ones(1)}
    checkpoint = read_official_checkpoint(write(tmp_path / "r50.pth", {"model": state}))
    assert list(checkpoint.state) == ["a"]
    assert checkpoint.notes == ("2 profiler counters are no weights: a.total_ops, …",)


@pytest.mark.parametrize("kind", [argparse.Namespace, dict])
def test_only_plain_options_are_taken(tmp_path, kind):
    options = kind(nheads=4, dilation=True, names=["a"], activation="relu", none=None)
    path = write(tmp_path / "r50.pth", {"model": {"a": torch.ones(1)}, "args": options})
    assert read_official_checkpoint(path).options == {
        "nheads": 4,
        "dilation": True,
        "activation": "relu",
        "none": None,
    }


def test_published_names_may_come_as_safetensors(tmp_path):
    save_file({"module.a.weight": torch.arange(3.0)}, tmp_path / "r50.safetensors")
    checkpoint = read_official_checkpoint(tmp_path / "r50.safetensors")
    assert checkpoint.state["a.weight"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("length", [0, 8, -1])
def test_truncated_safetensors_are_refused_with_what_to_do(tmp_path, length):
    path = tmp_path / "r50.safetensors"
    save_file({"a": torch.arange(300.0)}, path)
    path.write_bytes(path.read_bytes()[:length])
    message = r"r50\.safetensors: not a whole safetensors file .*; copy or download it again"
    with pytest.raises(ValueError, match=message):
        load_official_checkpoint(path)


def test_a_pickled_network_of_another_kind_is_named(tmp_path):
    """A class by its name alone: the package need not be there."""
    path = tmp_path / "yolo.pth"
    torch.save({"model": torch.nn.Identity()}, path, _use_new_zipfile_serialization=False)
    name, other = b"torch.nn.modules.linear\nIdentity", b"ultralytics.nn.tasks\nDetectionModel"
    path.write_bytes(path.read_bytes().replace(name, other))
    message = r"it holds an Ultralytics \(YOLO\) checkpoint, which pickles ultralytics\.nn\.tasks"
    with pytest.raises(ValueError, match=message):
        load_official_checkpoint(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint .*r50\.pth: no such file"):
        load_official_checkpoint(tmp_path / "r50.pth")
