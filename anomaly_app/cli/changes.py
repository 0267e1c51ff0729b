"""Files of tables that change: rows with a column that tells their kind, and events of Debezium as JSON lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from anomaly_app.changes import Change
from anomaly_app.cli.files import SHOWN, FileTable, JsonLines, Unreadable, json_lines, read_table
from anomaly_app.errors import DataError

KIND = "op"
"""Name of the column of a file that tells what a row does: ``+I``, ``-U``, ``+U`` or ``-D``."""

_IMAGES = {
    "c": (("after", Change.INSERT),),
    "r": (("after", Change.INSERT),),
    "u": (("before", Change.BEFORE), ("after", Change.AFTER)),
    "d": (("before", Change.DELETE),),
}


class _Event(msgspec.Struct):
    op: str | None = None
    before: msgspec.Raw = msgspec.Raw(b"null")
    after: msgspec.Raw = msgspec.Raw(b"null")
    payload: msgspec.Raw = msgspec.Raw(b"null")


def read_changes(path: Path, events: bool) -> tuple[FileTable, Sequence[str]]:
    """The rows of a file of a table that changes, and what each does.

    Args:
        path: the file.
        events: it has events of Debezium, if it is one of JSON lines, with or without a schema around them.

    Raises:
        DataError: the file cannot be read, or a kind is none.
    """
    if events and path.suffix.lower() == ".jsonl":
        return _read_events(path)
    table = read_table(path)
    if KIND not in table.names:
        return table, ()
    kinds = table.values(KIND)
    for number, kind in enumerate(kinds, 1):
        try:
            Change.of(kind or "")
        except ValueError as error:
            raise DataError(f"{path}, {table.place(number)}: column {KIND!r}: {error}") from None
    return table, kinds


def _read_events(path: Path) -> tuple[FileTable, Sequence[str]]:
    images: list[tuple[int, bytes]] = []
    kinds: list[str] = []
    unreadable: list[Unreadable] = []
    try:
        lines = list(json_lines(path))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    for number, line in lines:
        if not line.strip() or line.strip() == b"null":  # as a tombstone is printed
            continue
        try:
            found = _images(line)
        except (msgspec.MsgspecError, DataError) as error:
            shown = line[:SHOWN].decode("utf-8", "replace").rstrip()
            unreadable.append(Unreadable(number, f"no event of Debezium: {error}", shown))
            continue
        for image, kind in found:
            images.append((number, image))
            kinds.append(kind.symbol)
    table = JsonLines(images, unreadable)
    if unreadable and not images:
        first = unreadable[0]
        raise DataError(f"{path}: no event can be read; the first: line {first.line}: {first.reason}")
    return table, kinds


_decode = msgspec.json.Decoder(_Event).decode
_row = msgspec.json.Decoder(dict[str, Any]).decode


def _images(line: bytes) -> list[tuple[bytes, Change]]:
    event = _decode(line)
    if event.op is None and bytes(event.payload) != b"null":
        event = _decode(event.payload)
    if event.op not in _IMAGES:
        raise DataError(f"'op' is {event.op!r}: it must be c, r, u or d")
    images: list[tuple[bytes, Change]] = []
    for name, kind in _IMAGES[event.op]:
        image = bytes(event.before if name == "before" else event.after)
        if image == b"null":
            raise DataError(f"'{name}' is null")
        _row(image)
        images.append((image, kind))
    return images
