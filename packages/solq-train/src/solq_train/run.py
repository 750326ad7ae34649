"""Configuration + data → everything a run needs: model, loader, criterion, optimizer, schedule."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from solq_model import Categories, build_model
from solq_model.preprocess import Preprocessing
from solq_model.solq import SOLQ
from solq_train.backbone_weights import load_backbone
from solq_train.checkpoint import Trained
from solq_train.components import set_components
from solq_train.config import TrainConfig
from solq_train.criterion import Criterion, LossConfig
from solq_train.data import CocoInstances, EpochSampler, Split, Target, read_coco
from solq_train.distributed import ALONE, Processes
from solq_train.finetuning import load_initial_weights
from solq_train.loading import chosen_samples, make_dataset, make_loader, vector_statistics
from solq_train.metrics.scoring import library
from solq_train.optim import build_optimizer, build_schedule
from solq_train.sharding import local, shard, whole_model

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Run:
    """All parts of a training run."""

    config: TrainConfig  # resolved: as it is run
    processes: Processes
    model: SOLQ
    network: nn.Module  # the model as it is trained: compiled, or one of several processes'
    average: AveragedModel | None  # of the model's weights
    dataset: CocoInstances
    sampler: EpochSampler
    loader: DataLoader[tuple[Tensor, Target]]
    criterion: Criterion
    optimizer: AdamW
    schedule: LambdaLR
    device: torch.device
    steps_per_epoch: int
    total_steps: int
    notes: tuple[str, ...] = ()  # what was decided on the way, to be told

    @property
    def evaluated_model(self) -> SOLQ:
        """The model that is evaluated and kept: the average where there is one.

        A whole copy of it where it is sharded, for which all processes have to ask together.
        """
        if self.average is None:
            return whole_model(self.model)
        assert isinstance(self.average.module, SOLQ)
        return whole_model(self.average.module)

    @property
    def trained(self) -> Trained:
        """What a checkpoint has to hold."""
        return Trained(
            model=self.model,
            optimizer=self.optimizer,
            schedule=self.schedule,
            average=self.average,
        )

    @property
    def num_samples(self) -> int:
        """Images that are trained on."""
        return len(self.config.data.image_ids) or len(self.dataset)

    @property
    def batch_size(self) -> int:
        """Images of a step, over all processes."""
        assert self.loader.batch_size is not None
        return self.loader.batch_size * self.processes.count

    def epoch_of(self, step: int) -> int:
        """The epoch, counted from 1, that a finished step was in."""
        return -(-step // self.steps_per_epoch)


def prepare_run(config: TrainConfig, split: Split, processes: Processes = ALONE) -> Run:
    """Build a run; refuses what cannot work before the first step."""
    device = resolve_device(config.device, processes.local_rank)
    library(config.evaluator)
    torch.manual_seed(config.seed)
    config, categories = fit_classes(config, split.annotations)
    if config.precision != "float32" and config.model.mask_head == "spatial":
        msg = f"precision must be float32 with mask_head=spatial, got {config.precision}"
        raise ValueError(msg)
    if config.sharding == "full" and processes.count == 1:
        msg = "sharding must be none with one process, got full"
        raise ValueError(msg)
    dataset = make_dataset(config, split, categories)
    notes: tuple[str, ...] = ()
    model = build_model(config.model)
    model.categories = categories
    model.preprocessing = Preprocessing(
        short_side=config.data.eval_short_side, max_size=config.data.max_size
    )
    if config.initial_weights is not None:
        told = load_initial_weights(model, config.initial_weights, reset_head=config.reset_head)
        notes = (*notes, told)
    elif config.backbone_weights is not None:
        load_backbone(model, config.backbone_weights)
    set_components(model, config, dataset, chosen_samples(config, dataset))
    codec = model.codec
    head = model.vector_head
    if head is not None and head.whitened and config.initial_weights is None:
        assert codec is not None
        head.set_statistics(*vector_statistics(dataset, codec, chosen_samples(config, dataset)))
    model.to(device).checkpoint_activations(config.checkpoint_activations)
    sampler, loader = make_loader(config, dataset, processes)
    steps_per_epoch = len(loader)
    total_steps = config.max_steps or config.optimizer.epochs * steps_per_epoch
    average = _average(model, config)
    network = _network(model, average, config, processes)
    # After the network: shards are parameters of their own.
    optimizer = build_optimizer(model, config.optimizer)
    return Run(
        config=config,
        processes=processes,
        model=model,
        network=network,
        average=average,
        dataset=dataset,
        sampler=sampler,
        loader=loader,
        criterion=build_criterion(model, config.loss),
        optimizer=optimizer,
        schedule=build_schedule(
            optimizer,
            config.optimizer,
            total_steps=total_steps,
            steps_per_epoch=steps_per_epoch,
        ),
        device=device,
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
        notes=notes,
    )


def build_criterion(model: SOLQ, config: LossConfig) -> Criterion:
    """The losses for what the model predicts."""
    head = model.vector_head
    deviation = head.deviation if head is not None and head.whitened else None
    return Criterion(config, model.codec, deviation)


def _network(
    model: SOLQ, average: AveragedModel | None, config: TrainConfig, processes: Processes
) -> nn.Module:
    network: nn.Module = model
    if processes.count > 1:
        device = next(model.parameters()).device
        if device.type == "cuda":
            # Statistics over all processes. There is none for the CPU, where each has its own.
            for each in (model, *([] if average is None else [average])):
                nn.SyncBatchNorm.convert_sync_batchnorm(each)
        elif config.model.backbone_norm == "batch":
            logger.warning("each process normalises by the statistics of its own images")
    if config.sharding == "full":
        network = shard(model, processes)
        if average is not None:
            shard(cast("SOLQ", average.module), processes)
    elif processes.count > 1:
        network = DistributedDataParallel(
            network, device_ids=[device] if device.type == "cuda" else None
        )
    return cast("nn.Module", torch.compile(network, dynamic=True)) if config.compile else network


def _average(model: SOLQ, config: TrainConfig) -> AveragedModel | None:
    if not config.ema_decay:
        return None
    fold = get_ema_multi_avg_fn(config.ema_decay)

    def fold_shards(averages: Sequence[Tensor], values: Sequence[Tensor], count: Any) -> None:
        # Torch averages lists of plain tensors only; buffers are plain, sharded weights are not.
        fold([local(tensor) for tensor in averages], [local(tensor) for tensor in values], count)

    return AveragedModel(model, multi_avg_fn=fold_shards, use_buffers=True)


def resolve_device(name: str, local_rank: int = 0) -> torch.device:
    """The device of a name; `auto` is a GPU where there is one, for each process its own."""
    if name == "auto":
        return torch.device(f"cuda:{local_rank}" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        msg = f"device must be auto, cpu, cuda or cuda:N, got {name!r} ({reason})"
        raise ValueError(msg) from error
    return device


def fit_classes(config: TrainConfig, annotations: Path) -> tuple[TrainConfig, Categories]:
    """The categories of the data and a network with class slots for them."""
    entries = read_coco(annotations).categories
    if config.data.class_slots == "contiguous":
        categories = Categories.contiguous(entries)
        model = replace(config.model, num_classes=max(1, categories.num_slots))
        return replace(config, model=model), categories
    categories = Categories.by_id(entries)
    if categories.num_slots > config.model.num_classes:
        msg = (
            f"{annotations}: category ids reach {categories.num_slots - 1}, but the network has "
            f"slots 0..{config.model.num_classes - 1} (data.class_slots=category_id); "
            "use data.class_slots=contiguous or a larger model.num_classes"
        )
        raise ValueError(msg)
    return config, categories
