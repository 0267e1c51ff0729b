"""Options that several commands share."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from anomaly_app.settings import LoadedSettings

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", help="TOML file of settings; else that of ANOMALY_CONFIG, else anomaly.toml.", metavar="FILE"
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting, such as web.port=8080; may be given more than once.", metavar="KEY=VALUE"),
]
Broker = Annotated[
    str | None, typer.Option("--broker", help="Kafka, host:port; the same as --set kafka.bootstrap_servers=…")
]
RegistryUrl = Annotated[
    str | None, typer.Option("--registry", help="Schema registry; the same as --set registry.url=…", metavar="URL")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Dialect = Annotated[str, typer.Option(help="flink, or standard for SQL:2016.")]


Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="A parameter, such as retail.refund.count=4; may be given more than once.", metavar="NAME=VALUE"
    ),
]


def given_parameters(given: Sequence[str] | None) -> dict[str, str]:
    """Values of parameters by name, of texts ``name=value``; ``parameters.`` before a name may be left out."""
    found = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(
                f"{text!r} should be NAME=VALUE, such as retail.refund.count=4", param_hint="--set"
            )
        found[name.strip().removeprefix("parameters.")] = value
    return found


def named_parameters(given: Sequence[str] | None) -> list[str]:
    """Names of the parameters among settings, of texts ``parameters.name=value``."""
    names = [text.partition("=")[0].strip() for text in given or ()]
    return [name.removeprefix("parameters.") for name in names if name.startswith("parameters.")]


def check_used(given: Iterable[str], used: Iterable[str]) -> None:
    """Refuse parameters that no statement has."""
    known = sorted(used)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(known) or 'none'}"
            raise typer.BadParameter(f"there is no parameter {name}{hint}", param_hint="--set")


def read_sql(sql: str) -> tuple[str, str]:
    """Text of an argument that is SQL or names a file of it, and where it stood."""
    if re.fullmatch(r"\S+\.sql", sql) or (len(sql) < 255 and Path(sql).is_file()):
        try:
            return Path(sql).read_text("utf-8"), sql
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"{sql} cannot be read: {error}", param_hint="JOB_OR_SQL") from error
    return sql, "SQL"


def load(config: Path | None, given: Sequence[str] | None, more: Mapping[str, Any] | None = None) -> LoadedSettings:
    """Settings of a command.

    Args:
        config: the TOML file, None for the usual one.
        given: texts ``key=value`` of ``--set``.
        more: key and value of options that stand for a setting; None for one that was not given.

    Raises:
        SettingsError: a key or value is wrong.
    """
    from anomaly_app.errors import SettingsError
    from anomaly_app.settings import load_settings

    overrides: dict[str, Any] = {}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not equals:
            raise SettingsError(key, "command line", "--set needs key=value, such as --set web.port=8080")
        overrides[key.strip()] = value
    overrides |= {key: value for key, value in (more or {}).items() if value is not None}
    return load_settings(overrides, config_file=config)
