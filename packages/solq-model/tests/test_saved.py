"""Saved models: what comes back, and what is no model."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from solq_maskcodec import PCAMaskCodec
from solq_model import SOLQ, Categories
from solq_model.atomic import previous_of
from solq_model.preprocess import Preprocessing
from solq_model.saved import CARD, WEIGHTS, find_model, load_model, load_weights

COCO = [{"id": 1, "name": "person"}, {"id": 7, "name": "train"}, {"id": 23, "name": "bear"}]


@pytest.fixture
def model(make_model):
    model = make_model()
    model.categories = Categories.contiguous(COCO)
    model.preprocessing = Preprocessing(short_side=64, max_size=96)
    return model


@pytest.fixture
def folder(model, tmp_path):
    model.save(tmp_path / "model")
    return tmp_path / "model"


def edit_card(folder, **changes):
    card = json.loads((folder / CARD).read_text())
    card.update(changes)
    (folder / CARD).write_text(json.dumps(card))


def edit_weights(folder, change):
    state = load_file(folder / WEIGHTS)
    change(state)
    save_file(state, folder / WEIGHTS)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"two_stage": True, "query_selection": "mixed", "whitened_vectors": True},
        {"two_stage": True},
        {"box_refinement": False, "backbone_norm": "batch", "position_embedding": "learned"},
    ],
    ids=["plain", "mixed", "agnostic", "shared heads"],
)
def test_a_saved_model_predicts_the_same(
    make_model, make_images, tmp_path, changes, assert_same_predictions
):
    model = make_model(**changes)
    if model.config.whitened_vectors:
        model.vector_head.set_statistics(torch.arange(16.0), torch.full((16,), 2.0))
    model.save(tmp_path / "model")
    loaded = SOLQ.load(tmp_path / "model")
    images = make_images((48, 64), (33, 40))
    with torch.no_grad():
        assert_same_predictions(loaded(images), model(images))
    assert loaded.config == model.config


def test_the_components_of_pca_vectors_are_saved_with_the_model(make_model, tmp_path):
    model = make_model(codec="pca", mask_size=8)
    masks = torch.rand(40, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5
    model.codec = PCAMaskCodec.fit(masks, 16)
    model.save(tmp_path / "model")
    assert names_in(tmp_path / "model") == ["mask_codec.npz", CARD, WEIGHTS]
    assert SOLQ.load(tmp_path / "model").codec == model.codec


def test_a_network_without_its_components_is_saved_and_still_asks_for_them(make_model, tmp_path):
    make_model(codec="pca").save(tmp_path / "model")
    loaded = SOLQ.load(tmp_path / "model")
    assert loaded.needs_codec
    with pytest.raises(ValueError, match=r"no components yet; set model\.codec to a PCAMaskCodec"):
        loaded.predict(torch.zeros(3, 40, 40, dtype=torch.uint8))


def test_categories_and_preprocessing_come_back(model, folder):
    loaded = SOLQ.load(folder)
    assert loaded.categories == model.categories
    assert loaded.preprocessing == model.preprocessing


def test_a_loaded_model_is_ready_to_predict(make_model, tmp_path):
    make_model().train().save(str(tmp_path / "deep" / "model"))
    loaded = SOLQ.load(str(tmp_path / "deep" / "model"))
    assert not loaded.training
    assert {parameter.device.type for parameter in loaded.parameters()} == {"cpu"}


def test_a_saved_model_is_two_files(folder):
    assert names_in(folder) == [CARD, WEIGHTS]
    card = json.loads((folder / CARD).read_text())
    assert card["format"] == "solq-model/1"
    assert card["config"]["hidden_dim"] == 64
    assert card["categories"][2] == {"id": 23, "name": "bear", "slot": 2}
    assert card["preprocessing"] == {"short_side": 64, "max_size": 96}


def test_saving_again_replaces_the_model(make_model, folder):
    other = make_model(seed=1)
    other.save(folder)
    weight = SOLQ.load(folder).level_embedding
    assert torch.equal(weight, other.level_embedding)
    assert names_in(folder.parent) == ["model"]


def test_saving_does_not_replace_a_folder_of_other_things(model, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="expected a new folder, an empty one or a saved model"):
        model.save(tmp_path)
    with pytest.raises(ValueError, match=r"model .*notes\.txt: expected a new folder"):
        model.save(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert names_in(tmp_path) == ["notes.txt"]


def test_saving_fills_the_empty_folder_we_stand_in(model, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    model.save(".")
    assert names_in(here) == [CARD, WEIGHTS]


def test_a_save_that_fails_leaves_the_model_that_was_there(model, make_model, folder, monkeypatch):
    def fail(*_: object) -> None:
        msg = "no space left"
        raise OSError(msg)

    monkeypatch.setattr("solq_model.saved.save_file", fail)
    with pytest.raises(OSError, match="no space left"):
        make_model(seed=1).save(folder)
    assert torch.equal(SOLQ.load(folder).level_embedding, model.level_embedding)
    assert names_in(folder.parent) == ["model"]


def test_a_save_that_was_interrupted_leaves_the_previous_model(model, folder):
    folder.rename(previous_of(folder))
    assert find_model(folder) == previous_of(folder)
    assert torch.equal(SOLQ.load(folder).level_embedding, model.level_embedding)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (None, "expected a folder with model.json and .*, found no such folder"),
        (lambda path: path.mkdir(), "found a folder with nothing in it"),
        (lambda path: path.write_text(""), "found a file"),
        (
            lambda path: (path.mkdir(), (path / "a.pth").write_text("")),
            r"found a folder with a\.pth",
        ),
        (lambda path: previous_of(path).mkdir(), r"model .*\.previous: expected a folder"),
    ],
)
def test_what_is_no_saved_model_is_described(tmp_path, make, message):
    if make is not None:
        make(tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        SOLQ.load(tmp_path / "model")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("\xff", "not valid JSON"),
        ("[]", "expected format 'solq-model/1', got None"),
        ('{"format": "solq-model/2"}', "expected format 'solq-model/1', got 'solq-model/2'"),
        ('{"format": "solq-model/1"}', "not a description of a SOLQ model: 'config'"),
    ],
)
def test_a_card_that_is_none_is_named(folder, text, message):
    (folder / CARD).write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=rf"model\.json: {message}"):
        SOLQ.load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": {"depth": 6}}, r"unknown model config key\(s\) depth"),
        ({"config": {"num_queries": "8"}}, "num_queries must be an integer, got '8'"),
        ({"config": None}, "not a description of a SOLQ model"),
        ({"categories": [{"id": 1}]}, "not a description of a SOLQ model: 'name'"),
        ({"categories": 3}, "not a description of a SOLQ model"),
        ({"preprocessing": {"side": 3}}, "unexpected keyword argument 'side'"),
        ({"preprocessing": {"short_side": 0}}, "preprocessing needs 1 <= short_side"),
    ],
)
def test_a_card_with_a_wrong_entry_says_which(folder, changes, message):
    edit_card(folder, **changes)
    with pytest.raises(ValueError, match=rf"model\.json: .*{message}"):
        SOLQ.load(folder)


@pytest.mark.parametrize("length", [0, 1, 8, 100, 10_000, -1])
def test_truncated_weights_are_refused(folder, length):
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[:length])
    with pytest.raises(ValueError, match=r"weights .*safetensors: not a whole safetensors file"):
        SOLQ.load(folder)


def test_weights_of_another_kind_are_refused(folder):
    torch.save({"model": {}}, folder / WEIGHTS)
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        SOLQ.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state.pop("level_embedding"),
            r"1 tensors differ: level_embedding is absent, expected \(3, 64\)",
        ),
        (
            lambda state: state.update(extra=torch.zeros(2)),
            r"1 tensors differ: extra is \(2,\), expected absent",
        ),
        (
            lambda state: state.update(level_embedding=torch.zeros(4, 64)),
            r"1 tensors differ: level_embedding is \(4, 64\), expected \(3, 64\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(folder, change, message):
    edit_weights(folder, change)
    advice = r"\. Its configuration must be that of their model\.json$"
    with pytest.raises(ValueError, match=rf"do not fit the model: {message}{advice}"):
        SOLQ.load(folder)


def test_weights_of_another_class_count_are_refused_with_what_to_do(make_model, folder):
    message = (
        r"4 tensors differ: class_heads\.heads\.0\.bias is \(3,\), expected \(5,\).*\. Only the "
        r"class head differs: keep all but the class head with --reset-head"
    )
    with pytest.raises(ValueError, match=message):
        load_weights(make_model(num_classes=5), folder / WEIGHTS)


def test_refused_weights_leave_the_model_as_it_was(make_model, folder):
    model = make_model(seed=1)
    before = model.level_embedding.clone()
    edit_weights(folder, lambda state: state.pop("class_heads.heads.0.bias"))
    with pytest.raises(ValueError, match="do not fit"):
        load_weights(model, folder / WEIGHTS)
    assert torch.equal(model.level_embedding, before)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(folder, value):
    edit_weights(folder, lambda state: state["level_embedding"][0, :3].fill_(value))
    message = (
        r"weights .*model\.safetensors: 1 tensors hold NaN or infinite values: level_embedding "
        r"\(3 of 192\)\. The training .* take an earlier checkpoint"
    )
    with pytest.raises(ValueError, match=message):
        SOLQ.load(folder)
    weight = load_model(folder, allow_non_finite=True).level_embedding
    assert int((~weight.isfinite()).sum()) == 3


def test_weights_of_other_networks_are_refused_with_what_they_are(folder, model, published_state):
    save_file(published_state(model), folder / WEIGHTS)
    with pytest.raises(
        ValueError, match=r"found a published SOLQ .*convert it with `solq convert`"
    ):
        SOLQ.load(folder)
    names = ("rpn.head.a", "roi_heads.mask_predictor.b")
    save_file({name: torch.ones(1) for name in names}, folder / WEIGHTS)
    with pytest.raises(ValueError, match="found a torchvision Mask R-CNN checkpoint"):
        SOLQ.load(folder)


@pytest.mark.parametrize("changes", [{}, {"two_stage": True}, {"box_refinement": False}])
def test_all_but_the_class_head_is_kept_for_another_number_of_classes(
    make_model, tmp_path, changes
):
    make_model(**changes).save(tmp_path / "model")
    whole = SOLQ.load(tmp_path / "model").state_dict()
    model = SOLQ.load(tmp_path / "model", num_classes=5)
    assert model.config.num_classes == 5
    assert model.categories == Categories.numbered(5)
    heads = [name for name in whole if "class_head" in name]
    prior = -math.log(99)
    for name, tensor in model.state_dict().items():
        if name not in heads:
            assert torch.equal(tensor, whole[name]), name
        elif name.endswith("bias"):
            torch.testing.assert_close(tensor, torch.full((5,), prior))


def test_a_path_of_published_weights_says_how_to_convert_them(tmp_path):
    (tmp_path / "r50.pth").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"found a file .of published weights `solq convert` makes"
    ):
        SOLQ.load(tmp_path / "r50.pth")
