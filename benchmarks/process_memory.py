"""How much memory this process holds, and held at most: it sees every allocator. Linux only."""

import ctypes
import gc
import multiprocessing
import platform
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MACHINE = Path("/proc/meminfo")


def in_new_process(
    function: Callable[Arguments, Result], *arguments: Arguments.args, **options: Arguments.kwargs
) -> Result:
    """What the function returns there, where no memory was used and given back before."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as executor:
        return executor.submit(function, *arguments, **options).result()


def is_measurable() -> bool:
    return platform.system() == "Linux"


def settle() -> int:
    """Bytes that are resident, all that is free given back; `peak` begins here."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    CLEAR.write_text("5", encoding="ascii")  # the high-water mark falls to what is resident now
    return resident()


def resident() -> int:
    """Bytes that are resident, with what is free and was not given back."""
    return _field(STATUS, "VmRSS")


def peak() -> int:
    """The most bytes that were resident since `settle`."""
    return _field(STATUS, "VmHWM")


def available() -> int:
    """Bytes that programs could still get."""
    return _field(MACHINE, "MemAvailable")


def _field(path: Path, name: str) -> int:
    match = re.search(rf"^{name}:\s+(\d+) kB$", path.read_text(encoding="ascii"), re.MULTILINE)
    assert match
    return int(match[1]) * 1024
