"""Families of checkpoints that are not ours, told by the names of their tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """A kind of weights: for each pattern some tensor has a name that begins with it."""

    name: str
    patterns: tuple[str, ...]
    advice: str = ""


GIVE_FOLDER = "give the folder that it lies in, with its model.json"
BACKBONE = "a network can start from it with backbone_weights"

PUBLISHED = Family(
    "a published SOLQ or Deformable DETR checkpoint",
    # detr: the detector within the baseline D-DETR + SQR.
    tuple(
        rf"(detr\.)?{name}"
        for name in (
            r"transformer\.level_embed",
            r"class_embed\.0\.",
            r"bbox_embed\.0\.",
            r"backbone\.0\.body\.",
        )
    ),
    "convert it with `solq convert`",
)
# The first that fits counts: what is more special stands first.
FAMILIES = (
    Family("a saved SOLQ model's weights", (r"neck\.projections\.", r"class_heads\."), GIVE_FOLDER),
    Family("a DINO checkpoint", (r"transformer\.level_embed", r"(label_enc|dn_enc|tgt_embed)\.")),
    PUBLISHED,
    Family(
        "a DETR for segmentation checkpoint", (r"(detr\.|mask_head\.lay1)", r"bbox_attention\.")
    ),
    Family(
        "a DETR checkpoint",
        (
            r"transformer\.encoder\.layers\.0\.self_attn\.in_proj_weight",
            r"(class_embed|input_proj)\.",
        ),
    ),
    Family(
        "a Transformers (Hugging Face) Deformable DETR checkpoint",
        (r"model\.(encoder|decoder)\.layers\.0\.\w+\.sampling_offsets\.", r"model\.backbone\."),
    ),
    Family(
        "a Mask2Former checkpoint",
        (r"sem_seg_head\.pixel_decoder\.", r"sem_seg_head\.predictor\."),
    ),
    Family(
        "a Detectron2 R-CNN checkpoint",
        (r"proposal_generator\.rpn_head\.", r"roi_heads\."),
    ),
    Family("a torchvision Mask R-CNN checkpoint", (r"rpn\.head\.", r"roi_heads\.mask_predictor\.")),
    Family(
        "a torchvision Faster R-CNN checkpoint", (r"rpn\.head\.", r"roi_heads\.box_predictor\.")
    ),
    Family(
        "an MMDetection checkpoint",
        (r"backbone\.", r"(bbox_head|roi_head|rpn_head|mask_head|panoptic_head)\."),
    ),
    Family("an Ultralytics (YOLO) checkpoint", (r"model\.0\.conv\.weight", r"model\.1\.conv\.")),
    Family("a Segment Anything checkpoint", (r"(image_encoder|sam_mask_decoder|mask_decoder)\.",)),
    Family("a ResNet classifier's weights", (r"conv1\.weight", r"layer4\.0\.conv1\."), BACKBONE),
    Family(
        "a Swin Transformer classifier's weights",
        (r"(patch_embed\.proj|features\.0\.0)\.weight", r"head\.weight"),
        BACKBONE,
    ),
)
# Packages whose pickled classes say whose file it is.
PICKLED = {
    "ultralytics": "an Ultralytics (YOLO) checkpoint",
    "models.yolo": "a YOLOv5 checkpoint",
    "mmengine": "an MMDetection checkpoint",
    "mmcv": "an MMDetection checkpoint",
    "torchvision.models": "a whole torchvision network",
    "transformers": "a Transformers (Hugging Face) checkpoint",
    "pytorch_lightning": "a Lightning checkpoint",
}


def family_of(names: Iterable[str]) -> Family | None:
    """The family that weights of these names belong to."""
    names = list(names)
    for family in FAMILIES:
        if all(any(re.match(p, name) for name in names) for p in family.patterns):
            return family
    return None


def describe_names(names: Iterable[str]) -> str:
    """What weights of these names are: the family with what to do, or the names themselves."""
    names = list(names)
    if not names:
        return "no tensors at all"
    if family := family_of(names):
        return f"{family.name}{f': {family.advice}' if family.advice else ''}"
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names)} tensors of an unknown network: {shown}"


def describe_class(name: str) -> str:
    """What a file is that pickles this class."""
    for package, family in PICKLED.items():
        if name.startswith(package + "."):
            return f"{family}, which pickles {name}"
    return name
