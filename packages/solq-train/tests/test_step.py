"""A step makes new weights of a batch, the same however the batch is divided."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from solq_maskcodec import DCTMaskCodec
from solq_train.data import find_split
from solq_train.failure import FAILURE, NonFiniteError
from solq_train.run import prepare_run
from solq_train.step import train_step


@pytest.fixture
def run(small_config, shapes):
    return prepare_run(small_config, find_split(shapes, "train"))


def too_large(run):
    """Finite weights whose products are not."""
    with torch.no_grad():
        run.model.backbone.body.conv1.weight.fill_(torch.finfo(torch.float32).max)


def test_a_step_encodes_its_targets_once(small_config, shapes, tmp_path, monkeypatch):
    config = replace(small_config, model=replace(small_config.model, decoder_layers=6))
    run = prepare_run(config, find_split(shapes, "train"))
    batch = next(iter(run.loader))
    calls = []
    encode = DCTMaskCodec.encode
    monkeypatch.setattr(
        DCTMaskCodec, "encode", lambda self, masks: calls.append(len(masks)) or encode(self, masks)
    )
    train_step(run, batch, 0, tmp_path)
    assert calls == [sum(len(target.labels) for target in batch.targets)]


@pytest.mark.parametrize("limit", [0.0, 0.1])
def test_the_norm_that_is_told_is_the_one_before_clipping(small_config, shapes, tmp_path, limit):
    optimizer = replace(small_config.optimizer, clip_norm=limit)
    run = prepare_run(replace(small_config, optimizer=optimizer), find_split(shapes, "train"))
    norm = train_step(run, next(iter(run.loader)), 0, tmp_path).grad_norm
    kept = torch.cat([p.grad.flatten() for p in run.model.parameters() if p.grad is not None])
    assert norm > 0.1
    expected = norm.item() if limit == 0 else limit
    assert kept.double().norm().item() == pytest.approx(expected, rel=1e-4)


def test_a_batch_of_empty_images_trains_without_harm(run, tmp_path):
    batch = next(iter(run.loader))
    nothing = [
        replace(t, boxes=t.boxes[:0], labels=t.labels[:0], box_masks=t.box_masks[:0])
        for t in batch.targets
    ]
    result = train_step(run, replace(batch, targets=nothing), 0, tmp_path)
    assert torch.isfinite(result.total)
    assert torch.isfinite(result.grad_norm)
    assert all(torch.isfinite(p).all() for p in run.model.parameters())


def test_a_loss_that_is_no_number_keeps_the_step_and_leaves_the_weights(run, tmp_path):
    batch = next(iter(run.loader))
    too_large(run)
    before = [parameter.detach().clone() for parameter in run.model.parameters()]
    ids = ", ".join(str(target.image_id) for target in batch.targets)
    expected = rf"not finite at step 7: .*loss_ce.* \(images {ids}\).*solq replay .*{FAILURE}"
    with pytest.raises(NonFiniteError, match=expected):
        train_step(run, batch, 7, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FAILURE]
    assert all(torch.equal(p, b) for p, b in zip(run.model.parameters(), before, strict=True))


def test_a_gradient_that_is_no_number_keeps_the_step_and_leaves_the_weights(run, tmp_path):
    batch = next(iter(run.loader))
    parameter = run.model.level_embedding
    parameter.register_hook(lambda gradient: gradient * torch.inf)
    before = [parameter.detach().clone() for parameter in run.model.parameters()]
    with pytest.raises(NonFiniteError, match=r"not finite at step 2: gradients"):
        train_step(run, batch, 2, tmp_path)
    assert (tmp_path / FAILURE).is_dir()
    assert all(torch.equal(p, b) for p, b in zip(run.model.parameters(), before, strict=True))


def of_sizes(config, **changes):
    """The configuration without batch statistics and dropout, on images of two sizes."""
    return replace(
        config,
        model=replace(config.model, backbone_norm="frozen", dropout=0.0),
        data=replace(config.data, short_sides=(48, 64)),
        **changes,
    )


def gradients(config, shapes, output, *, accumulate: int):
    optimizer = replace(config.optimizer, batch_size=8, accumulate=accumulate, clip_norm=0.0)
    run = prepare_run(replace(config, optimizer=optimizer), find_split(shapes, "train"))
    result = train_step(run, next(iter(run.loader)), 0, output)
    return result, {name: p.grad for name, p in run.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("accumulate", [2, 3, 8])
@pytest.mark.parametrize("stages", ["one", "two"])
def test_an_accumulated_batch_has_the_losses_of_the_whole(
    small_config, two_stage_config, shapes, tmp_path, accumulate, stages
):
    config = of_sizes(small_config if stages == "one" else two_stage_config)
    whole, _ = gradients(config, shapes, tmp_path, accumulate=1)
    parts, _ = gradients(config, shapes, tmp_path, accumulate=accumulate)
    assert parts.total.item() == pytest.approx(whole.total.item(), rel=1e-5)
    for name, value in whole.terms.items():
        assert parts.terms[name].item() == pytest.approx(value.item(), rel=1e-5), name


@pytest.mark.parametrize("accumulate", [2, 3, 8])
def test_an_accumulated_batch_has_the_gradients_of_the_whole(
    small_config, shapes, tmp_path, accumulate
):
    # Of one stage: two choose among proposals that are all alike before training.
    config = of_sizes(small_config)
    whole, expected = gradients(config, shapes, tmp_path, accumulate=1)
    parts, found = gradients(config, shapes, tmp_path, accumulate=accumulate)
    assert parts.grad_norm.item() == pytest.approx(whole.grad_norm.item(), rel=1e-5)
    for name, gradient in expected.items():
        # The biases before a group norm have no gradient but rounding.
        scale = gradient.abs().max().clamp(min=1e-3)
        assert (found[name] - gradient).abs().max() <= 1e-4 * scale, name


def test_bfloat16_stays_near_float32_and_leaves_the_weights_in_32_bits(
    small_config, shapes, tmp_path
):
    exact, _ = gradients(of_sizes(small_config), shapes, tmp_path, accumulate=1)
    config = of_sizes(small_config, precision="bfloat16")
    rough, found = gradients(config, shapes, tmp_path, accumulate=1)
    assert rough.total.item() == pytest.approx(exact.total.item(), rel=0.02)
    assert rough.total.item() != exact.total.item()
    assert all(gradient.dtype == torch.float32 for gradient in found.values())


def test_the_average_of_the_weights_follows_them_slowly(small_config, shapes, tmp_path):
    run = prepare_run(replace(small_config, ema_decay=0.75), find_split(shapes, "train"))
    assert run.evaluated_model is not run.model
    batch = next(iter(run.loader))
    train_step(run, batch, 0, tmp_path)  # the first one is copied
    before = run.evaluated_model.level_embedding.detach().clone()
    train_step(run, batch, 1, tmp_path)
    expected = 0.75 * before + 0.25 * run.model.level_embedding
    torch.testing.assert_close(run.evaluated_model.level_embedding.detach(), expected.detach())


def test_chance_in_a_step_follows_from_seed_and_step_alone(small_config, shapes, tmp_path):
    assert small_config.model.dropout > 0
    totals = []
    for seed, step in ((1, 2), (1, 2), (1, 3)):
        run = prepare_run(replace(small_config, seed=seed), find_split(shapes, "train"))
        torch.manual_seed(len(totals))  # whatever was drawn before
        totals.append(train_step(run, next(iter(run.loader)), step, tmp_path).total.item())
    assert totals[0] == totals[1]
    assert totals[0] != totals[2]
