"""Several processes as one: who we are among them, and what all have to agree on."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

Item = TypeVar("Item")

# A rank that waits longer than this for the others gives up, and its launcher starts all anew.
TIMEOUT = datetime.timedelta(minutes=30)
PORTS = range(20000, 40000)


@dataclass(frozen=True, kw_only=True)
class Processes:
    """This process among those of a run. On its own, every operation returns what it was given."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0  # among those of this machine: the number of its GPU

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and talks to people."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sums over all processes, in each of them."""
        if self.count == 1:
            return values
        total = values.detach().clone()
        dist.all_reduce(total)
        return total

    def largest(self, values: Tensor) -> Tensor:
        """The largest values over all processes, in each of them."""
        if self.count == 1:
            return values
        found = values.detach().clone()
        dist.all_reduce(found, op=dist.ReduceOp.MAX)
        return found

    def gather(self, items: list[Item]) -> list[Item]:
        """The items of all processes, in the order of their ranks; empty in all but the first."""
        if self.count == 1:
            return items
        parts: list[list[Item]] | None = [[] for _ in range(self.count)] if self.is_first else None
        dist.gather_object(items, parts)
        return [item for part in parts or [] for item in part]

    def share(self, item: Item) -> Item:
        """The first process's item, in each of them."""
        if self.count == 1:
            return item
        shared = [item]
        dist.broadcast_object_list(shared)
        return shared[0]

    def wait(self) -> None:
        """Returns when all processes have come here."""
        if self.count > 1:
            dist.barrier()


ALONE = Processes()


def launched_processes(environment: Mapping[str, str]) -> tuple[Processes, dict[str, str]]:
    """Who a launcher says we are, and where the first process listens (for `MASTER_ADDR`, …).

    torchrun sets RANK, WORLD_SIZE and LOCAL_RANK; srun SLURM_PROCID, SLURM_STEP_NUM_TASKS and
    SLURM_LOCALID. SLURM_NTASKS would not do: a batch script has it too, and is a single process.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        meeting = {}
    elif int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
        job = int(environment.get("SLURM_JOB_ID", "0"))
        meeting = {
            "MASTER_ADDR": environment.get("MASTER_ADDR") or first_host(environment),
            # Of the job, so that two jobs of one machine do not meet.
            "MASTER_PORT": environment.get("MASTER_PORT") or str(PORTS[job % len(PORTS)]),
        }
    else:
        return Processes(), {}
    rank, count, local_rank = (int(environment.get(name, "0")) for name in names)
    return Processes(rank=rank, count=count, local_rank=local_rank), meeting


def first_host(environment: Mapping[str, str]) -> str:
    """The first machine of a Slurm job: of `node[03-05,9],login` it is node03."""
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    first = re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", nodes).split(",")[0]
    if not first:
        msg = f"SLURM_JOB_NODELIST must name the machines of the job, got {nodes!r}"
        raise ValueError(msg)
    return first


@contextmanager
def process_group() -> Iterator[Processes]:
    """The processes that torchrun or srun started together, connected while the block runs."""
    processes, meeting = launched_processes(os.environ)
    if processes.count == 1:
        yield processes
        return
    os.environ.update(meeting)
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(processes.local_rank)
    meeting_place, _, _ = next(rendezvous("env://", processes.rank, processes.count))
    dist.init_process_group(
        # Objects and flags travel between CPUs, gradients where the model is.
        "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
        # torchrun's store outlives a process that died, and with it the addresses of the dead.
        store=PrefixStore(f"attempt {restarts(os.environ)}", meeting_place),
        rank=processes.rank,
        world_size=processes.count,
        timeout=TIMEOUT,
    )
    try:
        yield processes
    finally:
        dist.destroy_process_group()


def restarts(environment: Mapping[str, str]) -> int:
    """How often torchrun has started the processes again because one of them died."""
    return int(environment.get("TORCHELASTIC_RESTART_COUNT", "0"))
