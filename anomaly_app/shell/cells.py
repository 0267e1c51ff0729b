"""Values as cells of a table: as Flink prints them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from prompt_toolkit.utils import get_cwidth

from anomaly_app.expressions.casts import cast
from anomaly_app.expressions.typed import Code, Environment
from anomaly_app.formats.rowcode import rows_function
from anomaly_app.schema import STRING, TIMESTAMPS, Column, DataType, Kind

NULL = "<NULL>"
"""What stands for NULL."""

_WIDTHS = {Kind.TINYINT: 4, Kind.SMALLINT: 6, Kind.INT: 11, Kind.BIGINT: 20, Kind.BOOLEAN: 5, Kind.DATE: 10}
"""Of types whose texts have a greatest length, as Flink has them."""


def cells_function(columns: Sequence[Column]) -> Callable[[Sequence[tuple[Any, ...]]], list[tuple[str, ...]]]:
    r"""A function from rows in memory form to rows of cells.

    Example:
        >>> cells = cells_function([Column("name", STRING), Column("ts", DataType(Kind.TIMESTAMP, 3))])
        >>> cells([("a\\nb", 1_500), (None, None)])
        [('a\\nb', '1970-01-01 00:00:01.500'), ('<NULL>', '<NULL>')]
    """
    texts = [_text_of(column.type) for column in columns]
    convert = rows_function([f"r[{number}]" for number in range(len(columns))], texts)

    def cells(rows: Sequence[tuple[Any, ...]]) -> list[tuple[str, ...]]:
        return [tuple([NULL if cell is None else cell for cell in row]) for row in convert(rows)]

    return cells


def _text_of(type_: DataType) -> Callable[[Any], str]:
    """From a value that is not NULL to its text in one line, in which nothing moves the cursor of a terminal."""
    if type_.kind is Kind.BOOLEAN:
        return lambda value: "TRUE" if value else "FALSE"
    if type_.kind is Kind.BYTES:
        return lambda value: f"x'{value.hex()}'"
    env = Environment()
    code = cast(env, Code("value", type_.with_nullable(False)), STRING)
    text = str if code is None else env.function("text", f"def text(value):\n    return {code.source}")
    return lambda value: one_line(text(value))


def one_line(text: str) -> str:
    r"""A text without characters that a terminal would obey.

    Example:
        >>> print(one_line("a\tb\x1b[2J"))
        a\tb\x1b[2J
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def width_of(type_: DataType, most: int) -> int:
    """Room for the values of a type that are not there yet.

    Args:
        type_: the type.
        most: for a type whose values may be of any length.

    Example:
        >>> width_of(DataType(Kind.TIMESTAMP, 3), 30), width_of(STRING, 30)
        (23, 30)
    """
    kind, precision = type_.kind, type_.precision or 0
    if kind in TIMESTAMPS:
        width = 20 + precision if precision else 19
    elif kind is Kind.TIME:
        width = 9 + precision if precision else 8
    elif kind is Kind.DECIMAL:
        width = precision + 3  # a sign, a point, and a zero in front of it
    else:
        width = _WIDTHS.get(kind, most)
    return max(width, len(NULL))


def fitted(cell: str, width: int) -> str:
    """A cell cut or filled to a width, which counts columns of the terminal; all is to the right, as in Flink.

    Example:
        >>> fitted("anomaly", 5), fitted("ab", 4)
        ('an...', '  ab')
    """
    if cell.isascii():  # as most are: a column for each character
        if len(cell) > width:
            cell = cell[: width - 3] + "..."
        return cell.rjust(width)
    if get_cwidth(cell) > width:
        cell = _cut(cell, width - 3) + "..."
    return " " * (width - get_cwidth(cell)) + cell


def _cut(cell: str, width: int) -> str:
    taken = 0
    for number, character in enumerate(cell):
        taken += get_cwidth(character)
        if taken > width:
            return cell[:number]
    return cell
