"""What runs here: which kernels on which device, in which versions, and why not others."""

import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from . import native


@dataclass(frozen=True, kw_only=True)
class CpuBackend:
    """What runs on the CPU."""

    implementation: str  # "compiled" or "reference"
    reason: str  # why it is not compiled, or ""
    library: Path | None
    instruction_set: str  # in use; "" without compiled kernels, like the next two
    instruction_sets: tuple[str, ...]  # those this machine can run
    compiler: str
    threads: int


@dataclass(frozen=True, kw_only=True)
class CudaBackend:
    """What runs on CUDA devices."""

    implementation: str  # "compiled", "reference", or "absent" with a torch without CUDA
    reason: str  # why it is not compiled, or ""
    library: Path | None
    cuda: str  # the version that the kernels were compiled with, or ""
    architectures: tuple[str, ...]  # those that the kernels were compiled for
    devices: tuple[str, ...]  # those that torch sees


@dataclass(frozen=True, kw_only=True)
class Backend:
    """The implementations that the operators run on; printed, a small table."""

    solq_ops: str
    torch: str
    cpu: CpuBackend
    cuda: CudaBackend

    def __str__(self) -> str:
        cpu, cuda = self.cpu, self.cuda
        rows = {
            "solq-ops": self.solq_ops,
            "torch": self.torch,
            "cpu": _sentence(cpu.implementation, cpu.reason),
            "  instruction set": f"{cpu.instruction_set} of {', '.join(cpu.instruction_sets)}",
            "  compiler": cpu.compiler,
            "  threads": str(cpu.threads),
            "cuda": _sentence(cuda.implementation, cuda.reason),
            "  compiled with": f"CUDA {cuda.cuda} for {', '.join(cuda.architectures)}",
            "  devices": ", ".join(cuda.devices) or "none",
            "others": "reference",
        }
        if cpu.implementation != "compiled":
            del rows["  instruction set"], rows["  compiler"]
        if cuda.implementation != "compiled":
            del rows["  compiled with"]
        if cuda.implementation == "absent":
            del rows["  devices"]
        width = max(map(len, rows))
        return "\n".join(f"{name:{width}}  {text}" for name, text in rows.items())


def _sentence(implementation: str, reason: str) -> str:
    return f"{implementation}: {reason}" if reason else implementation


def backend() -> Backend:
    """Which implementations run here, in which versions, and why not compiled ones."""
    return Backend(
        solq_ops=version("solq-ops"),
        torch=torch.__version__,
        cpu=_cpu_backend(native.cpu_library),
        cuda=_cuda_backend(native.cuda_library),
    )


def _cpu_backend(library: native.CompiledLibrary | None) -> CpuBackend:
    facts = library.describe() if library else {}
    if library:
        reason = ""
    elif os.environ.get(native.INSTRUCTION_SET_VARIABLE) == native.REFERENCE:
        reason = f"{native.INSTRUCTION_SET_VARIABLE} asks for it"
    else:
        reason = "solq-ops was installed without compiled CPU kernels"
    return CpuBackend(
        implementation="compiled" if library else "reference",
        reason=reason,
        library=library.path if library else None,
        instruction_set=facts.get("instruction_set", ""),
        instruction_sets=_names(facts.get("instruction_sets", "")),
        compiler=facts.get("compiler", ""),
        threads=torch.get_num_threads(),
    )


def _cuda_backend(library: native.CompiledLibrary | None) -> CudaBackend:
    facts = library.describe() if library else {}
    if torch.version.cuda is None:
        implementation, reason = "absent", "this torch was built without CUDA"
    elif library is None:
        implementation = "reference"
        reason = "solq-ops was installed without compiled CUDA kernels"
    else:
        implementation, reason = "compiled", ""
    devices = range(torch.cuda.device_count() if torch.version.cuda else 0)
    return CudaBackend(
        implementation=implementation,
        reason=reason,
        library=library.path if library else None,
        cuda=facts.get("cuda", ""),
        architectures=_names(facts.get("architectures", "")),
        devices=tuple(map(torch.cuda.get_device_name, devices)),
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.replace(";", ",").split(",")))
