"""The SOLQ network: images → Predictions, readable top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch
from jaxtyping import Float
from torch import Tensor, nn

from solq_model import initialize
from solq_model.attention import DeformableAttention, FeedForward
from solq_model.categories import Categories
from solq_model.checkpointing import Checkpointed
from solq_model.config import ModelConfig
from solq_model.decoder import Decoder, DecoderLayer
from solq_model.encoder import Encoder, EncoderLayer
from solq_model.heads import MLP, LayerHeads, VectorHead
from solq_model.mask_codec import MaskCodec, check_codec, configured_codec
from solq_model.neck import Neck, downsample_padding, flatten_levels
from solq_model.positions import BoxPositions, LearnedPositions, SinePositions
from solq_model.preprocess import Preprocessing
from solq_model.queries import AgnosticQueries, LearnedQueries, MixedQueries, ProposalHead
from solq_model.records import FeatureMap, PaddedImages, Predictions
from solq_model.spatial_masks import PixelFeatures, SpatialMaskHead

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from solq_model.backbones import ResNetBackbone, SwinBackbone
    from solq_model.explain import Explanation
    from solq_model.images import ImageInput
    from solq_model.result import Result


class SOLQ(nn.Module):
    """Segmenting Objects by Learning Queries (arXiv:2106.02351). Made by `build_model`."""

    def __init__(
        self,
        *,
        config: ModelConfig,
        backbone: ResNetBackbone | SwinBackbone,
        neck: Neck,
        encoder: Encoder,
        queries: nn.Module,
        decoder: Decoder,
        class_heads: LayerHeads,
        box_heads: LayerHeads,
        vector_head: VectorHead | None,
        spatial_head: SpatialMaskHead | None,
    ) -> None:
        super().__init__()
        self.config = config
        self.categories = Categories.numbered(config.num_classes)
        self.preprocessing = Preprocessing(
            short_side=config.image_short_side, max_size=config.image_max_size
        )
        self.backbone = backbone
        self.neck = neck
        self.level_embedding = nn.Parameter(
            torch.empty(config.num_feature_levels, config.hidden_dim)
        )
        self.encoder = encoder
        self.queries = queries
        self.decoder = decoder
        self.class_heads = class_heads
        self.box_heads = box_heads
        self.vector_head = vector_head
        self.spatial_head = spatial_head
        self._codec = configured_codec(config)

    @property
    def needs_codec(self) -> bool:
        """Whether the mask vectors cannot be decoded before `codec` is set."""
        return self.config.has_vectors and self._codec is None

    @property
    def codec(self) -> MaskCodec | None:
        """What the mask vectors are written in; None for a network without any.

        That of the configuration. The components of `ModelConfig.codec="pca"` are those of a data
        set: set here, saved with the model.
        """
        if self.needs_codec:
            msg = (
                "codec: this model has ModelConfig.codec='pca' but no components yet; "
                "set model.codec to a PCAMaskCodec (fit or load one)"
            )
            raise ValueError(msg)
        return self._codec

    @codec.setter
    def codec(self, codec: MaskCodec) -> None:
        check_codec(self.config, codec)
        self._codec = codec

    def forward(
        self,
        images: Sequence[Float[Tensor, "3 _ _"]],
        *,
        batch_invariant: bool = False,
        padded_size: tuple[int, int] | None = None,
    ) -> Predictions:
        """Predictions for normalised images of any sizes, padded into one batch.

        The published network lets padding leak into an image's features (convolutions and group
        norm run over it), so that results depend a little on the other images of the batch. With
        `batch_invariant` each image passes the convolutions alone, or with others of its size, and
        its result is that of a batch of one. Published numbers of padded batches need the default.

        `padded_size` (height, width) pads further than the largest image needs, to what a batch
        needs that these images are a part of: they come to the same as in the whole batch.
        """
        if not batch_invariant:
            return self.forward_padded(PaddedImages.from_list(list(images), padded_size))
        return self._predictions(*self._isolated_levels(images))

    def forward_padded(self, images: PaddedImages) -> Predictions:
        """Predictions for a batch that is padded already: all of `forward` that is tensors."""
        maps, pixels = self._features(images)
        levels = [
            self.neck.locate(m, downsample_padding(images.padding, (m.shape[2], m.shape[3])))
            for m in maps
        ]
        return self._predictions(levels, pixels)

    def _features(self, images: PaddedImages) -> tuple[list[Tensor], list[PixelFeatures]]:
        """The maps of all levels, and what spatial masks are made from, where there are any."""
        # Images may be float32 whatever the weights are.
        stages = self.backbone(images.tensors.to(self.level_embedding.dtype))
        maps = self.neck.project(stages)
        if self.spatial_head is None:
            return maps, []
        return maps, self.spatial_head.pixels(stages, maps[-1], images.padding)

    def _predictions(self, levels: list[FeatureMap], pixels: list[PixelFeatures]) -> Predictions:
        memory = self.encoder(flatten_levels(levels, self.level_embedding))
        queries = self.queries(memory)
        layers = []
        decoded = self.decoder(queries, memory, self.box_heads)
        for index, (content, boxes) in enumerate(decoded):
            layers.append(
                Predictions(
                    logits=self.class_heads.at(index)(content),
                    boxes=boxes,
                    mask_vectors=self._mask_vectors(index, content),
                )
            )
        spatial_masks = None
        if self.spatial_head is not None:
            queries_out, _ = decoded[-1]
            coarsest, padding = memory.coarsest_level()
            spatial_masks = self.spatial_head.masks(queries_out, coarsest, padding, pixels)
        return Predictions(
            logits=layers[-1].logits,
            boxes=layers[-1].boxes,
            mask_vectors=layers[-1].mask_vectors,
            auxiliary=tuple(layers[:-1]),
            proposals=queries.proposals,
            spatial_masks=spatial_masks,
        )

    def _mask_vectors(self, layer: int, content: Tensor) -> Tensor | None:
        if self.vector_head is None or layer < self.config.first_mask_layer:
            return None
        vectors: Tensor = self.vector_head(content)
        return vectors

    def _isolated_levels(
        self, images: Sequence[Tensor]
    ) -> tuple[list[FeatureMap], list[PixelFeatures]]:
        PaddedImages.from_list(list(images))  # the same checks of the argument
        alone: dict[int, list[Tensor]] = {}
        pixels: dict[int, PixelFeatures] = {}
        for group in _of_one_size(images):  # without padding, nothing leaks
            together = PaddedImages.from_list([images[index] for index in group])
            joint_maps, joint_pixels = self._features(together)
            alone |= {i: [m[row : row + 1] for m in joint_maps] for row, i in enumerate(group)}
            pixels |= dict(zip(group, joint_pixels, strict=False))  # none without spatial masks
        levels = []
        for maps in zip(*(alone[index] for index in range(len(images))), strict=True):
            height = max(m.shape[2] for m in maps)
            width = max(m.shape[3] for m in maps)
            features = maps[0].new_zeros(len(maps), maps[0].shape[1], height, width)
            padding = torch.ones(len(maps), height, width, dtype=torch.bool, device=features.device)
            for index, m in enumerate(maps):
                features[index, :, : m.shape[2], : m.shape[3]] = m[0]
                padding[index, : m.shape[2], : m.shape[3]] = False
            levels.append(self.neck.locate(features, padding))
        return levels, [pixels[index] for index in sorted(pixels)]

    def checkpoint_activations(self, enabled: bool = True) -> SOLQ:
        """Itself; in training it then keeps few activations, and computes the others again.

        Losses and gradients are the same numbers. Parts with batch norms in training keep theirs.
        """
        for module in self.modules():
            if isinstance(module, Checkpointed):
                module.checkpointing = enabled
        return self

    # Arrays, tensors and strings are iterable too: mypy cannot tell that the first fit decides.
    @overload
    def predict(  # type: ignore[overload-overlap]
        self,
        images: Image.Image | np.ndarray[Any, Any] | Tensor,
        *,
        threshold: float = ...,
        top_k: int = ...,
        batch_size: int = ...,
    ) -> Result: ...

    # A file or a folder: which, no type tells. Any spares callers the question.
    @overload
    def predict(  # type: ignore[overload-overlap]
        self,
        images: str | Path,
        *,
        threshold: float = ...,
        top_k: int = ...,
        batch_size: int = ...,
    ) -> Result | Any: ...

    @overload
    def predict(
        self,
        images: Iterable[ImageInput],
        *,
        threshold: float = ...,
        top_k: int = ...,
        batch_size: int = ...,
    ) -> list[Result]: ...

    def predict(
        self,
        images: ImageInput | Iterable[ImageInput],
        *,
        threshold: float = 0.5,
        top_k: int = 100,
        batch_size: int = 1,
    ) -> Result | list[Result]:
        """The objects found with a score of at least `threshold`: a `Result`, or a list of them.

        One image gives a `Result`; it is a path, a PIL image, an array `[height, width, 3]` or a
        tensor `[3, height, width]`, see `solq_model.images.open_image`. Several of these, or a
        folder, give a list in their order; `batch_size` changes how many pass the network
        together, not what is found. An image that cannot be opened raises ValueError.
        """
        from solq_model.predict import PredictOptions, predict

        options = PredictOptions(threshold=threshold, top_k=top_k, batch_size=batch_size)
        return predict(self, images, options)

    def predict_each(
        self,
        images: ImageInput | Iterable[ImageInput],
        *,
        threshold: float = 0.5,
        top_k: int = 100,
        batch_size: int = 1,
        on_error: Callable[[int, ValueError], None] | None = None,
    ) -> Iterator[Result]:
        """The `Result` of each image in order, as `predict`, for any number of images.

        Memory does not grow with their number: with `batch_size` 1 an image is taken from `images`
        when its result is asked for; otherwise four batches of them are, to join like sizes. Where
        an image cannot be opened, `on_error` is called with its index and the error in place of its
        result, and the next one follows; by default the error is raised, after the results before.
        """
        from solq_model.predict import PredictOptions, predict_each

        options = PredictOptions(threshold=threshold, top_k=top_k, batch_size=batch_size)
        return predict_each(self, images, options, on_error)

    def explain(
        self,
        image: ImageInput,
        *,
        query: int | None = None,
        instance: int | None = None,
        threshold: float = 0.5,
    ) -> Explanation:
        """Where one query of the decoder looks in an image, layer by layer, and what it finds.

        Either the query of that number, or the one behind the instance of that number of
        `predict(image, threshold=threshold)`; the best instance if neither is given.
        """
        from solq_model.explain import explain

        return explain(self, image, query=query, instance=instance, threshold=threshold)

    def save(self, directory: str | Path) -> None:
        """Write weights, configuration and categories; see `SOLQ.load`."""
        from solq_model.saved import save_model

        save_model(self, Path(directory))

    @staticmethod
    def load(name: str | Path, *, num_classes: int | None = None) -> SOLQ:
        """A saved model, in evaluation mode. Nothing in its folder is executed.

        `name` is the folder, or the id of a model on the Hugging Face hub: `owner/name[@revision]`
        or `hf://owner/name[@revision]`. With `num_classes` all weights are loaded but those of the
        class head, which begins anew with so many class slots.
        """
        from solq_model.hub import find_folder
        from solq_model.saved import load_model

        return load_model(find_folder(name), num_classes=num_classes)


def _of_one_size(images: Sequence[Tensor]) -> list[list[int]]:
    """The indices of the images, those of one height and width together."""
    groups: dict[torch.Size, list[int]] = {}
    for index, image in enumerate(images):
        groups.setdefault(image.shape, []).append(index)
    return list(groups.values())


def build_model(config: ModelConfig) -> SOLQ:
    """The network of a configuration, with fresh weights from torch's global random state."""
    hidden_dim = config.hidden_dim
    backbone = _backbone(config, num_outputs=min(config.num_feature_levels, 3))
    sine = config.position_embedding == "sine"
    positions = (
        SinePositions(hidden_dim) if sine else LearnedPositions(hidden_dim, config.position_cells)
    )
    model = SOLQ(
        config=config,
        backbone=backbone,
        neck=Neck(backbone.num_channels, hidden_dim, config.num_feature_levels, positions),
        encoder=Encoder([_encoder_layer(config) for _ in range(config.encoder_layers)]),
        queries=_query_source(config),
        decoder=Decoder(
            [_decoder_layer(config) for _ in range(config.decoder_layers)],
            box_refinement=config.box_refinement,
            box_positions=BoxPositions(hidden_dim) if _is_mixed(config) else None,
        ),
        class_heads=_per_layer(_class_head(config), config),
        box_heads=_per_layer(_box_head(config), config),
        vector_head=_vector_head(config) if config.has_vectors else None,
        spatial_head=_spatial_head(config, backbone) if config.mask_head == "spatial" else None,
    )
    _initialize(model)
    return model


