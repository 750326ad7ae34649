"""How much memory this process holds, and held at most: it sees every allocator. Linux only."""

import ctypes
import gc
import platform
import re
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MACHINE = Path("/proc/meminfo")


def is_measurable() -> bool:
    return platform.system() == "Linux"


def settle() -> int:
    """Bytes that are resident, all that is free given back; `peak` begins here."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    CLEAR.write_text("5", encoding="ascii")  # the high-water mark falls to what is resident now
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
