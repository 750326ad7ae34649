"""A run is built from a configuration and data, and refused before its first step if it must be."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch
import torchvision

from solq_maskcodec import DCTMaskCodec
from solq_model import Categories, build_model
from solq_train.criterion import encode_targets
from solq_train.data import CocoInstances, find_split, read_coco
from solq_train.run import (
    MIN_DEVIATION,
    fit_classes,
    load_backbone,
    prepare_run,
    resolve_device,
    train_transform,
    vector_statistics,
)


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


def test_jitter_and_pasting_are_those_of_the_configuration(small_config, split):
    data = replace(
        small_config.data, jitter_size=64, jitter_scale=(0.5, 1.0), copy_paste=1.0, image_ids=(1, 2)
    )
    jitter = train_transform(data).jitter
    assert (jitter.size, jitter.scale) == (64, (0.5, 1.0))
    assert train_transform(small_config.data).jitter is None
    pasted = prepare_run(replace(small_config, data=data), split)
    plain = prepare_run(replace(small_config, data=replace(data, copy_paste=0.0)), split)
    counts = [
        [len(t.labels) for batch in run.loader for t in batch.targets] for run in (pasted, plain)
    ]
    assert sum(counts[0]) > sum(counts[1])


def test_vector_statistics_are_those_of_the_training_masks(small_config, split):
    codec = DCTMaskCodec(num_coefficients=16, mask_size=32)
    categories = Categories.contiguous(read_coco(split.annotations).categories)
    transform = train_transform(small_config.data)
    dataset = CocoInstances(
        split.annotations, split.images, categories, transform, mask_size=codec.mask_size
    )
    vectors = encode_targets([dataset[i][1] for i in range(8)], codec).mask_vectors
    mean, deviation = vector_statistics(dataset, codec, range(8))
    torch.testing.assert_close(mean, vectors.mean(0))
    torch.testing.assert_close(deviation, vectors.std(0).clamp(min=MIN_DEVIATION))
    fewer, _ = vector_statistics(dataset, codec, range(4))
    assert not torch.equal(fewer, mean)


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


def torchvision_weights(path):
    """A file of ResNet-18 weights as torchvision saves them."""
    state = torchvision.models.resnet18().state_dict()
    torch.save(state, path)
    return state


def test_backbone_weights_come_from_a_file_of_torchvision(small_model, tmp_path):
    state = torchvision_weights(tmp_path / "resnet18.pth")
    model = build_model(replace(small_model, backbone="resnet18"))
    load_backbone(model, str(tmp_path / "resnet18.pth"))
    assert torch.equal(model.backbone.body.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])


@pytest.fixture
def swin_model(small_model):
    return build_model(replace(small_model, backbone="swin_t", backbone_norm="frozen"))


@pytest.mark.parametrize("wrapped", [False, True])
def test_swin_weights_come_from_files_of_torchvision_and_of_its_authors(
    swin_model, tmp_path, wrapped
):
    state = torchvision.models.swin_t().state_dict()
    torch.save({"model": state} if wrapped else state, tmp_path / "swin_t.pth")
    load_backbone(swin_model, str(tmp_path / "swin_t.pth"))
    ours = swin_model.backbone.body.patch_embed.proj.weight
    assert torch.equal(ours, state["features.0.0.weight"])


def test_weights_that_fit_no_swin_are_refused_by_name(swin_model, tmp_path):
    torchvision_weights(tmp_path / "resnet18.pth")
    with pytest.raises(ValueError, match=r"backbone_weights .*resnet18\.pth: state does not fit"):
        load_backbone(swin_model, str(tmp_path / "resnet18.pth"))


def test_a_backbone_that_torchvision_does_not_have_is_told(small_model):
    model = build_model(small_model)
    with pytest.raises(ValueError, match="imagenet: torchvision has none of resnet10_w32; name a"):
        load_backbone(model, "imagenet")


@pytest.mark.parametrize("content", [b"", b"not weights"])
def test_a_broken_file_of_backbone_weights_is_refused_by_name(small_model, tmp_path, content):
    path = tmp_path / "resnet18.pth"
    path.write_bytes(content)
    expected = r"backbone_weights .*resnet18\.pth: not a file of torchvision weights"
    with pytest.raises(ValueError, match=expected):
        load_backbone(build_model(small_model), str(path))


def test_a_missing_file_of_backbone_weights_is_refused_by_name(small_model, tmp_path):
    with pytest.raises(ValueError, match=r"backbone_weights .*none\.pth: .*No such file"):
        load_backbone(build_model(small_model), str(tmp_path / "none.pth"))


@pytest.mark.parametrize("content", [torch.zeros(2), {"conv1.weight": torch.zeros(1)}, {}])
def test_weights_of_another_network_are_refused_by_name(small_model, tmp_path, content):
    path = tmp_path / "other.pth"
    torch.save(content, path)
    expected = r"other\.pth: state does not fit this ResNet: \d+ tensors missing .*: conv1"
    with pytest.raises(ValueError, match=expected):
        load_backbone(build_model(small_model), str(path))
