"""The head of spatial masks: equal to the published one, query by query."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from solq_model import SOLQ, build_model, postprocess
from solq_model.neck import downsample_padding
from solq_model.records import PaddedImages
from solq_model.spatial_masks import SpatialMaskHead

FIXTURE = Path(__file__).parent / "fixtures" / "spatial_masks.npz"
HIDDEN, HEADS, QUERIES = 128, 8, 6
CHANNELS = [64, 128, 256]
LEVEL_SIZES = [(14, 22), (7, 11), (4, 6), (2, 3)]
IMAGE_SIZES = [(112, 176), (70, 100)]
PUBLISHED_NAMES = {
    "attention.query_projection": "bbox_attention.q_linear",
    "attention.key_projection": "bbox_attention.k_linear",
    **{f"reductions.{i}": f"seg_input_proj.{i}" for i in range(3)},
    **{f"convolutions.{i}": f"mask_head.lay{i + 1}" for i in range(5)},
    **{f"norms.{i}": f"mask_head.gn{i + 1}" for i in range(5)},
    **{f"adapters.{i}": f"mask_head.adapter{i + 1}" for i in range(3)},
    "output": "mask_head.out_lay",
}


def published_tensor(name, *shape):
    """The numbers with which the published head was filled: a function of name and shape."""
    seed = np.random.PCG64(zlib.crc32(name.encode()))
    values = np.random.Generator(seed).standard_normal(shape, dtype=np.float32)
    if len(shape) > 1:
        values = values / np.sqrt(np.prod(shape[1:], dtype=int))
    elif ".gn" in name and name.endswith("weight"):
        values = 1 + 0.1 * values
    else:
        values = 0.1 * values
    return torch.from_numpy(np.asarray(values, dtype=np.float32)).double()


def published_name(name):
    module, leaf = name.rsplit(".", 1)
    return f"{PUBLISHED_NAMES[module]}.{leaf}"


@pytest.fixture(scope="module")
def published():
    return np.load(FIXTURE)


@pytest.fixture(scope="module")
def head():
    head = SpatialMaskHead(HIDDEN, HEADS, CHANNELS).double()
    state = head.state_dict()
    weights = {k: published_tensor(published_name(k), *v.shape) for k, v in state.items()}
    head.load_state_dict(weights)
    return head


@pytest.fixture(scope="module")
def masks(head):
    """The masks of the published inputs."""
    stages = [
        published_tensor(f"stage{level}", 2, channels, *size)
        for level, (channels, size) in enumerate(zip(CHANNELS, LEVEL_SIZES[:3], strict=True))
    ]
    maps = [published_tensor(name, 2, HIDDEN, *LEVEL_SIZES[3]) for name in ("coarsest", "memory")]
    padding = PaddedImages.from_list([torch.zeros(3, *size) for size in IMAGE_SIZES]).padding
    cells = downsample_padding(padding, LEVEL_SIZES[3])
    queries = 20 * published_tensor("queries", 2, QUERIES, HIDDEN)
    return head.masks(queries, maps[1], cells, head.pixels(stages, maps[0], padding))


def test_the_tensors_of_the_head_are_the_published_ones(head, published):
    assert {published_name(name) for name in head.state_dict()} == set(published["names"])


def test_mask_logits_of_a_padded_batch_equal_the_published_ones(masks, published):
    with torch.no_grad():
        ours = torch.stack([masks.at(image, torch.arange(QUERIES)).logits for image in (0, 1)])
    torch.testing.assert_close(ours, torch.from_numpy(published["masks"]), atol=1e-9, rtol=0)


@pytest.mark.parametrize("image", [0, 1])
def test_the_mask_of_a_query_is_the_same_whichever_others_are_asked_for(masks, image):
    together = masks.at(image, torch.arange(QUERIES)).logits
    for query in range(QUERIES):
        alone = masks.at(image, torch.tensor([query])).logits[0]
        torch.testing.assert_close(alone, together[query], atol=1e-12, rtol=0)


def test_the_best_masks_are_those_of_each_query_in_the_order_asked_for(masks):
    queries = torch.tensor([4, 0, 4, 2, 5, 4] * 5)  # more than a chunk
    best = masks.best(1, queries)
    assert not best.logits.requires_grad
    torch.testing.assert_close(best.logits, masks.at(1, queries).logits, atol=1e-12, rtol=0)


def test_each_query_passes_the_convolutions_once_where_it_is_asked_for_repeatedly(masks):
    passed = []
    hook = masks.head.output.register_forward_hook(lambda _, inputs, __: passed.append(inputs[0]))
    masks.best(0, torch.tensor([3, 3, 1, 3]))
    hook.remove()
    assert [len(maps) for maps in passed] == [2]


def test_attention_maps_sum_up_to_one_and_are_zero_on_padding(masks):
    maps = masks.head.attention(masks.queries[1], masks.keys[1], masks.padding[1])
    assert maps.shape == (QUERIES, HEADS, *LEVEL_SIZES[3])
    torch.testing.assert_close(maps.sum((1, 2, 3)), torch.ones(QUERIES, dtype=torch.float64))
    assert masks.padding[1].any()
    assert (maps[..., masks.padding[1]] == 0).all()


def test_every_weight_gets_a_gradient_also_where_no_query_is_asked_for(masks):
    masks.head.zero_grad()
    masks.at(0, torch.tensor([], dtype=torch.int64)).logits.sum().backward(retain_graph=True)
    assert all(parameter.grad is not None for parameter in masks.head.parameters())
    masks.at(0, torch.tensor([1])).logits.square().sum().backward(retain_graph=True)
    gradients = {name: parameter.grad for name, parameter in masks.head.named_parameters()}
    # What shifts the logits of all heads and cells alike does not change a softmax.
    shift = gradients.pop("attention.key_projection.bias")
    assert shift.isfinite().all()
    assert all(gradient.abs().max() > 0 for gradient in gradients.values())


ALL = torch.arange(8)  # the queries of the small network


def logits_of(predictions, image):
    return predictions.spatial_masks.best(image, ALL).logits


@pytest.fixture(scope="module")
def sizes():
    return [(96, 160), (70, 100), (33, 40)]


def test_the_masks_of_a_network_lie_on_a_sixteenth_of_the_padded_image(
    make_model, make_images, spatial, sizes
):
    with torch.no_grad():
        predictions = make_model(**spatial)(make_images(*sizes))
    assert predictions.mask_vectors is None
    assert all(layer.spatial_masks is None for layer in predictions.auxiliary)
    for image, (height, width) in enumerate(sizes):
        found = predictions.spatial_masks.best(image, ALL)
        assert found.logits.shape == (8, 6, 10)
        assert found.image_padding.shape == (96, 160)
        assert not found.image_padding[:height, :width].any()


@pytest.mark.parametrize("levels", [3, 4, 5])
def test_images_that_pass_the_convolutions_alone_have_the_masks_they_have_alone(
    make_model, make_images, spatial, sizes, levels
):
    model, images = make_model(**spatial | {"num_feature_levels": levels}), make_images(*sizes)
    with torch.no_grad():
        together = model(images, batch_invariant=True)
        for image in range(3):
            alone = model(images[image : image + 1])
            expected = logits_of(alone, 0)
            torch.testing.assert_close(logits_of(together, image), expected, atol=1e-4, rtol=1e-4)
            given = postprocess(together, sizes, None)[image]
            assert given.rle() == postprocess(alone, sizes[image : image + 1], None)[0].rle()


def test_results_have_the_masks_of_their_queries_at_the_size_that_is_asked_for(
    make_model, make_images, spatial
):
    with torch.no_grad():
        predictions = make_model(**spatial)(make_images((64, 96), (96, 64)))
    found = postprocess(predictions, [(30, 40), (50, 60)], None, top_k=20)
    assert [result.masks.shape for result in found] == [(20, 30, 40), (20, 50, 60)]
    order = predictions.logits[0].flatten().argsort(descending=True)[:20] // 3
    expected = predictions.spatial_masks.best(0, order).masks((30, 40))
    assert torch.equal(found[0].masks, expected)
    assert len(found[0].rle()) == 20


def test_a_saved_network_gives_the_same_masks(make_model, make_images, spatial, tmp_path):
    model, images = make_model(**spatial), make_images((64, 64))
    model.save(tmp_path / "model")
    with torch.no_grad():
        ours, loaded = model(images), SOLQ.load(tmp_path / "model")(images)
    assert torch.equal(logits_of(ours, 0), logits_of(loaded, 0))


def test_fresh_heads_have_no_biases_but_those_of_the_reductions(make_config, spatial):
    torch.manual_seed(0)
    head = build_model(make_config(**spatial)).spatial_head
    for name, parameter in head.named_parameters():
        if name.endswith("bias") and "reductions" not in name:
            assert (parameter == 0).all()
    convolution = head.convolutions[1].weight  # Kaiming uniform, gain 1
    assert convolution.abs().max().item() == pytest.approx((3 / (136 * 9)) ** 0.5, rel=1e-3)
    projection = head.attention.key_projection.weight  # Xavier uniform
    assert projection.abs().max().item() == pytest.approx((6 / 256) ** 0.5, rel=1e-3)
