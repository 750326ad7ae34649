"""The mask losses of the published fast_solq.py and solq_pca.py, written out again."""

from __future__ import annotations

from dataclasses import replace

import pytest
import scipy.fft
import torch

from solq_maskcodec import DCTMaskCodec, PCAMaskCodec
from solq_model import Predictions
from solq_train.criterion import Criterion, EncodedTargets, LossConfig
from solq_train.recipes import fast_solq_coco, solq_pca_coco

SIZE, NUM = 16, 12
COUNTS = (3, 0, 2)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def box_masks():
    rows = torch.arange(SIZE)
    starts = torch.tensor([1, 5, 0, 9, 3])[:, None, None]
    return ((rows[:, None] + 2 * rows) % 17 >= starts) & (rows[:, None] >= starts)


@pytest.fixture
def pca(box_masks):
    masks = noise(200, SIZE, SIZE, seed=3) + noise(200, 1, SIZE, seed=4) > 0
    return PCAMaskCodec.fit(torch.cat([box_masks, masks]), NUM)


def problem(codec, box_masks):
    """Targets, and predictions of two layers with a query for each object."""
    targets = EncodedTargets(
        counts=COUNTS,
        labels=torch.tensor([0, 1, 2, 0, 1]),
        boxes=0.3 + 0.2 * torch.rand(5, 4, generator=torch.Generator().manual_seed(1)),
        box_masks=box_masks,
        mask_vectors=codec.encode(box_masks),
    )
    last = Predictions(
        logits=noise(3, 6, 3),
        boxes=noise(3, 6, 4, seed=5).sigmoid(),
        mask_vectors=noise(3, 6, NUM, seed=6),
    )
    return targets, last


def losses_of(config: LossConfig, codec, targets, last):
    first = replace(last, mask_vectors=noise(3, 6, NUM, seed=7))
    found = Criterion(config, codec)(replace(last, auxiliary=(first,)), targets)
    pairs = found.matches  # the layers differ in their vectors only, which are not matched by
    vectors = {
        suffix: layer.mask_vectors[pairs.images, pairs.queries]
        for suffix, layer in (("", last), ("_0", first))
    }
    return found, pairs.objects, vectors


def zigzag(size):
    """Rows and columns as dct_v2.py, get_dct_vector_coords, lists them."""
    order = []
    for i in range(2 * size - 1):
        diagonal = [(i - j, j) for j in range(size) if 0 <= i - j < size]
        order += diagonal if i % 2 == 0 else [(j, i) for i, j in diagonal]
    return torch.tensor(order)


def test_fast_solq_sums_the_l1_distance_of_an_objects_coefficients(box_masks):
    codec = DCTMaskCodec(NUM, SIZE)
    config = fast_solq_coco().loss
    found, objects, vectors = losses_of(config, codec, *problem(codec, box_masks))
    spectrum = torch.tensor(scipy.fft.dctn(box_masks.double().numpy(), axes=(1, 2), norm="ortho"))
    rows, columns = zigzag(SIZE)[:NUM].T
    expected = spectrum[:, rows, columns][objects]
    for suffix, predicted in vectors.items():
        # fast_solq.py:363-366
        loss = (0.7 * (predicted - expected).abs() / sum(COUNTS)).sum()
        assert found.terms[f"loss_vector{suffix}"].item() == pytest.approx(loss.item(), rel=1e-5)
    assert "loss_dice" not in found.terms


def test_solq_pca_adds_the_mean_square_of_vectors_and_the_dice_of_masks(box_masks, pca):
    config = solq_pca_coco().loss
    found, objects, vectors = losses_of(config, pca, *problem(pca, box_masks))
    components = torch.tensor(pca.components)
    mean, deviation = torch.tensor(pca.mean), torch.tensor(pca.explained_variance).sqrt()
    # pca.py, inverse_sigmoid: 0.01 to 0.05 by chance; the codec takes 0.03, their middle.
    flat = box_masks.flatten(1).double()[objects]
    odds = torch.logit(torch.where(flat > 0.5, 0.97, 0.03).double())
    expected = (odds - mean) @ components.T / deviation
    for suffix, predicted in vectors.items():
        # solq_pca.py:366-378
        loss_feat = ((predicted - expected) ** 2).sum() / sum(COUNTS) / NUM
        soft = (predicted @ (components * deviation[:, None]).float() + mean).sigmoid()
        overlap = (soft * flat).sum(1)
        union = (soft**2).sum(1) + (flat**2).sum(1) + 1e-5
        loss_dice = (1 - 2 * overlap / union).sum() / sum(COUNTS)
        published = 0.7 * (loss_feat + loss_dice)
        ours = found.terms[f"loss_vector{suffix}"] + 0.7 * found.terms[f"loss_dice{suffix}"]
        assert ours.item() == pytest.approx(published.item(), rel=1e-4)
    detection = {"loss_ce": 2.0, "loss_bbox": 5.0, "loss_giou": 2.0}
    weights = detection | {"loss_vector": 1.0, "loss_dice": 0.7}
    total = sum(weights[n.removesuffix("_0")] * v.item() for n, v in found.terms.items())
    assert found.total.item() == pytest.approx(total, rel=1e-5)


def test_the_dice_of_soft_masks_has_a_gradient_and_is_zero_without_pairs(box_masks, pca):
    targets, last = problem(pca, box_masks)
    vectors = last.mask_vectors.clone().requires_grad_()
    criterion = Criterion(solq_pca_coco().loss, pca)
    found = criterion(replace(last, mask_vectors=vectors), targets)
    found.terms["loss_dice"].backward()
    assert vectors.grad.abs().sum() > 0
    empty = replace(
        targets,
        counts=(0, 0, 0),
        labels=targets.labels[:0],
        boxes=targets.boxes[:0],
        box_masks=box_masks[:0],
        mask_vectors=targets.mask_vectors[:0],
    )
    assert criterion(last, empty).terms["loss_dice"].item() == 0.0
