"""The principal components of a run: read, or fitted to the masks it trains on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from solq_maskcodec import PCAMaskCodec
from solq_model import SOLQ
from solq_train.config import TrainConfig
from solq_train.data import CocoInstances

# Objects whose masks are fitted to: many times the 60 components of the published file.
FITTED_OBJECTS = 5000


def set_components(
    model: SOLQ, config: TrainConfig, dataset: CocoInstances, indices: Sequence[int]
) -> None:
    """Give a model with `codec="pca"` its components; any other is left as it is.

    From `config.components`, else those that came with the initial weights, else fitted to the
    masks of the samples at `indices`.
    """
    if not config.model.has_vectors or config.model.codec != "pca":
        if config.components is not None:
            msg = "components can be given with model.codec=pca only"
            raise ValueError(msg)
        return
    if config.components is not None:
        model.codec = _read(Path(config.components))
    elif model.needs_codec:
        model.codec = fit_components(config, dataset, indices)


def _read(path: Path) -> PCAMaskCodec:
    try:
        return PCAMaskCodec.load(path)
    except FileNotFoundError as error:
        msg = f"components {path}: no such file"
        raise ValueError(msg) from error


def fit_components(
    config: TrainConfig, dataset: CocoInstances, indices: Sequence[int]
) -> PCAMaskCodec:
    """The components of the masks of these samples, as they are trained on."""
    size = config.model.mask_size
    masks = [torch.zeros(0, size, size, dtype=torch.bool)]
    for index in indices:
        _, target = dataset[index]
        assert target.box_masks is not None
        masks.append(target.box_masks)
        if sum(map(len, masks)) >= FITTED_OBJECTS:
            break
    stacked = torch.cat(masks)
    try:
        return PCAMaskCodec.fit(stacked, config.model.num_coefficients)
    except ValueError as error:
        msg = (
            f"{dataset.coco.path}: its {len(stacked)} masks do not give the components of "
            f"model.num_coefficients={config.model.num_coefficients}: {error}"
        )
        raise ValueError(msg) from error
