"""Published weights are mapped name by name."""

import re

import pytest
import torch

from solq_maskcodec import PCAMaskCodec
from solq_model import build_model, load_official_state_dict, recognise
from solq_model.published.names import official_constants, official_names

REFINED = {}
SHARED_HEADS = {"box_refinement": False}
TWO_STAGE = {"two_stage": True}
LEARNED_POSITIONS = {"position_embedding": "learned", "num_feature_levels": 1}
SWIN = {"backbone": "swin_t"}
SPATIAL = {"mask_head": "spatial", "hidden_dim": 128, "num_heads": 8, "num_feature_levels": 4}
# Deformable DETR's release: plain, with boxes refined, in two stages, and of a single scale.
DETECTORS = [
    {"mask_head": "none"} | changes
    for changes in (SHARED_HEADS, REFINED, TWO_STAGE, {"num_feature_levels": 1})
]
CONFIGURATIONS = pytest.mark.parametrize(
    "changes",
    [REFINED, SHARED_HEADS, TWO_STAGE, LEARNED_POSITIONS, SWIN, SPATIAL, *DETECTORS],
    ids=[
        *("refined", "shared heads", "two stages", "learned positions", "swin", "spatial masks"),
        *("detector", "refined detector", "two stages of a detector", "single scale"),
    ],
)

ATTENTION = ("sampling_offsets", "attention_weights", "value_proj", "output_proj")
BLOCK = ("linear1", "linear2")


def swin_t_names(outputs):
    """The names within the published Swin-T, by its module tree."""
    modules, names = ["patch_embed.proj", "patch_embed.norm"], set()
    for stage, depth in enumerate((2, 2, 6, 2)):
        for i in range(depth):
            block = f"layers.{stage}.blocks.{i}"
            leaves = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
            modules += [f"{block}.{leaf}" for leaf in leaves]
            names |= {f"{block}.attn.relative_position_{leaf}" for leaf in ("bias_table", "index")}
        if stage < 3:
            modules.append(f"layers.{stage}.downsample.norm")
            names.add(f"layers.{stage}.downsample.reduction.weight")
    modules += [f"norm{stage}" for stage in outputs]
    return names | {f"{module}.{kind}" for module in modules for kind in ("weight", "bias")}


def published_names(config, backbone_names):
    """The names of a published checkpoint, by the module tree of the published code."""
    names = {f"backbone.0.body.{name}" for name in backbone_names}
    if config.position_embedding == "learned":
        names |= {"backbone.1.row_embed.weight", "backbone.1.col_embed.weight"}
    names.add("transformer.level_embed")
    modules = [
        f"input_proj.{level}.{i}" for level in range(config.num_feature_levels) for i in (0, 1)
    ]
    for i in range(config.encoder_layers):
        layer = f"transformer.encoder.layers.{i}"
        modules += [f"{layer}.self_attn.{leaf}" for leaf in ATTENTION]
        modules += [f"{layer}.{leaf}" for leaf in (*BLOCK, "norm1", "norm2")]
    for i in range(config.decoder_layers):
        layer = f"transformer.decoder.layers.{i}"
        modules += [f"{layer}.cross_attn.{leaf}" for leaf in ATTENTION]
        modules += [f"{layer}.{leaf}" for leaf in (*BLOCK, "norm1", "norm2", "norm3")]
        names |= {f"{layer}.self_attn.in_proj_{kind}" for kind in ("weight", "bias")}
        modules.append(f"{layer}.self_attn.out_proj")
    # One more head of each kind proposes boxes, where there are two stages.
    for i in range(config.decoder_layers + config.two_stage):
        modules.append(f"class_embed.{i}")
        if config.has_vectors:
            modules += [f"vector_embed.{i}.layers.{j}" for j in range(3)]
        modules += [f"bbox_embed.{i}.layers.{j}" for j in range(3)]
        if config.box_refinement:
            modules += [f"transformer.decoder.bbox_embed.{i}.layers.{j}" for j in range(3)]
        if config.two_stage:
            modules.append(f"transformer.decoder.class_embed.{i}")
    if config.two_stage:
        two_stage = ("enc_output", "enc_output_norm", "pos_trans", "pos_trans_norm")
        modules += [f"transformer.{name}" for name in two_stage]
    else:
        names.add("query_embed.weight")
        modules.append("transformer.reference_points")
    names |= {f"{module}.{kind}" for module in modules for kind in ("weight", "bias")}
    return names if config.mask_head != "spatial" else spatial_mask_names(names)


