"""The arguments of `solq-maskcodec` → the command they name, run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import tyro

from .evaluate import Evaluate
from .show import Show
from .terminal import Terminal
from .vectors import Decode, Encode

_DESCRIPTION = "Instance masks as short vectors, and back: how good, how long, what they look like."


def run(arguments: Sequence[str]) -> None:
    """Run the command; SystemExit for arguments that are wrong, or that ask for help."""
    commands = (
        Annotated[Evaluate, tyro.conf.subcommand("evaluate", prefix_name=False)]
        | Annotated[Encode, tyro.conf.subcommand("encode", prefix_name=False)]
        | Annotated[Decode, tyro.conf.subcommand("decode", prefix_name=False)]
        | Annotated[Show, tyro.conf.subcommand("show", prefix_name=False)]
    )
    command: Evaluate | Encode | Decode | Show = tyro.cli(
        commands, prog="solq-maskcodec", description=_DESCRIPTION, args=arguments
    )
    command.run(Terminal())
