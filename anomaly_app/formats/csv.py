"""CSV, one line a record, quoted and read as Flink's ``csv`` format (Jackson) does."""

from __future__ import annotations

import base64
import csv
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from anomaly_app import conversions as c
from anomaly_app.errors import DecodeError, IgnoredError
from anomaly_app.floats import float_to_text, single_to_text
from anomaly_app.formats.misfit import UNFIT, Convert, Misfit, array_of, misfit, part, row_of
from anomaly_app.formats.options import CsvOptions
from anomaly_app.formats.rowcode import rows_function
from anomaly_app.formats.texts import from_text, to_text
from anomaly_app.schema import APPROXIMATE, TEXTS, TIMESTAMPS, WHOLE_NUMBERS, Column, DataType, Kind

LONGEST_PLAIN = 24
"""Jackson quotes longer texts (in UTF-16 units) without looking at them."""

_NESTED = frozenset({Kind.ARRAY, Kind.ROW})

_LARGEST_FIELD = 1 << 27
csv.field_size_limit(_LARGEST_FIELD)


class CsvDecoder:
    """Decodes records of one line each into tuples of columns in memory form.

    Args:
        columns: of the line, in order.
        wanted: numbers of the columns to take out.
        options: of the format.

    Raises:
        TypeError: a column has a type that CSV cannot hold.

    Example:
        >>> from anomaly_app.schema import INT, STRING
        >>> decoder = CsvDecoder([Column("user", STRING), Column("qty", INT)], [1, 0], CsvOptions())
        >>> decoder.decode_all([b'"ann, b",3'])
        [(3, 'ann, b')]
    """

    def __init__(self, columns: Sequence[Column], wanted: Sequence[int], options: CsvOptions) -> None:
        self._columns, self._wanted, self._options = columns, wanted, options
        self._arity = len(columns)
        quoting = csv.QUOTE_NONE if options.quote is None else csv.QUOTE_MINIMAL
        self._dialect: dict[str, Any] = {
            "delimiter": options.delimiter,
            "quotechar": options.quote,
            "escapechar": options.escape,
            "quoting": quoting,
            "strict": True,
        }
        types = [columns[number].type for number in wanted]
        self._converts = [_with_null(_reader(type_, options), type_, options) for type_ in types]
        # Without what is needed to tell the errors.
        quick = [_reader(type_, options) if type_.kind in _NESTED else from_text(type_) for type_ in types]
        self._rows = rows_function(
            [f"r[{number}]" for number in wanted],
            [_with_null(convert, type_, options) for convert, type_ in zip(quick, types, strict=True)],
        )

    def decode_all(self, payloads: Sequence[bytes]) -> list[tuple[Any, ...]]:
        """All records of a batch, the quick way; raises if any of them is unusual: use :meth:`decode_one` then."""
        lines = list(csv.reader([str(payload, "utf-8") for payload in payloads], **self._dialect))
        # An open quote draws the next record in: then there are fewer lines than records.
        if len(lines) != len(payloads) or set(map(len, lines)) != {self._arity} or self._options.allow_comments:
            raise DecodeError("a record is not one line of the table's columns")
        return self._rows(lines)

    def decode_one(self, payload: bytes) -> tuple[Any, ...] | None:
        """One record; None for a comment.

        Raises:
            IgnoredError: it is no line of the table's columns, and such records are to be ignored.
            DecodeError: saying which column is wrong, and why.
        """
        try:
            text = str(payload, "utf-8")
            if self._options.allow_comments and text.startswith("#"):
                return None
            lines = list(csv.reader([text], **self._dialect))
        except (csv.Error, ValueError) as error:
            raise self._unreadable(f"not CSV: {error}") from None
        fields = lines[0] if lines else []
        # As in Flink, where errors are ignored columns that are missing are NULL, but a line with too many is no row.
        if len(fields) != self._arity and not (self._options.ignore_parse_errors and 0 < len(fields) < self._arity):
            problem = f"{len(fields)} fields where the table has {self._arity} columns: {text[:80]!r}"
            raise self._unreadable(problem)
        return tuple([self._value(fields, place) for place in range(len(self._wanted))])

    def _unreadable(self, problem: str) -> DecodeError:
        return IgnoredError(problem) if self._options.ignore_parse_errors else DecodeError(problem)

    def _value(self, fields: list[str], place: int) -> Any:
        number = self._wanted[place]
        column, convert = self._columns[number], self._converts[place]
        value: Any = None
        try:
            if number < len(fields):
                value = fields[number] if convert is None else convert(fields[number])
        except Misfit as error:
            if not (self._options.ignore_parse_errors and column.type.nullable):
                empty = not fields[number] and self._options.null_literal is None
                hint = " (to read empty fields as NULL, set 'csv.null-literal' = '')" if empty else ""
                raise DecodeError(f"column {column.name}{error.path}: {error.problem}{hint}") from None
        if value is None and not column.type.nullable:
            raise DecodeError(f"column {column.name} is NULL, and it is NOT NULL")
        return value


def _with_null(convert: Convert | None, type_: DataType, options: CsvOptions) -> Convert | None:
    literal = options.null_literal
    if literal is None:
        return convert

    def read(text: str) -> Any:
        if text == literal:
            if type_.nullable:
                return None
            raise Misfit("NULL in a column that is NOT NULL")
        return text if convert is None else convert(text)

    return read


