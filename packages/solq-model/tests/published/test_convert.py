"""A published checkpoint becomes a saved model, and nothing of it is dropped in silence."""

import argparse
import hashlib
import json
import math

import pytest
import torch
from safetensors.torch import save_file

from solq_maskcodec import PCAMaskCodec
from solq_model import SOLQ, Categories, convert_official, load_official
from solq_model.published.convert import REPORT
from solq_model.published.recognition import OPTIONS


@pytest.fixture
def write(tmp_path, published_state):
    """Writes a network as the published code does, with changes of the weights."""

    def write(model, change=lambda _: None, **content):
        state = published_state(model)
        change(state)
        options = {ours: theirs for ours, theirs in OPTIONS.items() if theirs}
        args = {theirs: getattr(model.config, ours) for ours, theirs in options.items()}
        path = tmp_path / "official.pth"
        torch.save({"model": state, "args": argparse.Namespace(**args)} | content, path)
        return path

    return write


# Without masks, what is said of them is left as it is by default.
DETECTOR = {
    "mask_head": "none",
    "num_coefficients": 256,
    "mask_size": 128,
    "vector_hidden_dim": 1024,
}
VARIANTS = pytest.mark.parametrize(
    "changes",
    [
        {},
        {"box_refinement": False},
        {"two_stage": True},
        {"position_embedding": "learned"},
        {"num_feature_levels": 1},
        DETECTOR,
        DETECTOR | {"two_stage": True},
        {"num_feature_levels": 4},
        {"backbone": "swin_t", "frozen_stages": 0, "drop_path": 0.2},
    ],
    ids=lambda changes: ", ".join(map(str, changes)) or "plain",
)


@VARIANTS
def test_the_saved_model_is_the_published_one(
    make_model, make_images, write, tmp_path, changes, assert_same_predictions
):
    model = make_model(**changes)
    conversion = convert_official(write(model), tmp_path / "out")
    loaded = SOLQ.load(tmp_path / "out")
    assert loaded.config == model.config
    images = make_images((64, 48))
    with torch.no_grad():
        assert_same_predictions(loaded(images), model(images))
    assert sum(conversion.counts.values()) == len(conversion.official.tensors)


def test_the_report_has_every_published_tensor(make_model, write, tmp_path, published_state):
    model = make_model(box_refinement=False, backbone="swin_t")
    path = write(model)
    convert_official(path, tmp_path / "out")
    report = json.loads((tmp_path / "out" / REPORT).read_text())
    state = published_state(model)
    assert [row["published"] for row in report["tensors"]] == list(state)
    assert [row["shape"] for row in report["tensors"]] == [list(t.shape) for t in state.values()]
    assert {row["ours"] for row in report["tensors"] if row["role"] == "weight"} == set(
        model.state_dict()
    )
    # Two decoder layers share a class head, a box head and a vector head of three layers.
    assert report["counts"] == {
        "weight": len(model.state_dict()),
        "copy": 2 + 6 + 6,
        "constant": 12,
    }


def test_the_card_says_where_the_weights_are_from(make_model, write, tmp_path):
    path = write(make_model())
    seen = []
    conversion = convert_official(path, tmp_path / "out", progress=lambda *now: seen.append(now))
    source = json.loads((tmp_path / "out" / "model.json").read_text())["source"]
    size = path.stat().st_size
    assert source == dict(conversion.source)
    assert source["file"] == "official.pth"
    assert source["bytes"] == size
    assert source["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert source["converter"].startswith("solq-model ")
    assert seen[-1] == (size, size)


def test_a_model_that_is_saved_again_claims_no_source(make_model, write, tmp_path):
    convert_official(write(make_model()), tmp_path / "out")
    SOLQ.load(tmp_path / "out").save(tmp_path / "again")
    assert "source" not in json.loads((tmp_path / "again" / "model.json").read_text())


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "before torch 1.6"])
def test_raw_weights_of_a_parallel_wrapper_are_taken(
    make_model, tmp_path, published_state, new_format
):
    model = make_model()
    state = {f"module.{name}": tensor for name, tensor in published_state(model).items()}
    path = tmp_path / "raw.pth"
    torch.save(state, path, _use_new_zipfile_serialization=new_format)
    official = load_official(path, changes={"num_heads": 4, "mask_size": 16})
    assert torch.equal(official.model.level_embedding, model.level_embedding)
    assert official.recognition.on_trust[:2] == ("activation", "dropout")
    assert official.notes == ("'module.' before every name is taken off",)


