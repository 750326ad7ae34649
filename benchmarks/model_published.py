"""The published SOLQ R50, out of a checkout of megvii-research/SOLQ, made to run on a CPU.

Its modules are imported as they are. What cannot be had on a CPU, or has no part in the network
(detectron2, OpenCV, the extension for CUDA, …), is replaced by nothing, and its deformable
attention by the plain torch function that it comes with.
"""

import importlib
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torchvision
from torch import Tensor, nn

COMMIT = "97f537c"
REPLACED = (
    "MultiScaleDeformableAttention",
    "cv2",
    "detectron2",
    "detectron2.layers",
    "detectron2.structures",
    "detectron2.utils",
    "detectron2.utils.memory",
    "matplotlib",
    "matplotlib.pyplot",
    "pywt",
    "torch_dct",
    "tqdm",
)
# configs/r50_solq_train.sh, and the defaults of main.py beside it.
OPTIONS: dict[str, Any] = {
    "activation": "relu",
    "aux_loss": True,
    "backbone": "resnet50",
    "bbox_loss_coef": 5,
    "checkpoint": False,
    "cls_loss_coef": 2,
    "dataset_file": "coco",
    "dcn": False,
    "dec_layers": 6,
    "dec_n_points": 4,
    "device": "cpu",
    "dilation": False,
    "dim_feedforward": 1024,
    "dropout": 0.1,
    "enc_layers": 6,
    "enc_n_points": 4,
    "eval": False,
    "focal_alpha": 0.25,
    "giou_loss_coef": 2,
    "gt_mask_len": 128,
    "hidden_dim": 384,
    "lr_backbone": 2e-5,
    "masks": True,
    "n_keep": 256,
    "nheads": 8,
    "no_vector_loss_norm": False,
    "num_feature_levels": 4,
    "num_queries": 300,
    "position_embedding": "sine",
    "set_cost_bbox": 5,
    "set_cost_class": 2,
    "set_cost_giou": 2,
    "two_stage": False,
    "vector_hidden_dim": 1024,
    "vector_loss_coef": 3,
    "vector_start_stage": 0,
    "with_box_refine": True,
    "with_vector": True,
}


def published_model(checkout: Path) -> nn.Module:
    """The published network with fresh weights; it takes a list of images."""
    model, _ = published_model_and_criterion(checkout)
    return model


def published_model_and_criterion(checkout: Path) -> tuple[nn.Module, nn.Module]:
    """The published network with fresh weights, and its losses, which lack their libraries."""
    if not (checkout / "models" / "solq.py").is_file():
        msg = f"{checkout}: not a checkout of megvii-research/SOLQ (no models/solq.py)"
        raise SystemExit(msg)
    with importable(checkout):
        # Before the backbone takes it: no weights are downloaded.
        importlib.import_module("util.misc").is_main_process = lambda: False
        published = importlib.import_module("models.solq")
        functions = importlib.import_module("models.ops.functions.ms_deform_attn_func")
        layer = importlib.import_module("models.ops.modules.ms_deform_attn")

    def attend(
        value: Tensor, shapes: Tensor, _: Tensor, points: Tensor, weights: Tensor, __: int
    ) -> Tensor:
        output: Tensor = functions.ms_deform_attn_core_pytorch(value, shapes, points, weights)
        return output

    layer.MSDeformAttnFunction = SimpleNamespace(apply=attend)
    with mock.patch("builtins.print"):
        model, criterion, _ = published.build(Namespace(**OPTIONS))
    assert isinstance(model, nn.Module)
    assert isinstance(criterion, nn.Module)
    return model, criterion


@contextmanager
def importable(checkout: Path) -> Iterator[None]:
    """Within it, the modules of the checkout can be imported, those it lacks as empty ones."""
    replaced = {name: mock.MagicMock(name=name) for name in REPLACED}
    with (
        mock.patch.dict(sys.modules, replaced),
        mock.patch.object(sys, "path", [str(checkout), *sys.path]),
        # It reads 0.2x as older than 0.5.
        mock.patch.object(torchvision, "__version__", "0.9"),
        mock.patch("builtins.print"),
    ):
        yield
