"""Whether data written with one Avro schema can be read with another: the resolution rules of Avro."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from anomaly_app.formats.avro_types import AvroSchema, Node, kind_of, shown

_PROMOTIONS = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}


def problems(reader: AvroSchema, writer: AvroSchema) -> list[str]:
    """Why the reader's schema cannot read what the writer's has written; empty if it can.

    Example:
        >>> int_, long = AvroSchema.of_type("int"), AvroSchema.of_type("long")
        >>> problems(long, int_), problems(int_, long)
        ([], ['/: long cannot be read as int'])
    """
    return list(_Comparison(reader, writer).compare(reader.root, writer.root, "/"))


class _Comparison:
    def __init__(self, reader: AvroSchema, writer: AvroSchema) -> None:
        self._reader, self._writer = reader, writer
        self._records: dict[tuple[str, str], list[str]] = {}

    def compare(self, reader: Node, writer: Node, path: str) -> Iterator[str]:
        reader, writer = self._reader.resolve(reader), self._writer.resolve(writer)
        if isinstance(writer, list):
            for branch in writer:
                yield from self.compare(reader, branch, path)
            return
        if isinstance(reader, list):
            if not any(not list(self.compare(branch, writer, path)) for branch in reader):
                yield f"{path}: {shown(writer)} cannot be read as any of {shown(reader)}"
            return
        wanted, given = kind_of(reader)[0], kind_of(writer)[0]
        if wanted != given:
            if wanted not in _PROMOTIONS.get(given, ()):
                yield f"{path}: {given} cannot be read as {wanted}"
        elif wanted == "array":
            yield from self.compare(reader["items"], writer["items"], f"{path}items/")
        elif wanted == "map":
            yield from self.compare(reader["values"], writer["values"], f"{path}values/")
        elif wanted in ("record", "enum", "fixed"):
            yield from self._compare_named(wanted, reader, writer, path)

    def _compare_named(self, kind: str, reader: Any, writer: Any, path: str) -> Iterator[str]:
        mine, theirs = reader["name"], writer["name"]
        aliases = {alias.rpartition(".")[2] for alias in reader.get("aliases", ())}
        if theirs.rpartition(".")[2] not in {mine.rpartition(".")[2], *aliases}:
            yield f"{path}: {theirs} is not {mine}"
        elif kind == "fixed" and reader["size"] != writer["size"]:
            yield f"{path}: {writer['size']} bytes cannot be read as {reader['size']}"
        elif kind == "enum" and "default" not in reader:
            lost = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
            if lost:
                yield f"{path}: the symbols {', '.join(lost)} are gone, and there is no default"
        elif kind == "record":
            pair = mine, theirs
            if pair not in self._records:
                self._records[pair] = []  # a record may hold itself
                self._records[pair] = list(self._compare_fields(reader, writer, path))
            yield from self._records[pair]

    def _compare_fields(self, reader: Any, writer: Any, path: str) -> Iterator[str]:
        given = {field["name"]: field for field in writer["fields"]}
        for field in reader["fields"]:
            names = [field["name"], *field.get("aliases", ())]
            found = next((given[name] for name in names if name in given), None)
            if found is not None:
                yield from self.compare(field["type"], found["type"], f"{path}{field['name']}/")
            elif "default" not in field:
                yield f"{path}{field['name']}: is new and has no default"
