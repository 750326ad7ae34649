"""The criterion matches, weighs and sums over decoder layers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from solq_maskcodec import DCTMaskCodec
from solq_model import ModelConfig, build_model
from solq_model.records import Predictions, Proposals
from solq_train.criterion import Criterion, LossConfig, encode_targets, losses
from solq_train.data import Target

BOX = (0.5, 0.5, 0.2, 0.2)
LN2 = math.log(2)


@pytest.fixture
def one_object(make_targets):
    """One object of class 1 in one image."""
    return make_targets([[1]], [BOX])


def undecided(codec: DCTMaskCodec) -> Predictions:
    """One query, undecided among 3 classes, half of its box beside BOX, and a vector of zeros."""
    return Predictions(
        logits=torch.zeros(1, 1, 3),
        boxes=torch.tensor([[[0.6, 0.5, 0.2, 0.2]]]),
        mask_vectors=torch.zeros(1, 1, codec.num_coefficients),
    )


def numbers(terms) -> dict[str, float]:
    return {name: value.item() for name, value in terms.items()}


def picture(num_objects: int) -> Target:
    masks = torch.zeros(num_objects, 32, 32, dtype=torch.bool)
    masks[:, 4:20, 4:20] = True
    return Target(
        image_id=1,
        image_size=(32, 32),
        original_size=(32, 32),
        boxes=torch.tensor([[4.0, 4.0, 20.0, 20.0]]).expand(num_objects, 4),
        labels=torch.zeros(num_objects, dtype=torch.int64),
        box_masks=torch.ones(num_objects, 32, 32, dtype=torch.bool),
        image_masks=masks,
    )


def test_terms_and_total_of_one_object_are_worked_out_by_hand(codec, one_object):
    losses = Criterion(LossConfig(), codec)(undecided(codec), one_object)
    expected = {
        "loss_ce": (1 + 3 + 3) * LN2 / 16,
        "loss_bbox": 0.1,
        "loss_giou": 2 / 3,
        # The vector of a full 8 x 8 mask is 8 and fifteen zeros; the published weight is inside.
        "loss_vector": 3 * 8 / 16,
    }
    assert numbers(losses.terms) == pytest.approx(expected, abs=1e-5)
    total = 2 * expected["loss_ce"] + 5 * 0.1 + 2 * 2 / 3 + expected["loss_vector"]
    assert losses.total.item() == pytest.approx(total, rel=1e-5)


def test_every_weight_scales_its_term(codec, one_object):
    config = LossConfig(
        class_weight=1.0, box_l1_weight=0.0, giou_weight=0.0, vector_weight=0.0, mask_weight=10.0
    )
    losses = Criterion(config, codec)(undecided(codec), one_object)
    expected = losses.terms["loss_ce"] + 10 * losses.terms["loss_mask"]
    assert losses.total.item() == pytest.approx(expected.item())
    assert losses.terms["loss_vector"] == 0


def test_terms_are_normalised_by_the_objects_of_the_whole_batch(codec, make_targets):
    both = make_targets([[1], [1]], [BOX, BOX])
    one = undecided(codec)
    twice = Predictions(
        logits=one.logits.expand(2, -1, -1),
        boxes=one.boxes.expand(2, -1, -1),
        mask_vectors=one.mask_vectors.expand(2, -1, -1),
    )
    criterion = Criterion(LossConfig(mask_weight=1.0), codec)
    alone = criterion(one, make_targets([[1]], [BOX]))
    together = criterion(twice, both)
    assert numbers(together.terms) == pytest.approx(numbers(alone.terms))


def test_layers_before_the_last_have_their_own_terms_and_matches(codec, one_object):
    good = undecided(codec)
    far = replace(good, boxes=torch.tensor([[[0.1, 0.1, 0.1, 0.1]]]))
    losses = Criterion(LossConfig(), codec)(replace(good, auxiliary=(far, good)), one_object)
    kinds = ("loss_ce", "loss_bbox", "loss_giou", "loss_vector")
    assert set(losses.terms) == {kind + end for kind in kinds for end in ("", "_0", "_1")}
    assert losses.terms["loss_bbox_0"] > losses.terms["loss_bbox_1"]
    assert losses.terms["loss_bbox_1"] == losses.terms["loss_bbox"]
    single = Criterion(LossConfig(), codec)(good, one_object)
    assert losses.total > 2 * single.total


def test_layers_without_vectors_have_no_mask_terms(codec, one_object):
    layer = undecided(codec)
    first = replace(layer, mask_vectors=None)
    criterion = Criterion(LossConfig(mask_weight=2.0), codec)
    losses = criterion(replace(layer, auxiliary=(first, layer)), one_object)
    of_masks = {name for name in losses.terms if name.startswith(("loss_vector", "loss_mask"))}
    assert of_masks == {"loss_vector", "loss_vector_1", "loss_mask"}
    assert {"loss_bbox", "loss_bbox_0", "loss_bbox_1"} <= losses.terms.keys()


def test_a_detector_is_taught_classes_and_boxes(codec, one_object):
    layer = replace(undecided(codec), mask_vectors=None)
    targets = replace(one_object, box_masks=None, mask_vectors=None)
    losses = Criterion(LossConfig(mask_weight=2.0), None)(layer, targets)
    with_masks = Criterion(LossConfig(), codec)(undecided(codec), one_object)
    assert numbers(losses.terms) == {
        name: with_masks.terms[name].item() for name in ("loss_ce", "loss_bbox", "loss_giou")
    }


def test_without_its_weight_there_is_no_mask_loss(codec, one_object):
    losses = Criterion(LossConfig(), codec)(undecided(codec), one_object)
    assert not any(name.startswith("loss_mask") for name in losses.terms)


def test_whitened_vectors_are_compared_in_deviations(codec, one_object):
    deviation = torch.full((16,), 4.0)
    config = LossConfig(vector_space="whitened")
    losses = Criterion(config, codec, deviation)(undecided(codec), one_object)
    assert losses.terms["loss_vector"].item() == pytest.approx(3 * 8 / 16 / 4, abs=1e-5)


def test_raw_vectors_are_compared_as_they_are_even_in_a_whitened_model(codec, one_object):
    losses = Criterion(LossConfig(), codec, torch.full((16,), 4.0))(undecided(codec), one_object)
    assert losses.terms["loss_vector"].item() == pytest.approx(3 * 8 / 16, abs=1e-5)


def test_whitening_needs_deviations(codec):
    with pytest.raises(ValueError, match=r"vector_space='whitened' needs .*whitened_vectors"):
        Criterion(LossConfig(vector_space="whitened"), codec)


def test_proposals_of_the_published_kind_only_tell_objects_from_nothing(codec, make_targets):
    proposals = Proposals(
        logits=torch.tensor([[[3.0, 0.0, 0.0], [-3.0, 0.0, 0.0]]]),
        boxes=torch.tensor([[BOX, BOX]]),
        class_agnostic=True,
    )
    predictions = replace(undecided(codec), proposals=proposals)
    criterion = Criterion(LossConfig(), codec)
    terms = [
        numbers(criterion(predictions, make_targets([[label]], [BOX])).terms) for label in (0, 1, 2)
    ]
    names = {name for name in terms[0] if name.endswith("_enc")}
    assert names == {"loss_ce_enc", "loss_bbox_enc", "loss_giou_enc"}
    assert terms[0]["loss_ce_enc"] == terms[1]["loss_ce_enc"] == terms[2]["loss_ce_enc"]
    assert terms[0]["loss_bbox_enc"] == 0


def test_proposals_per_class_are_held_to_the_labels(codec, make_targets):
    sure = torch.full((1, 1, 3), -3.0)
    sure[..., 2] = 3.0
    proposals = Proposals(logits=sure, boxes=torch.tensor([[BOX]]), class_agnostic=False)
    predictions = replace(undecided(codec), proposals=proposals)
    criterion = Criterion(LossConfig(), codec)
    right = criterion(predictions, make_targets([[2]], [BOX])).terms["loss_ce_enc"]
    wrong = criterion(predictions, make_targets([[0]], [BOX])).terms["loss_ce_enc"]
    assert right < 0.01 < 1 < wrong


def test_the_total_counts_the_proposals_with_the_weights_of_a_layer(codec, one_object):
    proposals = Proposals(
        logits=torch.zeros(1, 1, 3), boxes=undecided(codec).boxes, class_agnostic=False
    )
    criterion = Criterion(LossConfig(), codec)
    without = criterion(undecided(codec), one_object).total
    total = criterion(replace(undecided(codec), proposals=proposals), one_object).total
    expected = 2 * 7 * LN2 / 16 + 5 * 0.1 + 2 * 2 / 3
    assert (total - without).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("counts", [(2, 0), (0, 0), (3, 7)])
def test_losses_and_gradients_are_finite_with_empty_images_and_too_many_objects(
    codec, random_targets, random_predictions, counts, seed
):
    generator = torch.Generator().manual_seed(seed)
    layer = random_predictions(generator, 2, 4)
    predictions = replace(layer, auxiliary=(random_predictions(generator, 2, 4),))
    config = LossConfig(vector_space="whitened", mask_weight=2.0)
    losses = Criterion(config, codec, torch.ones(16))(
        predictions, random_targets(generator, counts)
    )
    losses.total.backward()
    assert torch.isfinite(losses.total)
    for tensor in (layer.logits, layer.boxes, layer.mask_vectors):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()
    assert layer.logits.grad.abs().sum() > 0


def test_queries_without_an_object_have_no_gradient_on_their_boxes(
    codec, random_targets, random_predictions
):
    generator = torch.Generator().manual_seed(0)
    predictions = random_predictions(generator, 1, 4)
    losses = Criterion(LossConfig(), codec)(predictions, random_targets(generator, (1,)))
    losses.total.backward()
    alone = torch.ones(4, dtype=torch.bool)
    alone[losses.matches.queries] = False
    assert (predictions.boxes.grad[0, alone] == 0).all()
    assert (predictions.mask_vectors.grad[0, alone] == 0).all()
    assert (predictions.boxes.grad[0, ~alone] != 0).any()


def test_the_targets_of_a_batch_are_encoded_once_for_all_six_layers(small_model, monkeypatch):
    config = replace(small_model, decoder_layers=6)
    codec = DCTMaskCodec(num_coefficients=16, mask_size=32)
    calls = []
    encode = DCTMaskCodec.encode
    monkeypatch.setattr(
        DCTMaskCodec, "encode", lambda self, masks: calls.append(len(masks)) or encode(self, masks)
    )
    targets = encode_targets([picture(2), picture(1)], codec)
    predictions = build_model(config)([torch.zeros(3, 32, 32)] * 2)
    losses = Criterion(LossConfig(), codec)(predictions, targets)
    assert len(predictions.auxiliary) == 5
    assert sum(name.startswith("loss_vector") for name in losses.terms) == 6
    assert calls == [3]


def test_diagnostics_are_logged_for_every_layer_and_are_no_part_of_the_loss(codec, one_object):
    layer = undecided(codec)
    losses = Criterion(LossConfig(), codec)(replace(layer, auxiliary=(layer,)), one_object)
    names = {"class_error", "cardinality_error", "cardinality_error_0"}
    assert set(losses.diagnostics) == names
    # Undecided logits: the first class is taken, which is not the last one, so 1 of 1 counts.
    assert losses.diagnostics["cardinality_error"] == 0
    assert losses.diagnostics["class_error"] == 100


@pytest.mark.parametrize("name", ["class", "box_l1", "giou", "vector", "mask"])
def test_negative_weights_are_refused_by_name(name):
    with pytest.raises(ValueError, match=rf"{name}_weight must be at least 0, got -1"):
        LossConfig(**{f"{name}_weight": -1.0})


@pytest.fixture(scope="module")
def spatial_model():
    torch.manual_seed(0)
    config = ModelConfig(
        backbone="resnet10_w32",
        num_classes=3,
        num_queries=6,
        hidden_dim=128,
        encoder_layers=1,
        decoder_layers=2,
        feedforward_dim=32,
        dropout=0.0,
        mask_head="spatial",
    )
    return build_model(config)


def test_spatial_masks_are_taught_to_the_matched_queries_of_the_last_layer(spatial_model):
    items = [picture(2), picture(0), picture(1)]
    items[0].image_masks[1] = ~items[0].image_masks[0]
    targets = encode_targets(items, None)
    predictions = spatial_model([torch.zeros(3, 32, 32)] * 3)
    found = Criterion(LossConfig(), None)(predictions, targets)
    assert [name for name in found.terms if "mask" in name or "dice" in name] == [
        "loss_mask",
        "loss_dice",
    ]
    matches = found.matches
    every = [predictions.spatial_masks.at(i, torch.arange(6)).enlarge() for i in range(3)]
    logits = torch.stack(every)[matches.images, matches.queries]
    masks = torch.cat([item.image_masks for item in items])[matches.objects].float()
    focal = losses.focal_loss(logits, masks, 3 * 32 * 32)
    assert found.terms["loss_mask"].item() == pytest.approx(focal.item(), rel=1e-5)
    dice = losses.dice_loss(logits, masks, 3)
    assert found.terms["loss_dice"].item() == pytest.approx(dice.item(), rel=1e-5)


def test_weights_of_spatial_masks_scale_their_terms_whatever_that_of_decoded_masks_is(
    spatial_model,
):
    targets = encode_targets([picture(1)], None)
    predictions = spatial_model([torch.zeros(3, 32, 32)])
    others = dict.fromkeys(("class_weight", "box_l1_weight", "giou_weight"), 0.0)
    config = LossConfig(spatial_mask_weight=3.0, spatial_dice_weight=0.5, mask_weight=7.0, **others)
    found = Criterion(config, None)(predictions, targets)
    expected = 3 * found.terms["loss_mask"] + 0.5 * found.terms["loss_dice"]
    assert found.total.item() == pytest.approx(expected.item())


def test_batches_without_objects_still_reach_every_weight_of_the_spatial_head(spatial_model):
    spatial_model.zero_grad()
    targets = encode_targets([picture(0), picture(0)], None)
    found = Criterion(LossConfig(), None)(spatial_model([torch.zeros(3, 32, 32)] * 2), targets)
    assert found.terms["loss_mask"] == found.terms["loss_dice"] == 0
    found.total.backward()
    assert all(p.grad is not None for p in spatial_model.spatial_head.parameters())


def test_masks_of_images_of_different_sizes_are_compared_on_the_padded_batch(spatial_model):
    small = replace(
        picture(1), image_size=(20, 24), image_masks=torch.ones(1, 20, 24, dtype=torch.bool)
    )
    targets = encode_targets([picture(1), small], None)
    predictions = spatial_model([torch.zeros(3, 32, 32), torch.zeros(3, 20, 24)])
    found = Criterion(LossConfig(), None)(predictions, targets)
    masks = torch.zeros(2, 32, 32)
    masks[0], masks[1, :20, :24] = picture(1).image_masks[0], 1
    queries = found.matches.queries
    logits = [predictions.spatial_masks.at(i, queries[i : i + 1]).enlarge() for i in (0, 1)]
    expected = losses.dice_loss(torch.cat(logits), masks, 2)
    assert found.terms["loss_dice"].item() == pytest.approx(expected.item(), rel=1e-5)