def _reader(type_: DataType, options: CsvOptions) -> Convert | None:
    if type_.kind is Kind.ARRAY and type_.element is not None:
        array = array_of(_part_reader(type_.element, options))
        return lambda text: array(text.split(options.array_delimiter)) if text else []
    if type_.kind is Kind.ROW:
        row = row_of([(name, _part_reader(field, options)) for name, field in type_.fields])
        size = len(type_.fields)

        def read_row(text: str) -> Any:
            items: list[str | None] = [*text.split(options.array_delimiter)]
            missing = size - len(items)
            if missing > 0 and options.ignore_parse_errors and text:
                items += [None] * missing
            elif missing:
                raise Misfit(f"{len(items)} parts where {type_} has {size}")
            return row(items)

        return read_row
    return _scalar_reader(type_)


def _scalar_reader(type_: DataType) -> Convert | None:
    read = from_text(type_)
    if read is None:
        return None

    def convert(text: str) -> Any:
        try:
            return read(text)
        except Misfit:
            raise
        except (*UNFIT, DecodeError):
            misfit(repr(text), "str", type_)

    return convert


def _part_reader(type_: DataType, options: CsvOptions) -> Convert:
    """Of an element of an ARRAY or ROW, which are scalars."""
    return part(type_, _with_null(_scalar_reader(type_), type_, options), ignore=options.ignore_parse_errors)


class CsvEncoder:
    """Encodes tuples of columns in memory form as lines without a line end.

    A text is quoted as Jackson quotes it: if it is longer than :data:`LONGEST_PLAIN`, or has a character not above
    the delimiter and the quote (which a blank is), or the escape character.

    Args:
        columns: in the order of the tuples.
        options: of the format.

    Raises:
        TypeError: a column has a type that CSV cannot hold.

    Example:
        >>> from anomaly_app.schema import INT, STRING, TIMESTAMP_3
        >>> columns = [Column("user", STRING), Column("qty", INT), Column("at", TIMESTAMP_3)]
        >>> CsvEncoder(columns, CsvOptions()).encode(("user-67", 30, 1752156422697))
        b'user-67,30,"2025-07-10 14:07:02.697"'
    """

    def __init__(self, columns: Sequence[Column], options: CsvOptions) -> None:
        self._writers = [_writer(column.type, options) for column in columns]
        self._null = options.null_literal or ""
        self._delimiter = options.delimiter

    def encode(self, values: Iterable[Any]) -> bytes:
        """The line of a row; raises :class:`EvaluationError` for a date that has no text."""
        null = self._null
        return self._delimiter.join(
            [null if value is None else write(value) for write, value in zip(self._writers, values, strict=True)]
        ).encode()


def _writer(type_: DataType, options: CsvOptions) -> Callable[[Any], str]:
    quote = _quoting(options)
    if type_.kind is Kind.ARRAY and type_.element is not None:
        return _joined([_scalar(type_.element, options)], options, quote)
    if type_.kind is Kind.ROW:
        return _joined([_scalar(field, options) for _, field in type_.fields], options, quote)
    plain = _scalar(type_, options)
    if type_.kind in WHOLE_NUMBERS | APPROXIMATE | {Kind.BOOLEAN, Kind.DECIMAL}:
        return plain
    return quote if plain is str else lambda value: quote(plain(value))


def _joined(
    parts: Sequence[Callable[[Any], str]], options: CsvOptions, quote: Callable[[str], str]
) -> Callable[[Any], str]:
    null = options.null_literal or ""

    def write(value: Sequence[Any]) -> str:
        each = parts if len(parts) == len(value) else list(parts) * len(value)
        texts = [null if item is None else part(item) for part, item in zip(each, value, strict=True)]
        return quote(options.array_delimiter.join(texts))

    return write


def _scalar(type_: DataType, options: CsvOptions) -> Callable[[Any], str]:
    kind = type_.kind
    if kind in TEXTS | WHOLE_NUMBERS:
        return str
    if kind in APPROXIMATE:
        return single_to_text if kind is Kind.FLOAT else float_to_text
    if kind is Kind.DECIMAL:
        return str if options.scientific_decimals else c.decimal_to_text
    if kind is Kind.BOOLEAN:
        return lambda value: "true" if value else "false"
    if kind in TIMESTAMPS | {Kind.DATE, Kind.TIME}:
        return to_text(type_)
    if kind is Kind.BYTES:
        return lambda value: base64.b64encode(value).decode()
    raise TypeError(f"CSV cannot hold {type_}")


def _quoting(options: CsvOptions) -> Callable[[str], str]:
    if options.quote is None:
        return lambda text: text
    quote, escape = options.quote, options.escape
    safe = chr(max(ord(options.delimiter), ord(quote)) + 1)

    def write(text: str) -> str:
        length = len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2
        if length <= LONGEST_PLAIN and (not text or min(text) >= safe) and (escape is None or escape not in text):
            return text
        if escape is not None:
            text = text.replace(escape, escape * 2)
        return f"{quote}{text.replace(quote, quote * 2)}{quote}"

    return write
