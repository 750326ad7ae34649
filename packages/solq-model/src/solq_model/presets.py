"""Presets: functions that return a whole ModelConfig; a variant is `dataclasses.replace`."""

from dataclasses import replace

from solq_model.config import ModelConfig


def r50() -> ModelConfig:
    """SOLQ R50 as published (configs/r50_solq_train.sh)."""
    return ModelConfig()


def r101() -> ModelConfig:
    """SOLQ R101 as published."""
    return replace(r50(), backbone="resnet101")


def sqr_r50() -> ModelConfig:
    """D-DETR + SQR R50, the published baseline with separate query representations.

    The configuration that has as many parameters as the published log counts
    (docs/sqr_baseline_r50_log.txt).
    """
    return replace(r50(), hidden_dim=256, mask_head="spatial")


def sqr_r101() -> ModelConfig:
    """D-DETR + SQR R101."""
    return replace(sqr_r50(), backbone="resnet101")


def swin_t() -> ModelConfig:
    """SOLQ Swin-T as in the published code: trained from the stem on, with stochastic depth."""
    return replace(r50(), backbone="swin_t", frozen_stages=0, drop_path=0.2)


def swin_s() -> ModelConfig:
    """SOLQ Swin-S as in the published code."""
    return replace(swin_t(), backbone="swin_s")


def swin_b() -> ModelConfig:
    """SOLQ Swin-B as in the published code."""
    return replace(swin_t(), backbone="swin_b", drop_path=0.3)


def swin_l() -> ModelConfig:
    """SOLQ Swin-L as published: larger images (training scales 416 to 1088, datasets/coco.py)."""
    return replace(swin_b(), backbone="swin_l", image_short_side=1088)


def swin_l_1536() -> ModelConfig:
    """SOLQ Swin-L "1536" as published: the long side of an image may reach 1536 pixels."""
    return replace(swin_l(), image_max_size=1536)


def fast_solq() -> ModelConfig:
    """The published models/fast_solq.py: the network of R50, whose vector loss is a sum.

    See the recipe fast_solq_coco of solq-train. It cut soft masks at 0.5 after pasting them, where
    this cuts them in the box, midway between their extremes.
    """
    return r50()


def solq_pca() -> ModelConfig:
    """The published models/solq_pca.py: 60 principal components of masks of 28 x 28.

    The components are those of a data set: `model.codec = PCAMaskCodec.load(file)`.
    """
    return replace(r50(), codec="pca", num_coefficients=60, mask_size=28)


def deformable_detr() -> ModelConfig:
    """Deformable DETR R50 as fundamentalvision released it: boxes only (arXiv:2010.04159)."""
    return replace(r50(), mask_head="none", hidden_dim=256, box_refinement=False)


def deformable_detr_refined() -> ModelConfig:
    """Deformable DETR + iterative bounding box refinement, as released."""
    return replace(deformable_detr(), box_refinement=True)


def deformable_detr_two_stage() -> ModelConfig:
    """Deformable DETR ++ two-stage, as released."""
    return replace(deformable_detr_refined(), two_stage=True)


def deformable_detr_single_scale() -> ModelConfig:
    """Deformable DETR (single scale), as released: the last backbone stage alone."""
    return replace(deformable_detr(), num_feature_levels=1)


def deformable_detr_single_scale_dc5() -> ModelConfig:
    """Deformable DETR (single scale, DC5), as released: that stage at twice the resolution."""
    return replace(deformable_detr_single_scale(), dilation=True)


def small() -> ModelConfig:
    """A two-stage network meant to be trained from scratch on one GPU in an hour.

    The backbone's norms are trained, since nothing is pretrained. Two stages with mixed selection,
    whitened vectors and masks in the last layer only are what `tiny` learns quickest by. Three
    levels, half the layers, half the width and images of 480 pixels save time; 100 queries are as
    many as COCO's metric counts.
    """
    return ModelConfig(
        backbone="resnet18",
        backbone_norm="batch",
        frozen_stages=0,
        num_queries=100,
        hidden_dim=192,
        encoder_layers=3,
        decoder_layers=3,
        feedforward_dim=768,
        num_feature_levels=3,
        dropout=0.0,
        two_stage=True,
        query_selection="mixed",
        first_mask_layer=2,
        vector_hidden_dim=512,
        whitened_vectors=True,
        image_short_side=480,
        image_max_size=800,
    )


def tiny() -> ModelConfig:
    """A small two-stage network that trains from scratch on two CPU cores in minutes.

    What each choice is worth was measured: docs/decisions/0003-tiny-recipe.md.
    """
    return ModelConfig(
        backbone="resnet10_w32",
        backbone_norm="batch",
        frozen_stages=0,
        num_classes=3,
        num_queries=30,
        hidden_dim=128,
        num_heads=8,
        encoder_layers=1,
        decoder_layers=3,
        feedforward_dim=256,
        encoder_points=1,
        decoder_points=4,
        num_feature_levels=3,
        dropout=0.0,
        two_stage=True,
        query_selection="mixed",
        proposal_scale=0.1,
        first_mask_layer=2,
        vector_hidden_dim=512,
        whitened_vectors=True,
    )
