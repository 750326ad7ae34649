"""Published checkpoints: read without running anything, mapped name by name."""

import argparse
import collections
import pickle
import re

import pytest
import torch

from solq_model import build_model, load_official_checkpoint, load_official_state_dict
from solq_model.official import official_constants, official_names

REFINED = {}
SHARED_HEADS = {"box_refinement": False}
TWO_STAGE = {"two_stage": True}
LEARNED_POSITIONS = {"position_embedding": "learned", "num_feature_levels": 1}
SWIN = {"backbone": "swin_t"}
SPATIAL = {"mask_head": "spatial", "hidden_dim": 128, "num_heads": 8, "num_feature_levels": 4}
CONFIGURATIONS = pytest.mark.parametrize(
    "changes",
    [REFINED, SHARED_HEADS, TWO_STAGE, LEARNED_POSITIONS, SWIN, SPATIAL],
    ids=["refined", "shared heads", "two stages", "learned positions", "swin", "spatial masks"],
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


def published_state(model):
    """The weights of our model as the published code would have saved them."""
    weights = {
        name: tensor.clone()
        for our_name, tensor in model.state_dict().items()
        for name in official_names(our_name, model.config)
    }
    return weights | official_constants(model)


def write(path, content, **options):
    torch.save(content, path, **options)
    return path


class Malicious:
    """Pickled code: whoever unpickles it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


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
    make_model, make_images, changes, assert_same_predictions
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


def test_of_copies_that_differ_the_last_one_counts(make_model):
    model = make_model(box_refinement=False)
    state = published_state(model)
    state["class_embed.0.bias"] += 1
    state["class_embed.1.bias"] += 2
    before = model.class_heads.at(0).bias.clone()
    load_official_state_dict(model, state)
    torch.testing.assert_close(model.class_heads.at(0).bias, before + 2)


def test_a_missing_tensor_and_one_too_many_are_named(make_model):
    model = make_model()
    state = published_state(model)
    state["query_embedding.weight"] = state.pop("query_embed.weight")
    message = r"1 missing: query_embed\.weight\. 1 left over: query_embedding\.weight"
    with pytest.raises(ValueError, match=message):
        load_official_state_dict(model, state)


def test_another_class_count_is_named_with_both_shapes(make_model):
    state = published_state(make_model(num_classes=5))
    message = (
        r"do not fit this model \(resnet10_w32, 3 class slots, hidden 64\)\. 4 of another shape: "
        r"class_embed\.0\.weight \(5, 64\), expected \(3, 64\)"
    )
    with pytest.raises(ValueError, match=message):
        load_official_state_dict(make_model(), state)


def test_a_constant_that_differs_is_named(make_model):
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


def test_refused_weights_leave_the_model_as_it_was(make_model):
    model, other = make_model(), make_model(seed=1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = published_state(other)
    del state["transformer.level_embed"]
    with pytest.raises(ValueError, match="1 missing"):
        load_official_state_dict(model, state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_state_that_was_given_stays_whole(make_model):
    model = make_model()
    state = published_state(model)
    count = len(state)
    load_official_state_dict(model, state)
    assert len(state) == count


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "before torch 1.6"])
def test_a_published_file_holds_the_options_beside_the_weights(tmp_path, new_format):
    content = {
        "model": collections.OrderedDict(weight=torch.arange(3.0)),
        "optimizer": {"state": {0: {"step": 1}}, "param_groups": [{"lr": 2e-4, "params": [0]}]},
        "lr_scheduler": {"step_size": 40, "base_lrs": [2e-4]},
        "epoch": 49,
        "args": argparse.Namespace(backbone="resnet50", lr=2e-4, masks=True),
    }
    path = write(tmp_path / "r50.pth", content, _use_new_zipfile_serialization=new_format)
    state = load_official_checkpoint(path)
    assert list(state) == ["weight"]
    assert state["weight"].tolist() == [0, 1, 2]
    assert list(load_official_checkpoint(str(path))) == ["weight"]


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "before torch 1.6"])
def test_pickled_code_is_refused_and_not_run(tmp_path, new_format):
    trap = tmp_path / "trap"
    content = {"model": {"weight": torch.zeros(1)}, "args": Malicious(trap)}
    path = write(tmp_path / "evil.pth", content, _use_new_zipfile_serialization=new_format)
    message = (
        r"evil\.pth: expected a published \.pth file, but it holds \w+\.open, which is neither"
    )
    with pytest.raises(ValueError, match=message):
        load_official_checkpoint(path)
    assert not trap.exists()


def test_a_plain_pickle_is_refused_and_not_run(tmp_path):
    trap, path = tmp_path / "trap", tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"model": Malicious(trap)}, protocol=2))
    with pytest.raises(ValueError, match=r"evil\.pth: expected a published \.pth file"):
        load_official_checkpoint(path)
    assert not trap.exists()


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(tmp_path, new_format, share):
    content = {"model": {"weight": torch.arange(1000.0)}, "args": argparse.Namespace()}
    path = write(tmp_path / "r50.pth", content, _use_new_zipfile_serialization=new_format)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"checkpoint .*r50\.pth: expected a published \.pth file"):
        load_official_checkpoint(path)


def test_every_truncation_of_an_old_file_is_refused(tmp_path):
    content = {"model": {"weight": torch.arange(2.0)}, "args": argparse.Namespace(lr=1)}
    path = write(tmp_path / "r50.pth", content, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="expected a published"):
            load_official_checkpoint(path)


@pytest.mark.parametrize("junk", [b"", b"hello", b"\x80\x02.", b"PK\x03\x04", b"{}" * 500])
def test_a_file_of_something_else_is_refused(tmp_path, junk):
    path = tmp_path / "r50.pth"
    path.write_bytes(junk)
    with pytest.raises(ValueError, match=r"checkpoint .*r50\.pth: expected a published \.pth file"):
        load_official_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"weights": {}, "epoch": 3}, r"\['epoch', 'weights'\]"),
        ({"model": [torch.zeros(1)]}, r"\['model'\]"),
        ({"model": {"weight": 3}}, r"\['model'\]"),
        ([1, 2], "list"),
        (torch.zeros(2), "Tensor"),
    ],
)
def test_a_file_without_a_model_is_described(tmp_path, content, found):
    path = write(tmp_path / "r50.pth", content)
    message = rf"expected a dict with the weights under 'model', found {found}"
    with pytest.raises(ValueError, match=message):
        load_official_checkpoint(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint .*r50\.pth: no such file"):
        load_official_checkpoint(tmp_path / "r50.pth")
