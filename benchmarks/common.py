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
from collections.abc import Callable
from pathlib import Path
from typing import Any

# A sample is as many calls as fill this time, so that the clock's own cost does not count.
SAMPLE_SECONDS = 0.005
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
    start = time.perf_counter()
    function()
    calls = max(1, round(SAMPLE_SECONDS / max(time.perf_counter() - start, 1e-9)))
    samples = []
    for _ in range(max(2, repeats)):
        start = time.perf_counter()
        for _ in range(calls):
            function()
        samples.append((time.perf_counter() - start) / calls * 1e6)
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


def save_json(path: Path, suite: str, rows: list[dict[str, Any]]) -> None:
    """A result file that is either the old one or the whole new one, never a part."""
    result = {"suite": suite, "run": run_metadata(), "rows": rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    unfinished.replace(path)
