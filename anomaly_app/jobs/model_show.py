"""What SHOW and DESCRIBE print of models and connections; secrets are masked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from anomaly_app.jobs.catalog import Catalog
from anomaly_app.jobs.models import Connection
from anomaly_app.models.model import Model
from anomaly_app.schema import Column
from anomaly_app.secrecy import MASK, is_elsewhere, is_secret
from anomaly_app.sql.commands import Describe, Show
from anomaly_app.words import nearest

_MODEL = [("version", "INT"), ("default", "BOOLEAN"), ("inputs", "STRING"), ("outputs", "STRING")]
_MODEL += [("provider", "STRING"), ("task", "STRING"), ("options", "STRING"), ("comment", "STRING")]
_CONNECTION = [("name", "STRING"), ("value", "STRING")]

Rows = tuple[list[tuple[str, str]], list[tuple[Any, ...]]]


def describe_model(statement: Describe, catalog: Catalog) -> Rows:
    """A row for each version that is named; raises ``SqlValidationError`` if there is none."""
    rows = []
    for model in _versions(statement, catalog):
        task = model.task.value if model.task is not None else None
        is_default = catalog.models.default_of(model) == model.version
        options = _listed({key: value for key, value in model.options.items() if key not in ("provider", "task")})
        inputs, outputs = _columns(model.inputs), _columns(model.outputs)
        rows.append((model.version, is_default, inputs, outputs, model.provider, task, options, model.comment or None))
    return _MODEL, rows


def describe_connection(statement: Describe, catalog: Catalog) -> Rows:
    """A row for each option; raises ``SqlValidationError`` if there is none of that name."""
    return _CONNECTION, list(_connection(statement, catalog).shown.items())


def statement(show: Show, catalog: Catalog) -> str:
    """The statement that would make a model or a connection, its secrets masked."""
    if show.what == "CREATE CONNECTION":
        connection = _connection(show, catalog)
        name, options = connection.name, connection.shown
        comment = _comment(connection.comment)
        return f"CREATE CONNECTION {_quoted(catalog, name)}{comment} WITH (\n{_options(options)}\n)"
    model = _versions(show, catalog)[0]
    create = catalog.models.statement_of(model)
    options = {
        one.key: MASK if is_secret(one.key) and not is_elsewhere(one.value) else one.value for one in create.options
    }
    lines = [f"CREATE MODEL {_quoted(catalog, model.name)}"]
    for word, columns in (("INPUT", model.inputs), ("OUTPUT", model.outputs)):
        if columns:
            lines.append(f"{word} (" + ", ".join(f"`{column.name}` {column.type}" for column in columns) + ")")
    return "\n".join(lines) + f"{_comment(model.comment)}\nWITH (\n{_options(options)}\n)"


def _versions(asked: Describe | Show, catalog: Catalog) -> list[Model]:
    found = catalog.models.versions_of(asked.path)
    if not found:
        raise catalog.fail(catalog.models.unknown(asked.path), asked.place)
    return found


def _connection(asked: Describe | Show, catalog: Catalog) -> Connection:
    found = catalog.models.connection(asked.path)
    if found is None:
        name = ".".join(asked.path)
        known = [*catalog.models.connections, *catalog.models.given]
        hint = nearest(name, known) if known else ": CREATE CONNECTION it first"
        raise catalog.fail(f"unknown connection {name!r}{hint}", asked.place)
    return found


def _quoted(catalog: Catalog, name: str) -> str:
    return ".".join(f"`{part}`" for part in catalog.place(name))


def _comment(comment: str) -> str:
    return f"\nCOMMENT '{_text(comment)}'" if comment else ""


def _text(value: str) -> str:
    return value.replace("'", "''")


def _options(options: Mapping[str, str]) -> str:
    return ",\n".join(f"  '{_text(key)}' = '{_text(value)}'" for key, value in options.items())


def _listed(options: Mapping[str, str]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in options.items())


def _columns(columns: Iterable[Column]) -> str:
    return ", ".join(f"{column.name} {column.type}" for column in columns)
