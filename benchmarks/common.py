"""What every suite shares: a time with its spread, the facts of the run, and the result file."""

import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

# A sample is as many calls as fill this time, so that the clock's own cost does not count.
SAMPLE_SECONDS = 0.005
Name = TypeVar("Name", bound=Hashable)
PACKAGES = (
    "solq-ops",
    "solq-maskcodec",
    "solq-model",
    "solq-train",
    "torch",
    "torchvision",
    "numpy",
)


def time_us(function: Callable[[], object], *, repeats: int) -> dict[str, float]:
    """Microseconds of one call: the median of `repeats` samples, and their interquartile range."""
    function()  # what happens once (caches, allocations, threads) is not what is measured
    seconds = clock(function)
    calls = max(1, round(SAMPLE_SECONDS / max(seconds, 1e-9)))
    return spread([clock(function, calls) * 1e6 for _ in range(max(2, repeats))])


def interleaved_us(
    functions: Mapping[Name, Callable[[], object]], *, rounds: tuple[int, int], seconds: float
) -> dict[Name, list[float]]:
    """Microseconds of a call of each function: one sample of each in every round.

    A machine that is slow for a while is slow for all of a round, so ratios within a round stand
    where medians of separate measurements do not. There are `rounds` (least, most) of them, and
    none begins after `seconds` but the least.
    """
    start = time.perf_counter()
    first = {name: clock(function) for name, function in functions.items()}
    calls = {name: max(1, round(SAMPLE_SECONDS / max(first[name], 1e-9))) for name in functions}
    # Where one call of each is long enough for a sample, this was a round like the others.
    is_round = max(calls.values()) == 1
    samples = {name: [first[name] * 1e6] if is_round else [] for name in functions}
    order = list(functions)
    least, most = rounds
    for finished in range(is_round, most):
        if finished >= least and time.perf_counter() - start > seconds:
            break
        order.reverse()  # nobody always comes after the one that empties the caches
        for name in order:
            samples[name].append(clock(functions[name], calls[name]) * 1e6)
    return samples


def clock(function: Callable[[], object], calls: int = 1) -> float:
    """Seconds of one call, as the mean of several in a row."""
    torch = sys.modules.get("torch")
    wait = torch.cuda.synchronize if torch and torch.cuda.is_initialized() else lambda: None
    wait()
    start = time.perf_counter()
    for _ in range(calls):
        function()
    wait()
    return (time.perf_counter() - start) / calls


def spread(samples: list[float]) -> dict[str, float]:
    """The median and the interquartile range."""
    lower, median, upper = statistics.quantiles(samples, n=4, method="inclusive")
    return {"median": median, "iqr": upper - lower}


def run_metadata() -> dict[str, Any]:
    """The facts without which a time means nothing: versions, processor, threads, commit."""
    installed = {}
    for package in PACKAGES:
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    torch = sys.modules.get("torch")
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "python": platform.python_version(),
        "versions": installed,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads() if torch else None,
        "commit": commit(),
    }


def cpu_name() -> str:
    """The processor's name, as Linux gives it, or what Python knows of it elsewhere."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def commit() -> str | None:
    """The commit, with "+changes" where tracked files differ from it; None outside git."""
    described = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--dirty=+changes", "--exclude=*"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or None


def save_json(path: Path, suite: str, rows: list[dict[str, Any]], **facts: object) -> None:
    """A result file that is either the old one or the whole new one, never a part."""
    result = {"suite": suite, "run": run_metadata() | facts, "rows": rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    unfinished.replace(path)
