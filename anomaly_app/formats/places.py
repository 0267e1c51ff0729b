"""Where the columns of a table stand in a record, and the function that makes rows of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from anomaly_app.formats.topics import Record
from anomaly_app.operators import Row
from anomaly_app.schema import CHANGE, Changelog, Column, Origin, Schema, units_per_second

_METADATA = {
    "timestamp": "m.timestamp",
    "partition": "m.partition",
    "offset": "m.offset",
    "topic": "m.topic",
    "timestamp-type": "timestamp_type(m.timestamp_type)",
    "headers": "{name: data for name, data in m.headers or ()}",
}


def _timestamp_type(number: int | None) -> str:
    """Kafka's name of what the timestamp of a record tells."""
    return {0: "CreateTime", 1: "LogAppendTime"}.get(-1 if number is None else number, "NoTimestampType")


class Places:
    """Where columns stand in a record, as source: ``m`` is the record, ``v`` its decoded value, ``k`` its key.

    Args:
        schema: of the table.
        values: the columns of ``v``.
        keys: the columns of ``k``.
    """

    def __init__(self, schema: Schema, values: Sequence[Column], keys: Sequence[Column]) -> None:
        self._schema = schema
        self._known = {column.name: f"v[{number}]" for number, column in enumerate(values)}
        self._known |= {column.name: f"k[{number}]" for number, column in enumerate(keys)}
        self._deletes = schema.changelog is Changelog.UPSERT
        # The last value of an event is what it changes.
        self._known[CHANGE] = "(3 if m.value is None else 2)" if self._deletes else f"v[{len(values)}]"

    def rows_function(
        self, layout: Sequence[Column], rowtime: Column | None
    ) -> Callable[[Iterable[Record], Iterable[Any], Iterable[Any], int], list[Row]]:
        """A function from records, decoded values and decoded keys to rows; what is computed is so once a row."""
        names: dict[str, Any] = {"timestamp_type": _timestamp_type}
        done: dict[str, str] = {}
        time = "now" if rowtime is None else self._place(rowtime, names, done)
        if rowtime is not None and _per_ms(rowtime) > 1:
            time = (
                f"(None if (t := {time}) is None else t // {_per_ms(rowtime)})"
                if self._deletes
                else (f"({time}) // {_per_ms(rowtime)}")
            )
        parts = [time, "m.offset", *(self._place(column, names, done) for column in layout)]
        source = (
            "def rows(records, values, keys, now):\n"
            f"    return [({', '.join(parts)}) for m, v, k in zip(records, values, keys)]"
        )
        exec(source, names)
        return names["rows"]  # type: ignore[no-any-return]  # generated code

    def _place(self, column: Column, names: dict[str, Any], done: dict[str, str]) -> str:
        if column.name in self._known:
            return self._known[column.name]
        if column.origin is Origin.PROCTIME:
            return "now"
        if column.origin is Origin.COMPUTED:
            if column.name in done:
                return done[column.name]
            done[column.name] = f"c{len(done)}"
            computed = self._schema.computed[column.name]
            inner = {source.name: self._place(source, names, done) for source in self._schema.sources([column])}
            return f"({done[column.name]} := {computed.source(inner, names)})"
        found = _METADATA[column.source_name]
        return f"{found} * {_per_ms(column)}" if column.source_name == "timestamp" and _per_ms(column) > 1 else found


def _per_ms(column: Column) -> int:
    return units_per_second(column.type) // 1_000
