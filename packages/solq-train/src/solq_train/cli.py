"""The `solq` command: arguments → a command that runs; errors → one clear line."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Protocol, Union

import tyro
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape

from solq_train.commands.compare import Compare
from solq_train.commands.convert import Convert
from solq_train.commands.data import Data
from solq_train.commands.demo import Demo
from solq_train.commands.evaluate import Evaluate
from solq_train.commands.explain import Explain
from solq_train.commands.export import Export
from solq_train.commands.predict import Predict
from solq_train.commands.replay import Replay
from solq_train.commands.serve import Serve
from solq_train.commands.submit import CheckSubmission, Submit
from solq_train.commands.train import Train
from solq_train.config import TrainConfig
from solq_train.failure import NonFiniteError
from solq_train.recipes import RECIPES
from solq_train.run_file import read_run_file
from solq_train.stopping import StoppedError

DESCRIPTION = "SOLQ: end-to-end instance segmentation by learned queries."
COMMANDS = {
    "demo": Demo,
    "data": Data,
    "train": Train,
    "evaluate": Evaluate,
    "predict": Predict,
    "explain": Explain,
    "serve": Serve,
    "convert": Convert,
    "export": Export,
    "replay": Replay,
    "compare": Compare,
    "submit": Submit,
    "check-submission": CheckSubmission,
}
USER_ERROR, RUN_FAILED, INTERRUPTED = 2, 1, 130


class Command(Protocol):
    """What the command line can be asked for."""

    def run(self, console: Console) -> int:
        """Do it; the exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code: 0 done, 1 the run failed, 2 the input was refused."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    console, errors = Console(), Console(stderr=True)
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=errors, show_time=False, show_path=False)],
        force=True,
    )
    try:
        command = parse(arguments)
        return command.run(console)
    except NonFiniteError as error:
        return _fail(errors, error, RUN_FAILED)
    except StoppedError as error:
        return _fail(errors, error, 128 + error.signum)  # as the shell counts
    except (ValueError, OSError, ModuleNotFoundError) as error:  # the last: a missing extra
        return _fail(errors, error, USER_ERROR)
    except KeyboardInterrupt:
        errors.print("interrupted; what was saved before stays")
        return INTERRUPTED


def parse(arguments: Sequence[str]) -> Command:
    """The command that the arguments name, complete with its settings."""
    defaults = {"train": _train_defaults(_settings(arguments))}
    subcommands = tuple(
        Annotated[
            kind,
            tyro.conf.subcommand(
                name, default=defaults.get(name, tyro.MISSING_NONPROP), prefix_name=False
            ),
        ]
        for name, kind in COMMANDS.items()
    )
    any_of_them: Any = Union[subcommands]  # noqa: UP007 — there is no `|` of a tuple
    command: Command = tyro.cli(any_of_them, prog="solq", description=DESCRIPTION, args=arguments)
    return command


def _settings(arguments: Sequence[str]) -> TrainConfig | None:
    """What recipe and run file say, before the other arguments change it; None without a recipe."""
    if not arguments or arguments[0] != "train":
        return None
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--recipe")
    early.add_argument("--config", type=Path)
    found, _ = early.parse_known_args(arguments[1:])
    if found.recipe not in RECIPES:
        return None
    config = RECIPES[found.recipe]()
    return config if found.config is None else read_run_file(found.config, config)


def _train_defaults(settings: TrainConfig | None) -> Train:
    missing = tyro.MISSING
    train = Train(recipe=missing, data=missing, output=missing)
    return train if settings is None else replace(train, settings=settings)


def _fail(errors: Console, error: Exception, code: int) -> int:
    if os.environ.get("SOLQ_TRACEBACK"):
        traceback.print_exc()
    # Ends a loader's workers in order; left to the garbage collector, each takes 5 s to be ended.
    traceback.clear_frames(error.__traceback__)
    message = escape(_message(error))
    errors.print(f"[bold red]solq:[/] {message}", highlight=False, soft_wrap=True)
    return code


def _message(error: Exception) -> str:
    """The error's own words; torch hands on one of a worker process as that process's traceback."""
    text, kind = str(error), type(error)
    if "in DataLoader worker process" not in text:
        return text
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return text.rpartition(f"\n{module}{kind.__qualname__}: ")[2].strip()
