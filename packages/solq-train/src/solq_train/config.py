"""TrainConfig: every choice that makes a run. One value per run, all fields visible."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from solq_model import ModelConfig
from solq_train.criterion import LossConfig
from solq_train.metrics import Evaluator


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How images become samples. The defaults are the published transforms."""

    class_slots: Literal["contiguous", "category_id"] = "contiguous"
    """category_id: the id itself is the class slot, as in the published COCO weights."""
    short_sides: tuple[int, ...] = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
    """Sizes in pixels that a training image's short side is scaled to, one by chance."""
    eval_short_side: int = 800
    max_size: int = 1333
    """No image becomes longer than this."""
    horizontal_flip: float = 0.5
    vertical_flip: float = 0.0
    transpose: float = 0.0
    crop: float = 0.5
    """Probability of the crop branch: scale, cut a random part, scale again."""
    crop_resize: tuple[int, ...] = (400, 500, 600)
    crop_size: tuple[int, int] = (384, 600)
    """Smallest and largest side of the random part."""
    jitter_size: int | None = None
    """Large-scale jitter after the flips, in place of the short sides and crops above: an image is
    scaled to a random share of a square of this side, and cut to the square where it is larger."""
    jitter_scale: tuple[float, float] = (0.1, 2.0)
    """Smallest and largest share of large-scale jitter."""
    copy_paste: float = 0.0
    """Probability that objects of another training image are pasted over an image."""
    image_ids: tuple[int, ...] = ()
    """Train on these images only, and evaluate on the same; for overfitting. Empty: all images."""
    num_workers: int = 2
    """Processes that load samples; 0 loads in the training process."""

    def __post_init__(self) -> None:
        if len(set(self.image_ids)) != len(self.image_ids):
            msg = f"data.image_ids must be distinct, got {list(self.image_ids)}"
            raise ValueError(msg)
        if self.num_workers < 0:
            msg = f"data.num_workers must be at least 0, got {self.num_workers}"
            raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW, its parameter groups and its schedule. The defaults are the published ones."""

    learning_rate: float = 2e-4
    backbone_learning_rate: float = 2e-5
    offset_rate_factor: float = 0.1
    """Sampling offsets and reference points learn at this share of the rate."""
    weight_decay: float = 1e-4
    clip_norm: float = 0.1
    """Gradients are scaled down to this norm; 0 leaves them."""
    batch_size: int = 32
    """Images of a step, over all processes and all parts that are accumulated."""
    accumulate: int = 1
    """Parts that a process's batch is computed in, one after another, to need less memory."""
    epochs: int = 50
    schedule: Literal["step", "cosine"] = "step"
    """step: a tenth from `drop_epoch` on; cosine: down to `final_rate_factor` over the run."""
    drop_epoch: int = 40
    warmup_steps: int = 0
    """Steps over which the rate grows linearly from zero."""
    final_rate_factor: float = 0.02

    def __post_init__(self) -> None:
        rates = ("learning_rate", "backbone_learning_rate", "offset_rate_factor")
        for name in (*rates, "batch_size", "accumulate", "epochs", "drop_epoch"):
            if getattr(self, name) <= 0:
                msg = f"optimizer.{name} must be above 0, got {getattr(self, name)}"
                raise ValueError(msg)
        for name in ("weight_decay", "clip_norm", "warmup_steps", "final_rate_factor"):
            if getattr(self, name) < 0:
                msg = f"optimizer.{name} must be at least 0, got {getattr(self, name)}"
                raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole run, made by a recipe, changed by a TOML file and by arguments."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    seed: int = 42
    """The same seed gives the same run."""
    device: str = "auto"
    """auto: the GPU where there is one, else the CPU."""
    max_steps: int | None = None
    """Stop after so many steps; the schedule then runs over these."""
    evaluate_every: int = 1
    """Epochs between evaluations; the last epoch is always evaluated."""
    early_stopping: int = 0
    """End the run after so many evaluations in a row without a higher AP; 0: never. `best` is kept,
    and the schedule is that of the whole run."""
    log_every: int = 10
    """Steps between lines of metrics.jsonl."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: products and convolutions in 16 bits (autocast); weights and losses in 32."""
    ema_decay: float = 0.0
    """Evaluate and keep as `best` the exponential moving average of the weights; 0: the weights."""
    compile: bool = False
    """Compile the network with torch.compile."""
    checkpoint_every: int | None = None
    """Steps between checkpoints, besides the one at the end of every epoch."""
    keep_checkpoints: int = 2
    """Checkpoints that are kept: the last one, and those before it in `earlier/`."""
    tracker: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ()
    """Also show the run there; each needs its extra. W&B sends to its servers unless
    WANDB_MODE=offline, MLflow to MLFLOW_TRACKING_URI where that is set."""
    top_k: int = 100
    """Detections per image that are evaluated."""
    evaluator: Evaluator = "pycocotools"
    """What computes the COCO numbers; hotcoco gives the same sooner, and is an extra."""
    backbone_weights: str | None = None
    """Pretrained backbone: a file of torchvision's weights, or "imagenet" to download them."""
    components: str | None = None
    """File of principal components (PCAMaskCodec.save, or published) for model.codec=pca; without
    one they are those of the initial weights, or fitted to the training masks."""
    initial_weights: str | None = None
    """Start from a saved model's folder, from a hub id (owner/name), or from a published file. The
    network and the size of images are then theirs, unless other values are asked for, and so are
    the class scores of categories with a name that they know."""
    reset_head: bool = False
    """Begin the class scores of all categories anew."""
    checkpoint_activations: bool = False
    """Compute activations again instead of keeping them: less memory, the same numbers."""
    sharding: Literal["none", "full"] = "none"
    """full: each of several processes holds its share of weights, gradients and optimizer state
    (FSDP2), and parts are gathered when they are run: less memory, more traffic, for Swin-L."""

    def __post_init__(self) -> None:
        for name in ("evaluate_every", "log_every", "keep_checkpoints", "top_k"):
            if getattr(self, name) < 1:
                msg = f"{name} must be at least 1, got {getattr(self, name)}"
                raise ValueError(msg)
        if self.early_stopping < 0:
            msg = f"early_stopping must be at least 0, got {self.early_stopping}"
            raise ValueError(msg)
        if len(set(self.tracker)) != len(self.tracker):
            msg = f"tracker must name each one once, got {list(self.tracker)}"
            raise ValueError(msg)
        if not 0 <= self.ema_decay < 1:
            msg = f"ema_decay must be 0 <= ema_decay < 1, got {self.ema_decay}"
            raise ValueError(msg)
        if self.sharding == "full" and self.compile:
            msg = "sharding must be none with compile, got full"
            raise ValueError(msg)
        if self.reset_head and self.initial_weights is None:
            msg = "reset_head must be false without initial_weights, got true"
            raise ValueError(msg)
        if not 0 <= self.seed < 2**63:
            msg = f"seed must be 0 to 2^63 - 1, got {self.seed}"
            raise ValueError(msg)
        for name in ("max_steps", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                msg = f"{name} must be at least 1, got {value}"
                raise ValueError(msg)
