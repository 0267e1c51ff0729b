"""The command line ``anomaly``.

Exit status 0: done. 1: it found something wrong, as ``anomaly check`` does. 2: it could not do what was asked; the
reason is on standard error. 130: interrupted.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

COMMANDS = (
    "demo",
    "run",
    "deliver",
    "silence",
    "sql",
    "generate",
    "load",
    "query",
    "backtest",
    "detect",
    "train",
    "model",
    "check",
    "explain",
    "state",
    "config",
)
"""Modules beside this one, in the order of the help; each has a function, or a group of commands, of its own name."""


INTERRUPTED = 130
"""Exit status after Ctrl-C, where the command has none of its own."""


def _show_version(wanted: bool) -> None:
    if wanted:
        from anomaly_app import __version__

        print(__version__)
        raise typer.Exit


def _describe(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Anomaly detection over Kafka topics with the SQL of Flink."""


def create_app(commands: Sequence[str] = COMMANDS) -> typer.Typer:
    """The typer application with some of its commands."""
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
    app.callback()(_describe)
    for name in commands:
        command = getattr(importlib.import_module(f"anomaly_app.cli.{name}"), name)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command()(command)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status.

    Args:
        arguments: of the command line; None for the process's.
    """
    from anomaly_app.errors import AnomalyError

    arguments = sys.argv[1:] if arguments is None else arguments
    # A command that is named first is the only one that needs to be imported.
    named = arguments[:1] if arguments and arguments[0] in COMMANDS else COMMANDS
    try:
        create_app(named)(args=list(arguments), prog_name="anomaly")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 2
    except AnomalyError as error:
        print(f"anomaly: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        print(f"anomaly: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # while the command was imported; later ones end it by themselves
        return INTERRUPTED
    return 0
