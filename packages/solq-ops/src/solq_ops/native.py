"""The compiled libraries: found beside the package, loaded on import, asked about themselves."""

import ctypes
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

INSTRUCTION_SET_VARIABLE = "SOLQ_OPS_CPU_ISA"
# Chosen like an instruction set, it leaves the compiled CPU kernels where they are.
REFERENCE = "reference"

# On macOS too CMake gives loadable modules the ending .so.
_NAMES = {"win32": "{}.dll"}


@dataclass(frozen=True)
class CompiledLibrary:
    """A library whose kernels are registered with torch."""

    path: Path
    handle: ctypes.CDLL
    prefix: str  # of the C functions

    def describe(self) -> dict[str, str]:
        """What the library says of itself: instruction sets or architectures, compiler, torch."""
        function = getattr(self.handle, f"{self.prefix}_describe")
        function.restype = ctypes.c_char_p
        text: str = function().decode()
        return dict(entry.split("=", 1) for entry in text.split(";") if entry)


def load_library(stem: str, folders: Iterable[Path]) -> CompiledLibrary | None:
    """The first such library in the folders, its kernels registered; None where there is none.

    One that is there but does not load is an error: to go on would be slow without a word.
    """
    name = _NAMES.get(sys.platform, "lib{}.so").format(stem)
    path = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if path is None:
        return None
    try:
        torch.ops.load_library(str(path))
        return CompiledLibrary(path, ctypes.CDLL(str(path)), stem)
    except (OSError, RuntimeError) as error:
        cause = error.__cause__ or error
        msg = (
            f"{path} is there but does not load with torch {torch.__version__}: {cause}. "
            "Reinstall solq-ops, or remove this file to run the plain-torch reference."
        )
        raise ImportError(msg, path=str(path)) from error


def package_folders() -> list[Path]:
    """The folders of this package; an editable install keeps what is compiled in one of its own."""
    assert __package__ is not None
    return [Path(folder) for folder in sys.modules[__package__].__path__]


def load_cpu_library(
    folders: Iterable[Path], environment: Mapping[str, str]
) -> CompiledLibrary | None:
    """The library of CPU kernels with the instruction set that the environment asks for."""
    asked = environment.get(INSTRUCTION_SET_VARIABLE, "")
    if asked == REFERENCE:
        return None
    library = load_library("solq_ops_cpu", folders)
    if asked:
        try:
            _select(library, asked)
        except ValueError as error:
            msg = f"environment variable {INSTRUCTION_SET_VARIABLE}: {error}"
            raise ValueError(msg) from None
    return library


def load_cuda_library(folders: Iterable[Path]) -> CompiledLibrary | None:
    """The library of CUDA kernels; not looked for with a torch that was built without CUDA."""
    return load_library("solq_ops_cuda", folders) if torch.version.cuda else None


def select_instruction_set(name: str) -> None:
    """Use the CPU kernels for this instruction set: "portable", "avx2" or "avx512".

    The best one that the machine can run is chosen on import, unless the environment variable
    SOLQ_OPS_CPU_ISA names one (or "reference", for plain torch). Not while another thread is
    inside an operator.

    Raises:
        ValueError: the machine cannot run it, or there are no compiled CPU kernels.
    """
    _select(cpu_library, name)


def instruction_sets() -> list[str]:
    """Those that `select_instruction_set` takes: none without compiled CPU kernels."""
    if cpu_library is None:
        return []
    return cpu_library.describe()["instruction_sets"].split(",")


def _select(library: CompiledLibrary | None, name: str) -> None:
    if library is None:
        msg = f"instruction set {name!r} needs the compiled CPU kernels, which are not installed"
        raise ValueError(msg)
    if library.handle.solq_ops_cpu_select(name.encode()):
        possible = library.describe()["instruction_sets"].replace(",", ", ")
        msg = f"instruction set must be one that this machine can run ({possible}), got {name!r}"
        raise ValueError(msg)


cpu_library = load_cpu_library(package_folders(), os.environ)
cuda_library = load_cuda_library(package_folders())