def _backbone(config: ModelConfig, num_outputs: int) -> ResNetBackbone | SwinBackbone:
    # Not before a network is built: torchvision, which they stand on, takes seconds to import.
    from solq_model.backbones import ResNetBackbone, SwinBackbone

    if config.backbone.startswith("swin"):
        return SwinBackbone(
            name=config.backbone,
            frozen_stages=config.frozen_stages,
            frozen_stem=config.frozen_stem,
            drop_path=config.drop_path,
            num_outputs=num_outputs,
        )
    return ResNetBackbone(
        name=config.backbone,
        norm=config.backbone_norm,
        frozen_stages=config.frozen_stages,
        frozen_stem=config.frozen_stem,
        dilation=config.dilation,
        deformable=config.deformable_convolutions,
        num_outputs=num_outputs,
    )


def _is_mixed(config: ModelConfig) -> bool:
    return config.two_stage and config.query_selection == "mixed"


def _encoder_layer(config: ModelConfig) -> EncoderLayer:
    return EncoderLayer(
        _attention(config, config.encoder_points), _feedforward(config), config.dropout
    )


def _decoder_layer(config: ModelConfig) -> DecoderLayer:
    self_attention = nn.MultiheadAttention(
        config.hidden_dim, config.num_heads, dropout=config.dropout, batch_first=True
    )
    return DecoderLayer(
        self_attention,
        _attention(config, config.decoder_points),
        _feedforward(config),
        config.dropout,
    )