def spatial_mask_names(detector):
    """The names where spatial masks are put around a detector with these names."""
    head = [f"lay{i}" for i in range(1, 6)] + [f"gn{i}" for i in range(1, 6)]
    head += ["adapter1", "adapter2", "adapter3", "out_lay"]
    modules = [f"mask_head.{name}" for name in head]
    modules += [f"seg_input_proj.{i}" for i in range(3)]
    modules += ["bbox_attention.q_linear", "bbox_attention.k_linear"]
    own = {f"{module}.{kind}" for module in modules for kind in ("weight", "bias")}
    return own | {f"detr.{name}" for name in detector}


@CONFIGURATIONS
def test_our_names_map_onto_the_published_module_tree(make_config, changes):
    config = make_config(**changes)
    with torch.device("meta"):
        model = build_model(config)
    mapped = [name for ours in model.state_dict() for name in official_names(ours, config)]
    mapped += official_constants(model)
    assert len(set(mapped)) == len(mapped)
    is_swin = config.backbone == "swin_t"
    backbone_names = swin_t_names((1, 2, 3)) if is_swin else model.backbone.body.state_dict()
    assert set(mapped) == published_names(config, backbone_names)


@CONFIGURATIONS
def test_published_weights_give_the_same_predictions(
    make_model, make_images, changes, assert_same_predictions, published_state
):
    model, other = make_model(**changes), make_model(seed=1, **changes)
    load_official_state_dict(other, published_state(model))
    images = make_images((64, 64))
    with torch.no_grad():
        assert_same_predictions(other(images), model(images))


@pytest.mark.parametrize(
    ("ours", "published"),
    [
        ("backbone.body.layer1.0.bn1.weight", ("backbone.0.body.layer1.0.bn1.weight",)),
        ("neck.projections.3.1.bias", ("input_proj.3.1.bias",)),
        (
            "encoder.layers.5.attention.value_projection.weight",
            ("transformer.encoder.layers.5.self_attn.value_proj.weight",),
        ),
        ("encoder.layers.0.norm.weight", ("transformer.encoder.layers.0.norm1.weight",)),
        (
            "decoder.layers.0.cross_norm.bias",
            ("transformer.decoder.layers.0.norm1.bias",),
        ),
        ("decoder.layers.0.self_norm.bias", ("transformer.decoder.layers.0.norm2.bias",)),
        (
            "decoder.layers.0.feedforward.norm.bias",
            ("transformer.decoder.layers.0.norm3.bias",),
        ),
        (
            "box_heads.heads.1.layers.2.bias",
            ("transformer.decoder.bbox_embed.1.layers.2.bias", "bbox_embed.1.layers.2.bias"),
        ),
        ("vector_head.mlp.layers.0.bias", tuple(f"vector_embed.{i}.layers.0.bias" for i in (0, 1))),
    ],
)
def test_names_of_the_refined_network_by_example(make_config, ours, published):
    assert official_names(ours, make_config()) == published


def test_the_head_of_the_proposals_is_the_one_after_the_last_layer(make_config):
    config = make_config(two_stage=True)
    names = official_names("queries.head.class_head.weight", config)
    assert names == ("transformer.decoder.class_embed.2.weight", "class_embed.2.weight")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"two_stage": True, "query_selection": "mixed"}, "queries.content.weight"),
        ({"whitened_vectors": True}, "vector_head.mean"),
    ],
)
def test_what_the_published_code_does_not_have_is_named(make_config, make_model, changes, name):
    message = f"{name} has no counterpart in the published code"
    with pytest.raises(ValueError, match=message):
        official_names(name, make_config(**changes))
    with pytest.raises(ValueError, match="has no counterpart in the published code"):
        load_official_state_dict(make_model(**changes), {})


