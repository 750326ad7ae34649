"""A run is built from a configuration and data, and refused before its first step if it must be."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

from solq_maskcodec import DCTMaskCodec
from solq_train.data import find_split
from solq_train.loading import MIN_DEVIATION
from solq_train.run import fit_classes, prepare_run, resolve_device


@pytest.fixture
def split(shapes):
    return find_split(shapes, "train")


def by_id(config, **model):
    data = replace(config.data, class_slots="category_id")
    return replace(config, data=data, model=replace(config.model, **model))


def test_contiguous_slots_give_the_network_as_many_classes_as_the_data(small_config, split):
    too_many = replace(small_config, model=replace(small_config.model, num_classes=80))
    config, categories = fit_classes(too_many, split.annotations)
    assert config.model.num_classes == 3
    assert [(entry.id, entry.slot) for entry in categories.entries] == [(1, 0), (7, 1), (23, 2)]


def test_category_ids_as_slots_keep_the_classes_of_the_network(small_config, split):
    config, categories = fit_classes(by_id(small_config, num_classes=91), split.annotations)
    assert config.model.num_classes == 91
    assert [entry.slot for entry in categories.entries] == [1, 7, 23]


def test_category_ids_beyond_the_class_slots_are_refused(small_config, split):
    expected = r"instances_train\.json: category ids reach 23, but the network has slots 0\.\.22"
    with pytest.raises(ValueError, match=expected):
        fit_classes(by_id(small_config, num_classes=23), split.annotations)


def test_a_run_knows_its_categories_preprocessing_and_steps(small_config, split):
    run = prepare_run(small_config, split)
    assert [entry.name for entry in run.model.categories.entries] == ["blob", "star", "ring"]
    assert (run.model.preprocessing.short_side, run.model.preprocessing.max_size) == (64, 96)
    assert (run.steps_per_epoch, run.total_steps) == (2, 4)
    assert run.model.codec == DCTMaskCodec(16, 32, threshold="midrange")
    assert run.criterion.deviation is None


def test_the_number_of_steps_may_be_given(small_config, split):
    assert prepare_run(replace(small_config, max_steps=7), split).total_steps == 7


def test_an_evaluator_that_is_not_installed_is_refused_at_once(small_config, split, monkeypatch):
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    with pytest.raises(ModuleNotFoundError, match=r"solq-train\[fast-eval\]"):
        prepare_run(replace(small_config, evaluator="hotcoco"), split)


def test_the_same_seed_gives_the_same_weights_and_the_same_batches(small_config, split):
    first, again = (prepare_run(small_config, split) for _ in range(2))
    other = prepare_run(replace(small_config, seed=1), split)
    weights = [run.model.level_embedding for run in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    batches = [
        [t.image_id for batch in run.loader for t in batch.targets] for run in (first, again)
    ]
    assert batches[0] == batches[1]


def test_activations_are_checkpointed_where_that_is_asked_for(small_config, split):
    for enabled in (False, True):
        run = prepare_run(replace(small_config, checkpoint_activations=enabled), split)
        assert run.model.encoder.checkpointing is enabled


def test_an_incomplete_batch_is_left_out_as_published(small_config, split):
    config = replace(small_config, optimizer=replace(small_config.optimizer, batch_size=3))
    assert [len(batch.images) for batch in prepare_run(config, split).loader] == [3, 3]


def test_batches_are_never_larger_than_the_data(small_config, split, caplog):
    config = replace(small_config, optimizer=replace(small_config.optimizer, batch_size=32))
    run = prepare_run(config, split)
    assert [len(batch.images) for batch in run.loader] == [8]
    assert "batches hold 8 images, all there are, instead of 32" in caplog.text


def test_only_the_chosen_images_are_trained_on(small_config, split):
    config = replace(small_config, data=replace(small_config.data, image_ids=(7, 2, 5)))
    run = prepare_run(config, split)
    assert {t.image_id for batch in run.loader for t in batch.targets} == {2, 5, 7}


def test_chosen_images_that_are_not_there_are_refused(small_config, split):
    config = replace(small_config, data=replace(small_config.data, image_ids=(7, 99)))
    expected = r"data\.image_ids: no image 99 in .*instances_train\.json"
    with pytest.raises(ValueError, match=expected):
        prepare_run(config, split)


def test_whitened_runs_store_the_statistics_in_the_model(two_stage_config, split):
    run = prepare_run(two_stage_config, split)
    head = run.model.vector_head
    assert (head.deviation >= MIN_DEVIATION).all()
    assert head.mean.abs().sum() > 0
    assert run.criterion.deviation is head.deviation


def test_whitening_without_objects_is_refused(two_stage_config, copied_set):
    copied_set.edit(lambda document: document["annotations"].clear())
    expected = r"instances_train\.json: whitened vectors need at least 2 objects, found 0"
    with pytest.raises(ValueError, match=expected):
        prepare_run(two_stage_config, find_split(copied_set.folder, "train"))


def test_a_loss_in_whitened_space_needs_a_whitened_model(small_config, split):
    config = replace(small_config, loss=replace(small_config.loss, vector_space="whitened"))
    with pytest.raises(ValueError, match=r"needs a model with ModelConfig\.whitened_vectors"):
        prepare_run(config, split)


def test_devices_are_found_by_name():
    assert resolve_device("cpu") == torch.device("cpu")
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert resolve_device("auto") == torch.device(expected)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:99"])
def test_devices_that_are_not_there_are_refused_by_name(name):
    with pytest.raises(ValueError, match=rf"device must be auto, cpu, .* got '{name}'"):
        resolve_device(name)


def test_initial_weights_come_from_a_saved_model(small_config, split, trained):
    config = replace(small_config, initial_weights=str(trained / "best"), seed=5)
    run = prepare_run(config, split)
    saved = type(run.model).load(trained / "best").state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in run.model.state_dict().items())


def test_a_whitened_model_keeps_its_statistics_when_it_is_trained_further(
    two_stage_config, split, tmp_path
):
    first = prepare_run(two_stage_config, split).model
    first.vector_head.mean.fill_(0.5)
    first.save(tmp_path / "model")
    run = prepare_run(replace(two_stage_config, initial_weights=str(tmp_path / "model")), split)
    assert (run.model.vector_head.mean == 0.5).all()
