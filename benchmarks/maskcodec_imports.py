"""What it costs to import the package, in new processes."""

import subprocess
import sys
from typing import Any

from common import spread

# Neither may come along: torch takes more than a second, SciPy's transforms a quarter.
HEAVY = ("torch", "scipy")
PROGRAM = """
import sys, time
start = time.perf_counter()
import {module}
print((time.perf_counter() - start) * 1000)
print(*(name for name in {heavy} if name in sys.modules))
"""


def import_rows(modules: tuple[str, ...], repeats: int) -> list[dict[str, Any]]:
    """Milliseconds of an import statement alone, one row for each module; they take turns."""
    times: dict[str, list[float]] = {module: [] for module in modules}
    brought: dict[str, list[str]] = {}
    for _ in range(repeats):
        for module in modules:
            milliseconds, brought[module] = _import_once(module)
            times[module].append(milliseconds)
    return [
        {
            "step": "import",
            "implementation": module,
            "rounds": repeats,
            **{f"{name}_ms": value for name, value in spread(times[module]).items()},
            "brings": brought[module],
        }
        for module in modules
    ]


def _import_once(module: str) -> tuple[float, list[str]]:
    program = PROGRAM.format(module=module, heavy=HEAVY)
    command = [sys.executable, "-P", "-c", program]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    milliseconds, brought = found.stdout.splitlines()
    return float(milliseconds), brought.split()