def test_of_copies_that_differ_the_last_one_counts(make_model, published_state):
    model = make_model(box_refinement=False)
    state = published_state(model)
    state["class_embed.0.bias"] += 1
    state["class_embed.1.bias"] += 2
    before = model.class_heads.at(0).bias.clone()
    load_official_state_dict(model, state)
    torch.testing.assert_close(model.class_heads.at(0).bias, before + 2)


def test_a_missing_tensor_and_one_too_many_are_named(make_model, published_state):
    model = make_model()
    state = published_state(model)
    state["query_embedding.weight"] = state.pop("query_embed.weight")
    message = r"1 missing: query_embed\.weight\. 1 left over: query_embedding\.weight"
    with pytest.raises(ValueError, match=message):
        load_official_state_dict(model, state)


def test_another_class_count_is_named_with_both_shapes(make_model, published_state):
    state = published_state(make_model(num_classes=5))
    message = (
        r"do not fit this model \(resnet10_w32, 3 class slots, hidden 64\)\. 4 of another shape: "
        r"class_embed\.0\.weight \(5, 64\), expected \(3, 64\)"
    )
    with pytest.raises(ValueError, match=message):
        load_official_state_dict(make_model(), state)


def test_a_constant_that_differs_is_named(make_model, published_state):
    model = make_model(**SWIN)
    state = published_state(model)
    name = "backbone.0.body.layers.0.blocks.1.attn.relative_position_index"
    state[name] = state[name] + 1
    message = rf"1 unequal to the constant that the configuration gives: {re.escape(name)}$"
    with pytest.raises(ValueError, match=message):
        load_official_state_dict(model, state)
    del state[name]
    with pytest.raises(ValueError, match=rf"1 missing: {re.escape(name)}$"):
        load_official_state_dict(model, state)


def test_refused_weights_leave_the_model_as_it_was(make_model, published_state):
    model, other = make_model(), make_model(seed=1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = published_state(other)
    del state["transformer.level_embed"]
    with pytest.raises(ValueError, match="1 missing"):
        load_official_state_dict(model, state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_state_that_was_given_stays_whole(make_model, published_state):
    model = make_model()
    state = published_state(model)
    count = len(state)
    load_official_state_dict(model, state)
    assert len(state) == count


@pytest.fixture
def pca_state(make_model, published_state):
    """The state of the published solq_pca.py, which holds its components too."""
    codec = PCAMaskCodec.fit(torch.rand(40, 16, 16, generator=torch.Generator().manual_seed(0)), 16)
    parts = {
        "components": codec.components,
        "means": codec.mean,
        "explained_variances": codec.explained_variance,
    }
    components = {f"processor_pca.{k}": torch.tensor(v).float() for k, v in parts.items()}
    return published_state(make_model(codec="pca")) | components


def test_the_components_of_published_pca_vectors_become_the_codec(make_model, pca_state):
    config = recognise(pca_state, {"nheads": 4, "dropout": 0.0})
    assert config == make_model(codec="pca").config
    model = build_model(config)
    tensors = load_official_state_dict(model, pca_state)
    codec = model.codec
    assert (codec.whiten, codec.logit, codec.mask_size) == (True, True, 16)
    vectors = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    # The published decoder (models/pca.py).
    scale = pca_state["processor_pca.explained_variances"].sqrt()[:, None]
    pixels = vectors @ (pca_state["processor_pca.components"] * scale)
    published = (pixels + pca_state["processor_pca.means"]).sigmoid().reshape(3, 16, 16)
    torch.testing.assert_close(codec.decode(vectors, threshold=None), published)
    roles = {mapped.ours: mapped.role for mapped in tensors if "processor" in mapped.published}
    names = ("codec.components", "codec.mean", "codec.explained_variance")
    assert roles == dict.fromkeys(names, "codec")


def test_a_pca_codec_with_a_part_missing_is_refused(make_model, pca_state):
    del pca_state["processor_pca.explained_variances"]
    with pytest.raises(ValueError, match=r"1 missing: processor_pca\.explained_variances$"):
        load_official_state_dict(make_model(codec="pca"), pca_state)
