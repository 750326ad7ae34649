"""`solq demo`: SOLQ learns to segment shapes, on a laptop without a GPU."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from solq_train.commands.data import MakeShapes, make_shapes_with_progress
from solq_train.commands.output import metrics_table, prepare_output
from solq_train.commands.train import run_training
from solq_train.data import find_split
from solq_train.engine import BEST
from solq_train.outcome import REPORT, SUMMARY
from solq_train.recipes import tiny_cpu
from solq_train.run_file import CONFIG

QUICK_STEPS = 60
OUTPUT = Path("runs/demo")

THREE_LINES = """\
from solq_model import SOLQ
model = SOLQ.load("{model}")
model.predict("{image}").save("out.png")"""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Make a data set of shapes, train a small network on it, evaluate it on unseen images.

    Writes `report.html`, `summary.json` and `best/` into OUTPUT. Takes minutes on two CPU cores.
    """

    output: Path = OUTPUT
    """Folder of the run; must be new or empty, but an earlier demo in runs/demo is replaced."""
    data: Path = Path("runs/shapes")
    """Folder of the data set; made where it is not there yet."""
    quick: bool = False
    """A short form that shows that everything works, with a network that has learned little."""

    def run(self, console: Console) -> int:
        """Run the demo; the exit code."""
        if self.output == OUTPUT and (self.output / CONFIG).is_file():
            shutil.rmtree(self.output)  # an earlier demo; any other folder might hold a real run
        prepare_output(self.output)
        started = time.perf_counter()
        make_shapes_with_progress(MakeShapes(directory=self.data), console)
        timing = {"make the data set": time.perf_counter() - started}
        recipe = tiny_cpu()
        config = replace(recipe, max_steps=QUICK_STEPS) if self.quick else recipe
        training, validation = find_split(self.data, "train"), find_split(self.data, "val")
        outcome = run_training(
            config,
            training,
            validation,
            self.output,
            console,
            resume=False,
            title="SOLQ demo: shapes",
            command="solq demo --quick" if self.quick else "solq demo",
            timing=timing,
        )
        assert outcome is not None  # a process of its own
        console.print(metrics_table(outcome.metrics, outcome.ceiling))
        summary = outcome.summary
        console.print(
            f"trained in {summary['train_seconds']:.0f} s ({summary['steps']} steps), "
            f"{summary['total_seconds']:.0f} s in all\n"
            f"report   {self.output / REPORT}\nsummary  {self.output / SUMMARY}\n"
            f"\nThe model in Python:",
            highlight=False,
        )
        image = next(iter(sorted(validation.images.iterdir())))
        console.print(THREE_LINES.format(model=self.output / BEST, image=image), markup=False)
        return 0
