"""Principal components of a run: from a file, from a saved model, or fitted to the masks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from solq_maskcodec import PCAMaskCodec
from solq_model import SOLQ
from solq_train.components import FITTED_OBJECTS
from solq_train.data import find_split
from solq_train.run import prepare_run
from solq_train.run_file import write_run_file


@pytest.fixture
def pca_config(small_config):
    model = replace(small_config.model, codec="pca", num_coefficients=6, mask_size=16)
    return replace(small_config, model=model)


@pytest.fixture
def split(shapes):
    return find_split(shapes, "train")


def some_codec(num_coefficients=6, size=16):
    masks = torch.rand(40, size, size, generator=torch.Generator().manual_seed(0)) > 0.5
    return PCAMaskCodec.fit(masks, num_coefficients)


def test_without_a_file_components_are_fitted_to_the_training_masks(pca_config, split):
    run, again = prepare_run(pca_config, split), prepare_run(pca_config, split)
    codec = run.model.codec
    assert (codec.num_coefficients, codec.mask_size) == (6, 16)
    assert codec == again.model.codec
    assert FITTED_OBJECTS > 60
    assert run.criterion.codec is codec


def test_a_file_of_components_is_read(pca_config, split, tmp_path):
    some_codec().save(tmp_path / "components.npz")
    config = replace(pca_config, components=str(tmp_path / "components.npz"))
    assert prepare_run(config, split).model.codec == some_codec()


def test_a_saved_model_to_start_from_brings_its_components(pca_config, split, tmp_path):
    run = prepare_run(pca_config, split)
    run.model.codec = some_codec()
    run.model.save(tmp_path / "start")
    config = replace(pca_config, initial_weights=str(tmp_path / "start"))
    assert prepare_run(config, split).model.codec == some_codec()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.unlink(missing_ok=True), r"components .*none\.npz: no such file"),
        (lambda path: path.write_bytes(b"PK"), r"none\.npz must be a whole \.npz file"),
        (lambda path: some_codec(5).save(path), "must be a PCAMaskCodec of 6 coefficients"),
    ],
    ids=["missing", "broken", "of another size"],
)
def test_components_that_cannot_be_used_are_refused(pca_config, split, tmp_path, make, message):
    path = tmp_path / "none.npz"
    make(path)
    with pytest.raises(ValueError, match=message):
        prepare_run(replace(pca_config, components=str(path)), split)


def test_components_for_a_network_without_any_are_refused(small_config, split):
    with pytest.raises(ValueError, match=r"components can be given with model\.codec=pca only"):
        prepare_run(replace(small_config, components="components.npz"), split)


def test_more_components_than_masks_are_refused(pca_config, split):
    model = replace(pca_config.model, num_coefficients=200)
    with pytest.raises(ValueError, match=r"masks do not give the components of .*=200"):
        prepare_run(replace(pca_config, model=model), split)


def test_a_network_for_components_is_trained_evaluated_and_loaded(
    pca_config, solq, shapes, tmp_path
):
    write_run_file(tmp_path / "run.json", pca_config)
    named = ("--recipe", "solq_pca_coco", "--config", tmp_path / "run.json", "--data", shapes)
    ran = solq("train", *named, "--output", tmp_path / "run", "--max-steps", 1)
    assert (ran.code, ran.errors) == (0, "")
    assert "mask ceiling" in ran.output
    model = SOLQ.load(tmp_path / "run" / "best")
    assert isinstance(model.codec, PCAMaskCodec)
    found = model.predict(shapes / "val" / "000001.png", threshold=0.0)
    assert found.masks.shape[1:] == (64, 64)