def _attention(config: ModelConfig, num_points: int) -> DeformableAttention:
    return DeformableAttention(
        config.hidden_dim, config.num_heads, config.num_feature_levels, num_points
    )


def _feedforward(config: ModelConfig) -> FeedForward:
    return FeedForward(config.hidden_dim, config.feedforward_dim, config.activation, config.dropout)


def _class_head(config: ModelConfig) -> nn.Linear:
    head = nn.Linear(config.hidden_dim, config.num_classes)
    initialize.initialize_class_head(head)
    return head


def _box_head(config: ModelConfig) -> MLP:
    head = MLP(config.hidden_dim, config.hidden_dim, 4, num_layers=3)
    initialize.initialize_box_head(head, size_bias=0.0)
    return head


def _vector_head(config: ModelConfig) -> VectorHead:
    return VectorHead(
        config.hidden_dim,
        config.vector_hidden_dim,
        config.num_coefficients,
        whitened=config.whitened_vectors,
    )


def _spatial_head(config: ModelConfig, backbone: ResNetBackbone | SwinBackbone) -> SpatialMaskHead:
    return SpatialMaskHead(config.hidden_dim, config.num_heads, backbone.num_channels)


def _per_layer(head: nn.Module, config: ModelConfig) -> LayerHeads:
    """Own heads for each layer with box refinement, one for all without (solq.py:111-121)."""
    count = config.decoder_layers if config.box_refinement else 1
    return LayerHeads([deepcopy(head) for _ in range(count)])


