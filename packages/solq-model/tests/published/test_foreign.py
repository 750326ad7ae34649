"""Checkpoints of other networks are told by the names of their tensors."""

import pytest
import torch

from solq_model import build_model, recognise
from solq_model.published.foreign import describe_class, describe_names

DETR = (
    "transformer.encoder.layers.0.self_attn.in_proj_weight",
    "transformer.decoder.layers.0.multihead_attn.in_proj_weight",
    "class_embed.weight",
    "bbox_embed.layers.0.weight",
    "query_embed.weight",
    "input_proj.weight",
    "backbone.0.body.conv1.weight",
)
DINO = (
    "transformer.level_embed",
    "transformer.tgt_embed.weight",
    "class_embed.0.weight",
    "bbox_embed.0.layers.0.weight",
    "backbone.0.body.conv1.weight",
    "label_enc.weight",
)
MASK2FORMER = (
    "backbone.stem.conv1.weight",
    "sem_seg_head.pixel_decoder.input_proj.0.0.weight",
    "sem_seg_head.predictor.query_feat.weight",
)
TORCHVISION = (
    "backbone.body.conv1.weight",
    "backbone.fpn.inner_blocks.0.0.weight",
    "rpn.head.conv.0.0.weight",
    "roi_heads.box_predictor.cls_score.weight",
    "roi_heads.mask_predictor.mask_fcn_logits.weight",
)
MMDETECTION = (
    "backbone.conv1.weight",
    "neck.convs.0.conv.weight",
    "bbox_head.cls_branches.0.weight",
    "bbox_head.transformer.level_embeds",
)
ULTRALYTICS = ("model.0.conv.weight", "model.1.conv.weight", "model.22.cv2.0.0.conv.weight")
DETECTRON2 = (
    "backbone.fpn_lateral2.weight",
    "proposal_generator.rpn_head.conv.weight",
    "roi_heads.box_head.fc1.weight",
)
TRANSFORMERS = (
    "model.backbone.conv_encoder.model.conv1.weight",
    "model.encoder.layers.0.self_attn.sampling_offsets.weight",
    "class_embed.0.weight",
)
DETR_SEGMENTATION = (
    "detr.class_embed.weight",
    "bbox_attention.q_linear.weight",
    "mask_head.lay1.weight",
)
SAM = ("image_encoder.pos_embed", "mask_decoder.iou_token.weight")
RESNET = ("conv1.weight", "layer1.0.conv1.weight", "layer4.0.conv1.weight", "fc.weight")
SWIN = ("patch_embed.proj.weight", "layers.0.blocks.0.attn.qkv.weight", "head.weight")


@pytest.mark.parametrize(
    ("names", "family"),
    [
        (DETR, "a DETR checkpoint"),
        (DINO, "a DINO checkpoint"),
        (DETR_SEGMENTATION, "a DETR for segmentation checkpoint"),
        (MASK2FORMER, "a Mask2Former checkpoint"),
        (TORCHVISION, "a torchvision Mask R-CNN checkpoint"),
        (TORCHVISION[:-1], "a torchvision Faster R-CNN checkpoint"),
        (DETECTRON2, "a Detectron2 R-CNN checkpoint"),
        (MMDETECTION, "an MMDetection checkpoint"),
        (ULTRALYTICS, r"an Ultralytics \(YOLO\) checkpoint"),
        (TRANSFORMERS, r"a Transformers \(Hugging Face\) Deformable DETR checkpoint"),
        (SAM, "a Segment Anything checkpoint"),
        (
            RESNET,
            "a ResNet classifier's weights: a network can start from it with backbone",
        ),
        (SWIN, "a Swin Transformer classifier's weights: a network can start"),
        (("a", "b", "c", "d"), "4 tensors of an unknown network: a, b, c, …"),
        ((), "no tensors at all"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_weights_of_other_networks_are_refused_with_what_they_are(names, family):
    message = f"expected published SOLQ or Deformable DETR weights, found {family}"
    with pytest.raises(ValueError, match=message):
        recognise({name: torch.zeros(2, 2) for name in names})


def test_our_own_weights_are_no_published_ones(make_config):
    state = build_model(make_config()).state_dict()
    with pytest.raises(ValueError, match="found a saved SOLQ model's weights: give the folder"):
        recognise(state)


def test_published_weights_are_told_to_be_converted(make_model, published_state):
    described = describe_names(published_state(make_model()))
    assert described.endswith("Deformable DETR checkpoint: convert it with `solq convert`")


@pytest.mark.parametrize(
    ("name", "described"),
    [
        (
            "ultralytics.nn.tasks.SegmentationModel",
            "an Ultralytics (YOLO) checkpoint, which pickles ultralytics.nn.tasks.Segmentatio",
        ),
        ("torchvision.models.detection.mask_rcnn.MaskRCNN", "a whole torchvision network, which"),
        ("numpy.ndarray", "numpy.ndarray"),
    ],
)
def test_a_pickled_class_says_whose_file_it_is(name, described):
    assert describe_class(name).startswith(described)
