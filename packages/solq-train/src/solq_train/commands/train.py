"""`solq train`: a recipe on a data set → a run folder."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from solq_train.checkpoint import has_checkpoint
from solq_train.commands.output import metrics_table, prepare_output
from solq_train.config import TrainConfig
from solq_train.data import Split, find_split
from solq_train.distributed import ALONE, Processes, process_group, restarts
from solq_train.dry_run import dry_run, refuse_download
from solq_train.engine import BEST, train
from solq_train.evaluation import EvaluationImages
from solq_train.finetuning import with_network_of_weights
from solq_train.outcome import REPORT, Outcome, write_outcome
from solq_train.plan import batch_advice, describe
from solq_train.recipes import FINE_TUNING, RECIPES
from solq_train.run import prepare_run
from solq_train.run_file import CONFIG, write_run_file
from solq_train.trackers import check_trackers

RecipeName = Literal[
    "tiny_cpu",
    "overfit_8",
    "small",
    "small_finetune",
    "r50_coco",
    "r101_coco",
    "swin_l_coco",
    "swin_l_1536_coco",
    "sqr_r50_coco",
    "fast_solq_coco",
    "solq_pca_coco",
]
assert set(RecipeName.__args__) == RECIPES.keys()  # type: ignore[attr-defined]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a network on a data set in COCO layout.

    Writes into OUTPUT: `best/` and `last/` (weights and configuration), `metrics.jsonl`,
    `summary.json`, `report.html` and `config.json`, the configuration as it was run. SIGTERM and
    Ctrl-C let the step end, save and exit with 143 or 130.
    Arguments beat the run file, which beats the recipe.
    """

    recipe: RecipeName
    """Named configuration to start from; its values are the defaults shown here."""
    data: Path
    """Data set folder: annotations/instances_{train,val}[year].json and the image folders."""
    output: Path
    """Folder of the run; must be new or empty unless --resume is given."""
    config: Path | None = None
    """Run file (TOML, or a config.json that a run left) with values that replace the recipe's."""
    resume: bool = False
    """Go on from the newest whole checkpoint of OUTPUT, or from the start where the run had none
    yet; the weights become those of a run that was never stopped."""
    dry_run: bool = False
    """Only say what would run: steps, rates, evaluations, checkpoints, memory. Reads the data and
    writes and downloads nothing; OUTPUT may be anything."""
    settings: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)

    def run(self, console: Console) -> int:
        """Train; the exit code."""
        if self.dry_run:
            refuse_download(self.settings.initial_weights)
        settings, notes = self._with_initial_weights()
        training = find_split(self.data, "train")
        # Overfitting is judged on the images it was trained on.
        overfits = bool(settings.data.image_ids)
        validation = training if overfits else find_split(self.data, "val")
        if self.dry_run:
            for line in (*notes, *dry_run(settings, training, validation)):
                _say(line, console)
            return 0
        title = f"{self.recipe} on {self.data.name}"
        command = "solq " + shlex.join(sys.argv[1:])
        with process_group() as processes:
            outcome = run_training(
                settings,
                training,
                validation,
                self.output,
                console if processes.is_first else Console(quiet=True),
                resume=self.resume,
                title=title,
                command=command,
                processes=processes,
                notes=notes,
            )
        if outcome is None:
            return 0
        console.print(metrics_table(outcome.metrics, outcome.ceiling))
        console.print(
            f"model   {self.output / BEST}\nreport  {self.output / REPORT}", highlight=False
        )
        return 0

    def _with_initial_weights(self) -> tuple[TrainConfig, tuple[str, ...]]:
        """The settings with what they take over from the initial weights, and what to say of it."""
        if self.recipe in FINE_TUNING and self.settings.initial_weights is None:
            msg = f"recipe {self.recipe} goes on from weights: name them with --initial-weights"
            raise ValueError(msg)
        recipe = RECIPES[self.recipe]()
        settings, notes = with_network_of_weights(self.settings, recipe)
        return settings, (*notes, *batch_advice(settings, recipe, self.recipe))


def run_training(
    config: TrainConfig,
    training: Split,
    validation: Split,
    output: Path,
    console: Console,
    *,
    resume: bool,
    title: str,
    command: str,
    timing: dict[str, float] | None = None,
    processes: Processes = ALONE,
    notes: tuple[str, ...] = (),
) -> Outcome | None:
    """Train, evaluate and write everything a run leaves. `timing` is what took time before.

    Of several processes only the first writes, and returns what came out.
    """
    timing = dict(timing or {})
    check_trackers(config.tracker)
    begun = has_checkpoint(output) or (output / CONFIG).is_file()
    resume = processes.share(resume or (begun and restarts(os.environ) > 0))
    if processes.is_first:
        prepare_output(output, resume=resume, resumable=begun)
    processes.wait()
    started = time.perf_counter()
    with console.status("prepare"):
        run = prepare_run(config, training, processes)
        # Refuses validation data that cannot be used now, not after the first epoch.
        EvaluationImages(validation, run.model.preprocessing)
    if processes.is_first:
        write_run_file(output / CONFIG, run.config)
    timing["prepare"] = time.perf_counter() - started
    for line in (*notes, *describe(run)):
        _say(line, console)
    result = train(run, validation, output, console, resume=resume)
    if not processes.is_first:
        return None
    timing["train"] = result.progress.seconds
    here = result.progress.seconds - result.earlier_seconds
    timing["evaluate and save"] = time.perf_counter() - started - timing["prepare"] - here
    return write_outcome(
        output,
        run.config,
        result,
        validation,
        title=title,
        command=command,
        epochs=run.epoch_of(result.progress.step),
        timing=timing,
    )


def _say(line: str, console: Console) -> None:
    """A line as it is: no markup, not cut at the terminal's width."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)