def _query_source(config: ModelConfig) -> nn.Module:
    if not config.two_stage:
        return LearnedQueries(config.num_queries, config.hidden_dim)
    head = ProposalHead(_class_head(config), _box_head(config), config.proposal_scale)
    source = MixedQueries if _is_mixed(config) else AgnosticQueries
    return source(config.num_queries, head)


def _initialize(model: SOLQ) -> None:
    for part in (model.encoder, model.decoder):
        initialize.initialize_transformer(part)
    initialize.initialize_queries(model.queries)
    nn.init.normal_(model.level_embedding)
    for projection in model.neck.projections:
        assert isinstance(projection, nn.Sequential)
        assert isinstance(projection[0], nn.Conv2d)
        initialize.initialize_projection(projection[0])
    if isinstance(model.neck.positions, LearnedPositions):
        initialize.initialize_positions(model.neck.positions)
    first = model.box_heads.at(0)
    assert isinstance(first, MLP)
    initialize.initialize_box_head(first, size_bias=0.0 if model.config.two_stage else -2.0)
    if model.vector_head is not None:
        bias = 0.0 if model.config.whitened_vectors else -2.0
        initialize.initialize_vector_head(model.vector_head.mlp, bias=bias)
    if model.spatial_head is not None:
        initialize.initialize_spatial_head(model.spatial_head)
