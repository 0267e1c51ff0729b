"""Models in ONNX files, answered by onnxruntime within the process.

One call answers a batch of rows where all inputs of the graph take any number of rows, else there is a call for each. A
session has one thread: with more of them onnxruntime adds numbers up in an order that hangs on the size of the batch,
and scores would differ in their last bits. Texts are objects, a NULL text is ""; a NULL number is NaN.

Source: the format at https://onnx.ai/onnx/repo-docs/IR.html; how sklearn's outputs look, of skl2onnx's documentation.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import nan
from pathlib import Path
from typing import Any

import numpy as np

from anomaly_app.errors import DataError, OptionError
from anomaly_app.models.model import LocalModel, Values
from anomaly_app.models.values import Outputs
from anomaly_app.schema import APPROXIMATE, NUMBERS, TEXTS, WHOLE_NUMBERS, Column, DataType, Kind

PATH = "onnx.path"
OUTPUT = "onnx.output"
"""Option: which outputs of the graph the columns of OUTPUT are, such as ``label, probabilities[1]``."""

INSTALL = "the provider 'onnx' needs onnxruntime: install it with pip install 'anomaly-app[onnx]'"

_NUMBERS = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
    "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(int16)": np.int16, "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8, "tensor(uint16)": np.uint16, "tensor(uint32)": np.uint32, "tensor(uint64)": np.uint64,
}  # fmt: skip
_REALS = ("tensor(float)", "tensor(double)", "tensor(float16)")

_sessions: dict[tuple[str, int, int], Any] = {}
"""Sessions of this process, by path and what the file was when it was read."""


class OnnxModel(LocalModel):
    """A model in a file.

    Args:
        inputs: columns of INPUT.
        outputs: columns of OUTPUT.
        options: ``onnx.path``, and perhaps ``onnx.output``.

    Raises:
        OptionError: the file cannot be read, or its graph takes or gives something else.
    """

    def __init__(self, inputs: Sequence[Column], outputs: Sequence[Column], options: Mapping[str, str]) -> None:
        path = options.get(PATH, "")
        if not path:
            raise OptionError(PATH, f"the provider 'onnx' needs '{PATH}': where the file is")
        self._session = _session(Path(path).expanduser())
        self._inputs = inputs
        self._feeds = _feeds(inputs, self._session.get_inputs())
        self._by_row = any(feed.rows == 1 for feed in self._feeds)
        self._by_column = any(feed.by_column for feed in self._feeds)
        self._picks = _picks(outputs, self._session.get_outputs(), options.get(OUTPUT, ""))
        self._names = [self._session.get_outputs()[number].name for number in sorted({p.number for p in self._picks})]
        try:
            self._converts = [_convert(column) for column in outputs]
        except TypeError as error:
            raise OptionError("", str(error)) from None

    def score(self, rows: Sequence[Values]) -> list[Values]:
        """What the model gives for some rows; raises ``DataError``."""
        if self._by_row and len(rows) > 1:
            return [self._call([row])[0] for row in rows]
        return self._call(rows) if rows else []

    def _call(self, rows: Sequence[Values]) -> list[Values]:
        columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) if self._by_column else ()
        given = {feed.name: feed.tensor(columns, rows) for feed in self._feeds}
        try:
            answers = dict(zip(self._names, self._session.run(self._names, given), strict=True))
        except Exception as error:  # onnxruntime raises classes of its own for each status
            raise DataError(f"onnxruntime: {' '.join(str(error).split())}") from None
        values = [
            convert(pick.of(answers[pick.name], len(rows)), answers[pick.name])
            for pick, convert in zip(self._picks, self._converts, strict=True)
        ]
        return list(zip(*values, strict=True))


def _session(path: Path) -> Any:
    """The session of a file, which is read once."""
    try:
        import onnxruntime
    except ImportError:
        raise OptionError("provider", INSTALL) from None
    try:
        stat = path.stat()
        key = (str(path.resolve()), stat.st_mtime_ns, stat.st_size)
        if key not in _sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            options.log_severity_level = 3
            _sessions[key] = onnxruntime.InferenceSession(
                path.read_bytes() if not _has_data_beside(path) else str(path), options,
                providers=["CPUExecutionProvider"],
            )  # fmt: skip
    except OSError as error:
        raise OptionError(PATH, f"the model {path} cannot be read: {error.strerror}") from None
    except Exception as error:  # onnxruntime raises classes of its own for each status
        raise OptionError(PATH, f"{path} is no model that onnxruntime takes: {' '.join(str(error).split())}") from None
    return _sessions[key]


def _has_data_beside(path: Path) -> bool:
    """Whether a model may keep numbers in files beside it: then onnxruntime must know where it is."""
    return any(one.name.startswith(path.name) and one != path for one in path.parent.iterdir())


# --- what the graph takes ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Feed:
    """An input of the graph.

    Args:
        name: of it.
        rows: how many it takes; None for any number.
        tensor: makes it of the columns, or of the rows.
        by_column: it is made of the columns.
    """

    name: str
    rows: int | None
    tensor: Callable[[Sequence[Sequence[Any]], Sequence[Values]], Any]
    by_column: bool = True


def _feeds(inputs: Sequence[Column], graph: Sequence[Any]) -> list[_Feed]:
    if not inputs:
        raise OptionError("", "the model has no INPUT: name the columns that its graph takes")
    named = {one.name: one for one in graph}
    folded = {one.name.lower(): one for one in graph}
    found = [named.get(column.name) or folded.get(column.name.lower()) for column in inputs]
    if len(graph) == 1 and (len(inputs) > 1 or found[0] is None):
        return [_one_tensor(inputs, graph[0])]
    missing = [column.name for column, one in zip(inputs, found, strict=True) if one is None]
    if missing:
        raise OptionError("", f"the graph has no input {missing[0]!r}: it has {_listed(one.name for one in graph)}")
    given = {one.name for one in found if one is not None}
    left = [one.name for one in graph if one.name not in given]
    if left:
        raise OptionError("", f"the graph has an input {left[0]!r} that no column of INPUT is called")
    return [_column(column, one, k) for k, (column, one) in enumerate(zip(inputs, found, strict=True)) if one]


def _column(column: Column, graph: Any, place: int) -> _Feed:
    """An input of the graph that is a column."""
    if column.type.kind is Kind.ARRAY:
        return _one_tensor([column], graph, place)
    shape = list(graph.shape)
    if any(size not in (1, None) and not isinstance(size, str) for size in shape[1:]):
        problem = f"the graph wants {_shaped(graph)} for {graph.name!r}, and column {column.name!r} is one value"
        raise OptionError("", problem)
    make = _values(column, graph)
    width = (-1, *(1 for _ in shape[1:])) if shape else ()

    def tensor(columns: Sequence[Sequence[Any]], rows: Sequence[Values]) -> Any:
        return make(columns[place]).reshape(width)

    return _Feed(graph.name, _rows(graph), tensor)


def _one_tensor(inputs: Sequence[Column], graph: Any, place: int = 0) -> _Feed:
    """An input of the graph that all columns stand in, side by side."""
    shape = list(graph.shape)
    width = shape[1] if len(shape) > 1 else 1
    array = inputs[0].type if len(inputs) == 1 and inputs[0].type.kind is Kind.ARRAY else None
    if array is None and isinstance(width, int) and width != len(inputs):
        plural = "s" * (len(inputs) != 1)
        problem = f"the graph wants {_shaped(graph)} for {graph.name!r}: {width} values, and INPUT has {len(inputs)}"
        raise OptionError("", f"{problem} column{plural}")
    if len(shape) > 2:
        raise OptionError("", f"the graph wants {_shaped(graph)} for {graph.name!r}: only rows of values can be given")
    makes = [_values(c if array is None else Column(c.name, array.element or c.type), graph) for c in inputs]
    dtype: Any = _NUMBERS.get(graph.type)
    # A FLOAT in memory has the digits that are printed of it: its exact number is that of 32 bits.
    exact = graph.type == "tensor(float)" or all(c.type.kind is not Kind.FLOAT for c in inputs)
    is_real = exact and graph.type in _REALS and all(c.type.kind in NUMBERS - {Kind.DECIMAL} for c in inputs)

    def tensor(columns: Sequence[Sequence[Any]], rows: Sequence[Values]) -> Any:
        if array is not None:
            return np.stack([makes[0](value or ()) for value in columns[place]]).reshape(len(rows), -1)
        return np.stack([make(values) for make, values in zip(makes, columns, strict=True)], axis=1)

    if is_real and array is None:
        return _Feed(graph.name, _rows(graph), _matrix(len(inputs), dtype), by_column=False)
    return _Feed(graph.name, _rows(graph), tensor)


def _matrix(width: int, dtype: Any) -> Callable[[Sequence[Sequence[Any]], Sequence[Values]], Any]:
    """A function from rows of numbers to an array; NULL is NaN."""
    letter = _LETTERS.get(dtype)
    pack = struct.Struct(f"{width}{letter}").pack if letter else None

    def matrix(columns: Sequence[Sequence[Any]], rows: Sequence[Values]) -> Any:
        if pack is not None:
            try:
                data = bytearray().join([pack(*row) for row in rows])
            except struct.error:  # a NULL
                pass
            else:
                return np.frombuffer(data, dtype).reshape(len(rows), width)
        return _reals(list(chain.from_iterable(rows)), dtype).reshape(len(rows), width)

    return matrix


def _values(column: Column, graph: Any) -> Callable[[Sequence[Any]], Any]:
    """A function from values of a column to an array that the graph takes."""
    type_, kind, wanted = column.type.with_nullable(True), column.type.kind, graph.type
    if wanted == "tensor(string)" and kind in TEXTS:
        return lambda values: np.array(["" if value is None else value for value in values], dtype=object)
    fits = (wanted in _REALS and kind in NUMBERS) or (wanted in _NUMBERS and kind in WHOLE_NUMBERS)
    fits = fits or (kind is Kind.BOOLEAN and (wanted in _NUMBERS or wanted == "tensor(bool)"))
    if not fits:
        raise OptionError(
            column.name, f"column {column.name!r} is {type_}, and the graph wants {wanted} for {graph.name!r}"
        )
    dtype: Any = _NUMBERS.get(wanted, np.bool_)
    if wanted in _REALS and kind is Kind.FLOAT:
        return lambda values: _reals(values, np.float32).astype(dtype, copy=False)
    if wanted in _REALS:
        return lambda values: _reals(values, dtype)

    def whole(values: Sequence[Any]) -> Any:
        if None in values:
            raise DataError(
                f"column {column.name!r} is NULL, and the graph takes {wanted}, which has none: COALESCE it"
            )
        try:
            return np.array(values, dtype=dtype)
        except OverflowError:
            raise DataError(f"a value of column {column.name!r} is too large for {wanted}") from None

    return whole


def _reals(values: Sequence[Any], dtype: Any) -> Any:
    """Numbers as an array; NULL is NaN."""
    letter = _LETTERS.get(dtype)
    if letter is None:
        return np.array(values, dtype)
    pack = struct.Struct(f"{len(values)}{letter}").pack
    try:
        data = pack(*values)
    except struct.error:
        data = pack(*[nan if value is None else value for value in values])
    return np.frombuffer(bytearray(data), dtype)


_LETTERS = {np.float32: "f", np.float64: "d"}
"""Of :mod:`struct`, which is quicker with numbers of Python than numpy, and rounds as it does."""


def _rows(graph: Any) -> int | None:
    """How many rows an input takes; None for any number."""
    size = graph.shape[0] if graph.shape else 1
    if not isinstance(size, int):
        return None
    if size != 1:
        problem = f"the graph wants {_shaped(graph)} for {graph.name!r}: {size} rows at once, and rows come one by one"
        raise OptionError("", problem)
    return 1


def _shaped(graph: Any) -> str:
    sizes = ", ".join(str(size) if isinstance(size, int) else "N" for size in graph.shape)
    return f"{graph.type} of shape ({sizes})"


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names))


_EXACT = {Kind.DOUBLE: "f", Kind.BIGINT: "iub", Kind.INT: "b", Kind.SMALLINT: "b", Kind.TINYINT: "b"}
"""Kinds of columns, and of arrays whose numbers are numbers of these as they are."""


def _convert(column: Column) -> Callable[[Sequence[Any], Any], Sequence[Any]]:
    """A function from what an output gives for a column, and the output, to values of the column."""
    one, exact = Outputs([column]).row, _EXACT.get(column.type.kind, "")

    def convert(values: Sequence[Any], answer: Any) -> Sequence[Any]:
        if isinstance(answer, np.ndarray) and answer.dtype.kind in exact and answer.dtype != np.uint64:
            return values
        return [one((value,))[0] for value in values]

    return convert


# --- what the graph gives ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pick:
    """What of the graph's outputs a column is.

    Args:
        number: of the output.
        name: of it.
        key: of an element of each row; None for all of them.
        several: all elements are wanted, as an array or map.
    """

    number: int
    name: str
    key: str | None
    several: bool

    def of(self, answer: Any, rows: int) -> Sequence[Any]:
        """A value for each row."""
        if isinstance(answer, np.ndarray):
            answer = self._of_array(answer, rows)
        elif self.key is not None:
            answer = [_entry(one, self.key) for one in answer]
        if len(answer) != rows:
            raise DataError(f"output {self.name!r} of the graph has {len(answer)} values for {rows} rows")
        found: Sequence[Any] = answer
        return found

    def _of_array(self, answer: Any, rows: int) -> Sequence[Any]:
        if answer.ndim == 0 or len(answer) != rows:
            raise DataError(f"output {self.name!r} of the graph has the shape {answer.shape} for {rows} rows")
        if self.key is not None:
            answer = answer.reshape(rows, -1)
            if int(self.key) >= answer.shape[1]:
                raise DataError(
                    f"output {self.name!r} of the graph has {answer.shape[1]} values, and none at {self.key}"
                )
            answer = answer[:, int(self.key)]
        elif not self.several:
            if answer.size != rows:
                problem = f"output {self.name!r} of the graph has {answer.size // rows} values for a row"
                raise DataError(f"{problem}: '{OUTPUT}' = '{self.name}[0]' picks one, an ARRAY takes all")
            answer = answer.reshape(rows)
        found: Sequence[Any] = answer.tolist()
        return found


def _entry(entries: Mapping[Any, Any], key: str) -> Any:
    for name, value in entries.items():
        if str(name) == key:
            return value
    raise DataError(f"the model gives nothing for {key!r}: it has {_listed(entries)}")


_PICKED = re.compile(r"([^\[\]]+)(?:\[([^\[\]]+)\])?")


def _picks(outputs: Sequence[Column], graph: Sequence[Any], said: str) -> list[_Pick]:
    if not outputs:
        raise OptionError("", "the model has no OUTPUT: name the columns that it gives")
    names = [one.name for one in graph]
    folded = [name.lower() for name in names]
    if said:
        wanted = [part.strip() for part in said.split(",")]
        if len(wanted) != len(outputs):
            problem = f"'{OUTPUT}' names {len(wanted)} outputs, and OUTPUT has {len(outputs)} columns"
            raise OptionError(OUTPUT, problem)
    else:
        width = graph[0].shape[-1] if len(graph) == 1 and len(graph[0].shape) > 1 else None
        spread = len(outputs) > 1 and width == len(outputs)
        by_name = all(column.name.lower() in folded for column in outputs)
        if not spread and not by_name and len(outputs) > len(graph):
            problem = f"OUTPUT has {len(outputs)} columns, and the graph gives {len(graph)}: {_listed(names)}"
            raise OptionError("", f"{problem}; '{OUTPUT}' says which they are, such as 'label, probabilities[1]'")
        wanted = [
            f"{names[0]}[{k}]" if spread else column.name if by_name else names[k] for k, column in enumerate(outputs)
        ]
    found = []
    for column, text in zip(outputs, wanted, strict=True):
        match = _PICKED.fullmatch(text)
        name = match[1].strip() if match else text
        if match is None or name.lower() not in folded:
            raise OptionError(OUTPUT, f"the graph has no output {name!r}: it has {_listed(names)}")
        number = names.index(name) if name in names else folded.index(name.lower())
        found.append(_pick(column, number, graph[number], match[2].strip() if match[2] else None))
    return found


def _pick(column: Column, number: int, graph: Any, key: str | None) -> _Pick:
    several = column.type.kind in (Kind.ARRAY, Kind.MAP)
    is_map = graph.type.startswith("seq(map(")
    if key is not None and not is_map and not key.isdigit():
        raise OptionError(
            OUTPUT, f"output {graph.name!r} of the graph is {graph.type}: [{key}] is no number of a value"
        )
    if is_map and key is None and column.type.kind is not Kind.MAP:
        problem = f"output {graph.name!r} of the graph is a map, and column {column.name!r} is {_plain(column.type)}"
        raise OptionError("", f"{problem}: '{OUTPUT}' = '{graph.name}[1]' picks a value of it")
    if column.type.kind is Kind.MAP and not is_map:
        raise OptionError(
            column.name, f"column {column.name!r} is {_plain(column.type)}, and the graph gives {graph.type}"
        )
    is_text = graph.type == "tensor(string)"
    if is_text and column.type.kind in APPROXIMATE | WHOLE_NUMBERS | {Kind.BOOLEAN}:
        problem = f"column {column.name!r} is {_plain(column.type)}, and output {graph.name!r} of the graph is text"
        raise OptionError("", problem)
    return _Pick(number, graph.name, key, several)


def _plain(type_: DataType) -> DataType:
    return type_.with_nullable(True)