def test_published_names_in_safetensors_are_taken(make_model, tmp_path, published_state):
    model = make_model(box_refinement=False)
    save_file(published_state(model), tmp_path / "r50.safetensors")
    official = load_official(tmp_path / "r50.safetensors", changes={"num_heads": 4})
    assert torch.equal(official.model.level_embedding, model.level_embedding)


def test_91_slots_without_names_are_those_of_coco(make_model, write):
    categories = load_official(write(make_model(num_classes=91))).model.categories
    assert categories == Categories.coco()
    assert load_official(write(make_model())).model.categories == Categories.numbered(3)


def test_categories_may_be_given_by_id(make_model, write, tmp_path):
    given = Categories.by_id([{"id": 2, "name": "cat"}, {"id": 1, "name": "dog"}])
    convert_official(write(make_model()), tmp_path / "out", categories=given)
    assert SOLQ.load(tmp_path / "out").categories == given
    too_many = Categories.by_id([{"id": 3, "name": "cat"}])
    message = r"official\.pth: the weights have 3 class slots, 0\.\.2, but the ids .* reach 3"
    with pytest.raises(ValueError, match=message):
        load_official(write(make_model()), categories=too_many)


def test_the_components_of_pca_vectors_are_saved_with_the_model(make_model, write, tmp_path):
    generator = torch.Generator().manual_seed(0)
    codec = PCAMaskCodec.fit(torch.rand(40, 16, 16, generator=generator), 16)

    def change(state):
        state["processor_pca.components"] = torch.tensor(codec.components)
        state["processor_pca.means"] = torch.tensor(codec.mean)
        state["processor_pca.explained_variances"] = torch.tensor(codec.explained_variance)

    convert_official(write(make_model(codec="pca"), change), tmp_path / "out")
    assert SOLQ.load(tmp_path / "out").codec == codec


def test_copies_that_differ_are_reported(make_model, write):
    def change(state):
        state["vector_embed.0.layers.0.bias"] += 1

    tensors = load_official(write(make_model(), change)).tensors
    differing = [mapped.published for mapped in tensors if mapped.role == "copy that differs"]
    assert differing == ["vector_embed.0.layers.0.bias"]


def spoil(state):
    state["transformer.level_embed"][0, :5] = math.nan
    state["input_proj.0.0.bias"][1] = math.inf


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            spoil,
            r"2 tensors hold NaN or infinite values: .*level_embed \(5 of 192\).*take an earlier",
        ),
        (
            lambda s: s.pop("transformer.decoder.layers.1.norm3.bias"),
            r"do not fit .* 1 missing: transformer\.decoder\.layers\.1\.norm3\.bias$",
        ),
        (
            lambda s: s.update({"label_enc.weight": torch.zeros(1)}),
            "found a DINO checkpoint",
        ),
        (
            lambda s: s.update({"scale": torch.zeros(1)}),
            "do not fit .* 1 left over: scale$",
        ),
        (
            lambda s: s.update({"query_embed.weight": torch.zeros(8, 100)}),
            r"1 of another shape: query_embed\.weight \(8, 100\), expected \(8, 128\)",
        ),
        (lambda s: s.clear() or s.update({"a": torch.zeros(1)}), "an unknown network: a$"),
    ],
    ids=["not finite", "missing", "foreign", "left over", "of another shape", "unknown"],
)
def test_a_checkpoint_that_cannot_be_converted_leaves_nothing(
    make_model, write, tmp_path, change, message
):
    path = write(make_model(), change)
    with pytest.raises(ValueError, match=rf"checkpoint .*official\.pth: .*{message}"):
        convert_official(path, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["official.pth"]


def test_a_model_that_comes_back_otherwise_is_not_published(
    make_model, write, tmp_path, monkeypatch
):
    path = write(make_model())
    other = make_model(seed=1)
    monkeypatch.setattr("solq_model.published.convert.load_model", lambda _: other)
    with pytest.raises(RuntimeError, match="predicts otherwise than the one that was written"):
        convert_official(path, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["official.pth"]


def test_a_folder_of_other_things_is_not_replaced(make_model, write, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="expected a new folder, an empty one or a saved model"):
        convert_official(write(make_model()), tmp_path / "out")
