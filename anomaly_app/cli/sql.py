"""``anomaly sql``: the shell."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from anomaly_app.cli.options import Broker, ConfigFile, RegistryUrl, Set, load

FAILED = 2
"""Exit status if a statement fails where nobody sits at a prompt."""
INTERRUPTED = 130
"""And if Ctrl-C ended it."""


def sql(
    file: Annotated[
        list[Path] | None, typer.Option("--file", "-f", help="Carry out its statements, and leave.", metavar="FILE")
    ] = None,
    execute: Annotated[
        list[str] | None, typer.Option("--execute", "-e", help="Carry out a statement, and leave.", metavar="SQL")
    ] = None,
    init: Annotated[
        list[Path] | None, typer.Option("--init", "-i", help="Carry out its statements first.", metavar="FILE")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print rows as JSON, one a line.")] = False,
    broker: Broker = None,
    registry: RegistryUrl = None,
    set: Set = None,
    config: ConfigFile = None,
) -> None:
    """Type SQL, and look at topics as they are now; HELP lists the statements.

    Example: anomaly sql --broker localhost:9092 -i tables.sql

    Example: anomaly sql -e "SHOW FUNCTIONS"

    Example: anomaly sql --json < statements.sql
    """
    from anomaly_app.errors import AnomalyError
    from anomaly_app.settings import CONFIG_VARIABLE
    from anomaly_app.shell.remarks import heard
    from anomaly_app.shell.shell import Leave, Shell
    from anomaly_app.shell.terminal import Terminal

    loaded = load(config, set, {"kafka.bootstrap_servers": broker, "registry.url": registry})
    given = bool(file or execute)
    interactive = not given and not json and sys.stdin.isatty() and sys.stdout.isatty()
    terminal = Terminal(interactive, colour=interactive and not os.environ.get("NO_COLOR"))
    environment = {CONFIG_VARIABLE: str(config.resolve())} if config is not None else {}
    with heard(terminal.warn) as remarks:
        shell = Shell(loaded, terminal, remarks, json=json, environment=environment)
        try:
            for path in init or ():
                shell.read(path)
            if interactive:
                from anomaly_app.shell.prompt import converse

                converse(shell)
                return
            for path in file or ():
                shell.read(path)
            for text in execute or ():
                shell.run(text)
            if not given:
                shell.run(_standard_input())
            shell.wait()
        except Leave:
            pass
        except AnomalyError as error:
            terminal.error(str(error))
            raise typer.Exit(FAILED) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        finally:
            shell.close()


def _standard_input() -> str:
    from anomaly_app.errors import AnomalyError

    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise AnomalyError(f"standard input cannot be read: {error}") from error
