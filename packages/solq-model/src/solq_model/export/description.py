"""What an exported file says of itself: categories, preprocessing, versions, where it is from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from importlib.metadata import version

import torch
from torch import nn

from solq_model.export.inference import InferenceModule
from solq_model.preprocess import IMAGENET_MEAN, IMAGENET_STD

FORMAT = "solq-export/1"


def describe(module: InferenceModule) -> str:
    """JSON with all that a program must know to use the file without this package."""
    model = module.model
    description = {
        "format": FORMAT,
        "solq_model": version("solq-model"),
        "torch": torch.__version__,
        "weights_sha256": weights_sha256(model),
        "config": asdict(model.config),
        "categories": model.categories.to_json(),
        "preprocessing": {
            **model.preprocessing.to_json(),
            "color": "RGB",
            "pixels": module.pixels,
            "mean": IMAGENET_MEAN,
            "deviation": IMAGENET_STD,
        },
        "sides_greater_than": module.stride,
        "sampling": module.sampling,
        "codec": None if module.codec is None else repr(module.codec),
        "outputs": module.output_names,
    }
    return json.dumps(description)


def weights_sha256(model: nn.Module) -> str:
    """The digest of all weights by name, the same on every device."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
