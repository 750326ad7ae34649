"""A name is a path or a hub id, and only a hub id reaches for the network."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from solq_model import SOLQ
from solq_model.atomic import previous_of
from solq_model.hub import find_folder


class Hub(ModuleType):
    """A `huggingface_hub` without a network: hands out a folder, or raises what it is told to."""

    def __init__(self, folder):
        super().__init__("huggingface_hub")
        self.folder, self.asked, self.failure = folder, [], None
        self.errors = ModuleType("huggingface_hub.errors")
        bases = {
            "RepositoryNotFoundError": OSError,
            "GatedRepoError": "RepositoryNotFoundError",
            "RevisionNotFoundError": OSError,
            "LocalEntryNotFoundError": FileNotFoundError,
        }
        for name, base in bases.items():
            base = getattr(self.errors, base) if isinstance(base, str) else base
            setattr(self.errors, name, type(name, (base,), {}))

    def snapshot_download(self, repository, *, revision, allow_patterns):
        self.asked.append((repository, revision, tuple(allow_patterns)))
        if self.failure is not None:
            raise self.failure
        return str(self.folder)


FILES = ("model.json", "model.safetensors")


@pytest.fixture
def hub(make_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_model().save(tmp_path / "cache" / "snapshot")
    hub = Hub(tmp_path / "cache" / "snapshot")
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", hub.errors)
    return hub


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("owner/name", ("owner/name", None)),
        ("owner/name@v1.0", ("owner/name", "v1.0")),
        ("owner/name@refs/pr/1", ("owner/name", "refs/pr/1")),
        ("hf://owner/name", ("owner/name", None)),
        ("hf://owner/solq-r50.v2@main", ("owner/solq-r50.v2", "main")),
    ],
)
def test_a_hub_id_is_downloaded_model_files_only(hub, name, asked):
    assert not SOLQ.load(name).training
    assert hub.asked == [(*asked, (*FILES, "mask_codec.npz"))]


@pytest.mark.parametrize(
    "name",
    [
        "./owner/name",
        "../name",
        "/owner/name",
        "~/name",
        "owner/name/best",
        "owner/name.pth",
        "owner/name.v2",
        "name",
        "name@main",
        "owner\\name",
        "owner/",
        "",
        Path("owner/name"),
    ],
    ids=str,
)
def test_a_path_that_is_not_there_never_reaches_for_the_network(hub, name):
    with pytest.raises(ValueError, match="expected a folder with model"):
        SOLQ.load(name)
    assert hub.asked == []


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_folder_that_is_there_comes_before_a_hub_id(hub, make_model, tmp_path, interrupted):
    make_model(num_queries=5).save(tmp_path / "owner" / "name")
    if interrupted:
        (tmp_path / "owner" / "name").rename(previous_of(tmp_path / "owner" / "name"))
    assert SOLQ.load("owner/name").config.num_queries == 5
    assert hub.asked == []
    assert SOLQ.load("hf://owner/name").config.num_queries == 8


@pytest.mark.parametrize(
    "name", ["hf://", "hf://name", "hf://a/b/c", "hf://owner/name@", "hf:///a"]
)
def test_a_hub_address_of_another_form_is_refused(hub, name):
    with pytest.raises(ValueError, match=r"expected hf://owner/name or hf://owner/name@revision"):
        find_folder(name)
    assert hub.asked == []


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("RepositoryNotFoundError", "the hub has no public model of this id"),
        ("GatedRepoError", "the hub asks for permission: accept the terms on its page"),
        ("RevisionNotFoundError", "the hub has the model owner/name, but no revision v9"),
        ("LocalEntryNotFoundError", "the hub cannot be reached, and there is no earlier download"),
    ],
)
@pytest.mark.parametrize(
    ("name", "tried"),
    [
        ("owner/name@v9", r"model owner/name@v9: no such folder; tried as a hub id: "),
        ("hf://owner/name@v9", r"model hf://owner/name@v9: "),
    ],
)
def test_what_the_hub_refuses_is_one_clear_error(hub, name, tried, error, message):
    hub.failure = getattr(hub.errors, error)("401 Client Error. Request ID: Root=1-6")
    with pytest.raises(ValueError, match=f"^{tried}{message}"):
        SOLQ.load(name)


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (RuntimeError("proxy said no\nfor reasons"), r"the download failed \(proxy said no\)$"),
        (TimeoutError(), r"the download failed \(TimeoutError\)$"),
    ],
)
def test_any_other_failure_of_a_download_is_one_line(hub, failure, message):
    hub.failure = failure
    with pytest.raises(ValueError, match=message):
        SOLQ.load("owner/name")


@pytest.mark.parametrize("missing", FILES)
def test_a_hub_model_of_another_kind_is_named(hub, missing):
    (hub.folder / missing).unlink()
    message = "owner/name: .* it holds no SOLQ model, whose files are model.json and model.safeten"
    with pytest.raises(ValueError, match=message):
        SOLQ.load("owner/name")


def test_the_missing_package_is_named_with_its_extra(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    message = (
        r"^model owner/name: no such folder; tried as a hub id: a hub id needs huggingface_hub: "
        r"pip install 'solq-model\[hub\]'$"
    )
    with pytest.raises(ValueError, match=message):
        SOLQ.load("owner/name")
