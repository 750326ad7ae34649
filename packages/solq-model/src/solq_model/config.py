"""ModelConfig: every choice that makes a network."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

Backbone = Literal[
    "resnet10_w32",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "swin_t",
    "swin_s",
    "swin_b",
    "swin_l",
]
# The blocks of these have the 3 x 3 convolution that dilates and deforms.
BOTTLENECKS = ("resnet50", "resnet101")
Activation = Literal["relu", "gelu", "silu"]
PositionEmbedding = Literal["sine", "learned"]
BackboneNorm = Literal["frozen", "batch"]
QuerySelection = Literal["agnostic", "mixed"]
MaskHead = Literal["vector", "spatial", "none"]
Codec = Literal["dct", "pca"]

# Integers that may be 0; every other is at least 1.
FROM_ZERO = ("frozen_stages", "first_mask_layer")

# What a field of each type takes. Exact types: True and False are no numbers.
KINDS: dict[type, tuple[str, tuple[type, ...]]] = {
    int: ("an integer", (int,)),
    float: ("a number", (int, float)),
    bool: ("true or false", (bool,)),
}


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A network. The defaults are the published SOLQ R50 configuration."""

    backbone: Backbone = "resnet50"
    """resnet10_w32 is one basic block a stage at half width, for training on a CPU."""
    backbone_norm: BackboneNorm = "frozen"
    """frozen: constant, for pretrained weights (published); batch: trained from scratch.

    Of a ResNet; Swin Transformers have layer norms, which are always trained."""
    frozen_stages: int = 1
    """Backbone stages that are never trained: 0 none, 1 stem and first stage (published), … 4.

    The published Swin Transformers are trained from the stem on (0); their own `frozen_stages` is
    -1 for that, and one more than ours from 2 on."""
    frozen_stem: bool = False
    """The stem (a Swin Transformer's patch embedding) is never trained, even with frozen_stages=0;
    with more it never is. For the published Swin Transformers' `frozen_stages` of 0 and 1."""
    dilation: bool = False
    """The last backbone stage keeps its resolution and dilates its filters instead (DC5).

    Of a ResNet with bottleneck blocks."""
    deformable_convolutions: bool = False
    """The 3 x 3 convolutions of the last three stages are deformable and modulated (published:
    --dcn). Of a ResNet with bottleneck blocks."""
    drop_path: float = 0.0
    """The rate at which the last block of a Swin Transformer is skipped in training; blocks before
    it less often, the first never (stochastic depth, arXiv:1603.09382)."""

    num_classes: int = 91
    """Class slots. The published COCO weights use the category id itself as the slot."""
    num_queries: int = 300
    hidden_dim: int = 384
    num_heads: int = 8
    encoder_layers: int = 6
    decoder_layers: int = 6
    feedforward_dim: int = 1024
    encoder_points: int = 4
    decoder_points: int = 4
    num_feature_levels: int = 4
    """Levels of features: up to three backbone stages, then strided convolutions."""
    activation: Activation = "relu"
    dropout: float = 0.1
    position_embedding: PositionEmbedding = "sine"
    position_cells: int = 50
    """Rows and columns that learned positions reach (published: 50); sine positions have no end."""

    box_refinement: bool = True
    """Each decoder layer corrects the boxes of the layer before."""
    two_stage: bool = False
    """The encoder proposes boxes, the best of which become the queries."""
    query_selection: QuerySelection = "agnostic"
    """How two stages make queries. agnostic: one "object" score, content and position from the
    proposed box (Deformable DETR, published). mixed: per-class scores, learned content, position
    from the current box at each layer (DINO, arXiv:2203.03605, section 3.4)."""
    proposal_scale: float = 0.05
    """Side of the boxes proposed at the finest level, in shares of the image; doubles per level."""

    mask_head: MaskHead = "vector"
    """vector: a mask vector per query (SOLQ); spatial: mask logits of the image, from where a query
    attends (DETR for segmentation, and the published baseline D-DETR + SQR); none: a detector of
    boxes (Deformable DETR)."""
    first_mask_layer: int = 0
    """The decoder layers before this one predict no masks, and are taught none (published:
    --vector_start_stage)."""
    codec: Codec = "dct"
    """What mask vectors are written in. dct: low frequencies (published); pca: components of a data
    set's masks, which are set as `SOLQ.codec` and saved with the model."""
    num_coefficients: int = 256
    mask_size: int = 128
    vector_hidden_dim: int = 1024
    whitened_vectors: bool = False
    """The mask head predicts coefficients relative to stored means and deviations of a data set."""

    image_short_side: int = 800
    """Pixels that the short side of an image is scaled to; what `SOLQ.preprocessing` begins as."""
    image_max_size: int = 1333
    """No image becomes longer than this; the scale follows from it where the long side binds."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for name in [field.name for field in fields(self)]:
            value = getattr(self, name)
            choices = get_args(hints[name])
            if choices and value not in choices:
                _reject(name, f"one of {', '.join(choices)}", value)
            if not choices and type(value) not in KINDS[hints[name]][1]:
                _reject(name, KINDS[hints[name]][0], value)
            if hints[name] is int and name not in FROM_ZERO and value < 1:
                _reject(name, "at least 1", value)
        if not 0 <= self.frozen_stages <= 4:
            _reject("frozen_stages", "0..4", self.frozen_stages)
        if not 0 <= self.first_mask_layer < self.decoder_layers:
            expected = f"0..{self.decoder_layers - 1} with {self.decoder_layers} decoder_layers"
            _reject("first_mask_layer", expected, self.first_mask_layer)
        for name in ("dropout", "drop_path"):
            if not 0 <= getattr(self, name) < 1:
                _reject(name, f"0 <= {name} < 1", getattr(self, name))
        self._check_backbone()
        if self.mask_head == "spatial":
            self._check_spatial_head()
        if self.image_max_size < self.image_short_side:
            expected = f"at least image_short_side ({self.image_short_side})"
            _reject("image_max_size", expected, self.image_max_size)
        if not 0 < self.proposal_scale < 1:
            _reject("proposal_scale", "between 0 and 1", self.proposal_scale)
        if self.hidden_dim % self.num_heads or self.hidden_dim % 32:
            # 32: the groups of the group norm on the projected features.
            expected = f"a multiple of 32 and of num_heads ({self.num_heads})"
            _reject("hidden_dim", expected, self.hidden_dim)
        if self.num_feature_levels > 5:
            _reject("num_feature_levels", "1..5", self.num_feature_levels)
        if self.num_coefficients > self.mask_size**2:
            _reject(
                "num_coefficients",
                f"at most mask_size^2 ({self.mask_size**2})",
                self.num_coefficients,
            )
        if self.whitened_vectors and not self.has_vectors:
            _reject("whitened_vectors", f"false with mask_head={self.mask_head!r}", True)
        if self.two_stage and not self.box_refinement:
            _reject(
                "two_stage",
                "box_refinement to be on (proposals are boxes to refine)",
                self.two_stage,
            )

    @property
    def has_masks(self) -> bool:
        """Whether the network segments; else it only finds boxes."""
        return self.mask_head != "none"

    @property
    def has_vectors(self) -> bool:
        """Whether masks are predicted as vectors, which a codec decodes."""
        return self.mask_head == "vector"

    def _check_backbone(self) -> None:
        if self.backbone not in BOTTLENECKS:
            for name in ("dilation", "deformable_convolutions"):
                if getattr(self, name):
                    expected = f"false with {self.backbone} (needs {' or '.join(BOTTLENECKS)})"
                    _reject(name, expected, getattr(self, name))
        if not self.backbone.startswith("swin"):
            if self.drop_path:
                _reject("drop_path", f"0 with {self.backbone}", self.drop_path)
            return
        if self.backbone_norm != "frozen":
            _reject("backbone_norm", f"left at frozen with {self.backbone}", self.backbone_norm)

    def _check_spatial_head(self) -> None:
        # The narrowest maps of the head have hidden_dim / 16 channels, the widest one more per
        # attention head; all are normed in 8 groups.
        if self.hidden_dim % 128:
            _reject("hidden_dim", "a multiple of 128 with mask_head='spatial'", self.hidden_dim)
        if self.num_heads % 8:
            _reject("num_heads", "a multiple of 8 with mask_head='spatial'", self.num_heads)
        if self.num_feature_levels < 3:
            # The head builds on three backbone stages.
            expected = "3..5 with mask_head='spatial'"
            _reject("num_feature_levels", expected, self.num_feature_levels)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ModelConfig:
        """The config from plain values; unknown keys are an error."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            msg = f"unknown model config key(s) {', '.join(unknown)}"
            raise ValueError(msg)
        return cls(**values)


def _reject(name: str, expected: str, got: object) -> None:
    msg = f"ModelConfig.{name} must be {expected}, got {got!r}"
    raise ValueError(msg)
