"""Recipes: functions that return a whole TrainConfig; a variant is `dataclasses.replace`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from solq_model import ModelConfig, presets
from solq_train.config import DataConfig, OptimizerConfig, TrainConfig
from solq_train.criterion import LossConfig


def r50_coco() -> TrainConfig:
    """SOLQ R50 on COCO as published: 50 epochs, batch 32 (configs/r50_solq_train.sh)."""
    return TrainConfig(
        model=presets.r50(),
        data=DataConfig(class_slots="category_id"),
        backbone_weights="imagenet",
    )


def r101_coco() -> TrainConfig:
    """SOLQ R101 on COCO as published."""
    return replace(r50_coco(), model=presets.r101())


def swin_l_coco() -> TrainConfig:
    """SOLQ Swin-L on COCO as published: training scales 416 to 1088 (datasets/coco.py).

    Torchvision has no weights for it; `backbone_weights` names a file that its authors published.
    """
    return _on_large_images(presets.swin_l())


def swin_l_1536_coco() -> TrainConfig:
    """SOLQ Swin-L on COCO with images of up to 1536 pixels, as published."""
    return _on_large_images(presets.swin_l_1536())


def _on_large_images(model: ModelConfig) -> TrainConfig:
    recipe = r50_coco()
    data = replace(
        recipe.data,
        short_sides=tuple(range(416, 1089, 32)),
        eval_short_side=model.image_short_side,
        max_size=model.image_max_size,
    )
    return replace(recipe, model=model, data=data, backbone_weights=None)


def sqr_r50_coco() -> TrainConfig:
    """The published baseline D-DETR + SQR R50 on COCO, by the same recipe."""
    return replace(r50_coco(), model=presets.sqr_r50())


# main.py's default coefficient: no script was published for the two recipes below, and one that
# suits SOLQ's mean weighs a sum 256 times as much.
UNTUNED_VECTOR_WEIGHT = 0.7


def fast_solq_coco() -> TrainConfig:
    """The published models/fast_solq.py on COCO: its vector loss is the sum over coefficients."""
    return replace(
        r50_coco(),
        model=presets.fast_solq(),
        loss=LossConfig(vector_weight=UNTUNED_VECTOR_WEIGHT, vector_reduction="sum"),
    )


def solq_pca_coco() -> TrainConfig:
    """The published models/solq_pca.py on COCO: principal components, squared distance and dice.

    Components are fitted to the training masks unless `components` names a file.
    """
    return replace(
        r50_coco(),
        model=presets.solq_pca(),
        loss=LossConfig(
            vector_weight=UNTUNED_VECTOR_WEIGHT,
            vector_distance="mse",
            dice_weight=UNTUNED_VECTOR_WEIGHT,
        ),
    )


def tiny_cpu() -> TrainConfig:
    """A small network from scratch on small images, minutes on two CPU cores.

    What each departure from the published recipe is worth: docs/decisions/0003-tiny-recipe.md.
    """
    return TrainConfig(
        model=presets.tiny(),
        data=DataConfig(
            short_sides=(128,),
            eval_short_side=128,
            max_size=256,
            vertical_flip=0.5,
            transpose=0.5,
            crop=0.0,
            num_workers=0,
        ),
        loss=LossConfig(vector_space="whitened", mask_weight=2.0, mask_loss_size=64),
        optimizer=OptimizerConfig(
            learning_rate=1e-3,
            backbone_learning_rate=1e-3,
            offset_rate_factor=1.0,
            clip_norm=0.1,
            batch_size=8,
            epochs=8,
            schedule="cosine",
            warmup_steps=40,
        ),
        top_k=30,
    )


def small() -> TrainConfig:
    """The `small` network from scratch: 480 pixels, half the layers and width, for one GPU.

    `tiny_cpu`'s departures from the published recipe (docs/decisions/0003-tiny-recipe.md), with
    the published flips and crops, which photographs can bear. Not trained on COCO yet.
    """
    tiny, model = tiny_cpu(), presets.small()
    return replace(
        tiny,
        model=model,
        data=DataConfig(
            short_sides=tuple(range(320, 513, 32)),
            eval_short_side=model.image_short_side,
            max_size=model.image_max_size,
            crop_resize=(320, 400, 480),
            crop_size=(256, 480),
        ),
        optimizer=replace(
            tiny.optimizer,
            learning_rate=4e-4,
            backbone_learning_rate=4e-4,
            batch_size=16,
            epochs=24,
            warmup_steps=500,
        ),
        top_k=100,
    )


def small_finetune() -> TrainConfig:
    """Any of our models on a data set of tens to thousands of images; needs `initial_weights`.

    Network and image sizes are those of the weights; the rates are the published ones, since below
    the rates it was trained at a network fell behind one from scratch. For the same reason weights
    of `tiny_cpu` and `small` go on with their own recipes. A cosine, so that a short run ends
    settled; ten evaluations without a higher AP end it (docs/decisions/0014-fine-tuning.md).
    """
    return TrainConfig(
        model=presets.r50(),
        optimizer=OptimizerConfig(
            batch_size=8,
            epochs=30,
            schedule="cosine",
            warmup_steps=20,
        ),
        early_stopping=10,
    )


# Of COCO train2017, 640 x 480 pixels each: batch norm learns no statistics of padding.
OVERFIT_IMAGES = (89, 194, 208, 389, 450, 173350, 196393, 458756)


def overfit_8() -> TrainConfig:
    """The small network learns eight photographs of COCO by heart: it can learn real images."""
    recipe = tiny_cpu()
    return replace(
        recipe,
        model=replace(recipe.model, num_queries=100, num_classes=80),
        data=replace(
            recipe.data,
            short_sides=(320,),
            eval_short_side=320,
            max_size=480,
            vertical_flip=0.0,
            transpose=0.0,
            horizontal_flip=0.0,
            image_ids=OVERFIT_IMAGES,
        ),
        optimizer=replace(recipe.optimizer, batch_size=4, epochs=250),
        evaluate_every=50,
        top_k=100,
    )


RECIPES: dict[str, Callable[[], TrainConfig]] = {
    function.__name__: function
    for function in (
        tiny_cpu,
        overfit_8,
        small,
        small_finetune,
        r50_coco,
        r101_coco,
        swin_l_coco,
        swin_l_1536_coco,
        sqr_r50_coco,
        fast_solq_coco,
        solq_pca_coco,
    )
}

# Recipes that go on from weights, and are nothing without them.
FINE_TUNING = ("small_finetune",)
