"""Metadata columns of a table on Kafka: what its connector and its format know beside the row."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping

from anomaly_app.errors import SqlValidationError
from anomaly_app.formats.debezium import METADATA as OF_EVENTS, PREFIX
from anomaly_app.schema import TEXTS, TIMESTAMPS, Column, DataType, Kind, Origin
from anomaly_app.sql.statements import ColumnDefinition

METADATA: Mapping[str, Collection[Kind]] = {
    "timestamp": TIMESTAMPS,
    "partition": frozenset({Kind.INT, Kind.BIGINT}),
    "offset": frozenset({Kind.BIGINT}),
    "topic": TEXTS,
    "timestamp-type": TEXTS,
    "headers": frozenset({Kind.MAP}),
}
"""Metadata keys of a Kafka record that a column may read, and the types that it may have."""

_NOT_READ = ("leader-epoch",)

_MAPS = {"headers": "MAP<STRING, BYTES>", "value.source.properties": "MAP<STRING, STRING>"}


def metadata_column(definition: ColumnDefinition, format_: str, text: str) -> Column:
    """A METADATA column.

    Args:
        definition: with its key.
        format_: of the values, which may know more.
        text: the whole job file, for errors.

    Raises:
        SqlValidationError: there is no such key, or it cannot have that type.
    """
    key, type_ = definition.metadata, definition.type
    assert key is not None and type_ is not None, "the parser gives such a column both"
    known = {**METADATA, **({name: _kinds(of) for name, of in OF_EVENTS.items()} if format_ == "debezium-json" else {})}
    if key not in known:
        near = difflib.get_close_matches(key, list(known), 1)
        if PREFIX + key in known:
            near = [PREFIX + key]
        hint = f"; did you mean '{near[0]}'?" if near else ""
        if key in OF_EVENTS:
            hint = ": it is of the format 'debezium-json'"
        what = "is not supported" if key in _NOT_READ else "does not exist"
        listed = ", ".join(f"'{name}'" for name in known)
        raise SqlValidationError(f"metadata '{key}' {what}: there are {listed}{hint}", text, *definition.span)
    fits = type_.kind in known[key]
    if key in _MAPS and fits:
        assert type_.key is not None and type_.element is not None, "a MAP has both"
        inner = {Kind.BYTES} if key == "headers" else TEXTS
        fits = type_.key.kind in TEXTS and type_.element.kind in inner
    if not fits:
        wanted = _MAPS.get(key) or " or ".join(sorted(kind.value for kind in known[key]))
        raise SqlValidationError(f"metadata '{key}' cannot be read as {type_}: use {wanted}", text, *definition.span)
    return Column(definition.name, type_, Origin.METADATA, key)


def _kinds(type_: DataType) -> Collection[Kind]:
    """Kinds of types that a value may be read as."""
    return next((kinds for kinds in (TEXTS, TIMESTAMPS) if type_.kind in kinds), {type_.kind})
