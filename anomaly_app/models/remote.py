"""Models behind an address: what is sent to them, and what an answer means. Nothing here makes a call.

Azure ML's request is ``{"input_data": {"columns": […], "data": [[…]]}}``, its answer a list with a value for each row.
Models of OpenAI, and of all who speak as it does, are given a text and asked for a text, or for JSON where several
columns are wanted. ``rest`` is any address that takes and gives JSON: paths say what stands where.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from anomaly_app.errors import DataError, OptionError
from anomaly_app.models.model import RemoteModel, Request, Task, Values
from anomaly_app.models.values import Outputs
from anomaly_app.schema import NUMBERS, TEXTS, Column, Kind
from anomaly_app.secrecy import without

SHOWN = 300
"""Characters of an answer that an error quotes."""
AZURE_ROWS = 32
"""Rows of a request to Azure ML; who takes one at a time only is found out, and then asked so."""


class AnswerError(DataError):
    """An answer is not what its provider promises.

    Args:
        problem: what is wrong.
        body: the answer, whose beginning is told.
        secrets: that are not to be shown.
    """

    code = "answer"

    def __init__(self, problem: str, body: bytes, secrets: Sequence[str] = ()) -> None:
        super().__init__(f"{problem}; the answer begins {beginning(body, secrets)}")


def beginning(body: bytes, secrets: Sequence[str] = ()) -> str:
    r"""The beginning of an answer, for people.

    Example:
        >>> beginning(b"<html>\n<h1>Sorry</h1>")
        "'<html> <h1>Sorry</h1>'"
    """
    text = " ".join(without(body[: 8 * SHOWN].decode("utf-8", "replace"), secrets).split())
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "…")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model is, and what lets one in.

    Args:
        url: where to.
        headers: of each request.
        secrets: that stand in the headers, or in the address.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: Sequence[str] = field(default=(), repr=False)


class _Remote(RemoteModel):
    """What all have in common.

    Args:
        place: where the model is.
        inputs: columns of INPUT.
        outputs: columns of OUTPUT.
        batch_rows: of a request.
    """

    def __init__(self, place: Place, inputs: Sequence[Column], outputs: Sequence[Column], batch_rows: int = 1) -> None:
        if not outputs:
            raise OptionError("", "the model has no OUTPUT: name the columns that it gives")
        try:
            self._outputs = Outputs(outputs)
        except TypeError as error:
            raise OptionError("", str(error)) from None
        self._place, self._inputs, self.batch_rows = place, inputs, batch_rows
        self.url, self.secrets = without(place.url, place.secrets), place.secrets

    def _request(self, value: Any) -> Request:
        headers = {"Content-Type": "application/json", "Accept": "application/json", **self._place.headers}
        return Request(self._place.url, headers, json.dumps(value, ensure_ascii=False, allow_nan=False).encode())

    def _fail(self, problem: str, body: bytes) -> AnswerError:
        return AnswerError(problem, body, self._place.secrets)

    def _loaded(self, body: bytes) -> Any:
        try:
            return json.loads(body)
        except ValueError:
            raise self._fail("the model answers something that is no JSON", body) from None

    def _rows(self, found: Sequence[Any], rows: int, body: bytes) -> list[Values | DataError]:
        """Each element is the values of a row: a list or an object of them, or the only one."""
        if len(found) != rows:
            problem = f"the model gives {len(found)} result{'s' * (len(found) != 1)} for {rows} row{'s' * (rows != 1)}"
            raise self._fail(problem, body)
        return [self._row_or_error(one, body) for one in found]

    def _row_or_error(self, found: Any, body: bytes) -> Values | DataError:
        """The other rows of the answer are none the worse."""
        try:
            return self._row(found, body)
        except DataError as error:
            return error

    def _row(self, found: Any, body: bytes) -> Values:
        columns = self._outputs.columns
        if isinstance(found, Mapping) and (len(columns) > 1 or columns[0].name in found):
            missing = next((column.name for column in columns if column.name not in found), None)
            if missing is not None:
                raise self._fail(f"the model's result has no {missing!r}", body)
            values = [found[column.name] for column in columns]
        elif isinstance(found, list) and (
            len(columns) > 1 or (len(found) == 1 and columns[0].type.kind is not Kind.ARRAY)
        ):
            if len(found) != len(columns):
                problem = f"the model gives {len(found)} values for a row, and OUTPUT has {len(columns)} columns"
                raise self._fail(problem, body)
            values = found
        elif len(columns) == 1:
            values = [found]
        else:
            raise self._fail(f"the model gives one value for a row, and OUTPUT has {len(columns)} columns", body)
        try:
            return self._outputs.row(values)
        except DataError as error:
            raise self._fail(str(error), body) from None


class AzureMl(_Remote):
    """An online endpoint of Azure Machine Learning."""

    def request(self, rows: Sequence[Values]) -> Request:
        """Names of the columns, and the values of each row."""
        names = [column.name for column in self._inputs]
        data = [[plain(value) for value in row] for row in rows]
        return self._request({"input_data": {"columns": names, "data": data}})

    def answer(self, body: bytes, rows: int) -> list[Values | DataError]:
        """A list with a result for each row; some scripts give it as a text, which is JSON again."""
        found = self._loaded(body)
        if isinstance(found, str):
            found = self._loaded(found.encode())
        if not isinstance(found, list):
            raise self._fail("the model's answer is no list of results", body)
        if rows == 1 and len(found) == len(self._outputs.columns) > 1:
            found = [found]  # one row, whose values are not in a list of their own
        return self._rows(found, rows, body)


class OpenAi(_Remote):
    """A model that is spoken with as OpenAI has it: chat completions, or embeddings.

    Args:
        place: where it is.
        inputs: one column is the text; several become a JSON object.
        outputs: one column takes the answer; several are read out of a JSON object.
        model: its name there.
        task: embedding, or something else.
        system: what the model is told before; "" for nothing.
        params: further members of the request.
    """

    def __init__(
        self, place: Place, inputs: Sequence[Column], outputs: Sequence[Column], model: str, task: Task | None,
        system: str = "", params: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(place, inputs, outputs)
        self._model, self._system, self._params = model, system, dict(params or {})
        self._embeds = task is Task.EMBEDDING
        if self._embeds and (len(outputs) != 1 or outputs[0].type.kind is not Kind.ARRAY):
            raise OptionError("", "a model with 'task' = 'embedding' has one OUTPUT column, an ARRAY<FLOAT>")
        if not inputs or any(column.type.kind not in TEXTS | NUMBERS | {Kind.BOOLEAN} for column in inputs):
            raise OptionError("", "the INPUT of such a model is a text, or several columns of texts and numbers")

    def request(self, rows: Sequence[Values]) -> Request:
        """One text, and what is asked of it."""
        (row,) = rows
        if len(self._inputs) == 1:
            text = "" if row[0] is None else str(plain(row[0]))
        else:
            named = {column.name: plain(value) for column, value in zip(self._inputs, row, strict=True)}
            text = json.dumps(named, ensure_ascii=False)
        if self._embeds:
            return self._request({"model": self._model, "input": text, **self._params})
        outputs = self._outputs.columns
        system = self._system
        body: dict[str, Any] = {"model": self._model}
        if len(outputs) > 1:
            wanted = ", ".join(f"{column.name} ({column.type.with_nullable(True)})" for column in outputs)
            system = f"{system}\nAnswer with a JSON object whose members are {wanted}.".strip()
            body["response_format"] = {"type": "json_object"}
        messages = [{"role": "system", "content": system}] if system else []
        body["messages"] = [*messages, {"role": "user", "content": text}]
        return self._request(body | self._params)

    def answer(self, body: bytes, rows: int) -> list[Values | DataError]:
        """The text of the first choice, or the embedding."""
        found = self._loaded(body)
        try:
            if self._embeds:
                return [self._row_or_error(found["data"][0]["embedding"], body)]
            text = found["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            wanted = "data[0].embedding" if self._embeds else "choices[0].message.content"
            raise self._fail(f"the answer has no {wanted}", body) from None
        if len(self._outputs.columns) == 1:
            return [self._row_or_error(text.strip() if isinstance(text, str) else text, body)]
        try:
            values = json.loads(_FENCED.sub(r"\1", text))
        except (TypeError, ValueError):
            raise self._fail("the model was asked for a JSON object, and gives something else", body) from None
        if not isinstance(values, dict):
            raise self._fail("the model was asked for a JSON object, and gives something else", body)
        return [self._row_or_error(values, body)]


_FENCED = re.compile(r"\A\s*```\w*\s(.*?)\s*```\s*\Z", re.DOTALL)
"""JSON in a block of code, as some models write it though they were asked for JSON alone."""


class Rest(_Remote):
    """Any address that takes and gives JSON.

    Args:
        place: where it is.
        inputs: columns of INPUT: members of an object for each row, by name.
        outputs: columns of OUTPUT.
        within: path of the member of the request that holds the row, or the list of rows; () for the request itself.
        found_at: path in the answer of the result, or of the list of results; () for the answer itself.
        batch_rows: more than one: rows and results are lists.
        constants: further members of the request.
    """

    def __init__(
        self, place: Place, inputs: Sequence[Column], outputs: Sequence[Column], *, within: Sequence[str] = (),
        found_at: Sequence[str] = (), batch_rows: int = 1, listed: bool = False,
        constants: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(place, inputs, outputs, batch_rows)
        self._within, self._found_at, self._listed = within, found_at, listed or batch_rows > 1
        self._constants = dict(constants or {})
        if self._constants and not within:
            raise OptionError("rest.request_path", "'rest.request_path' must say where rows stand beside 'rest.params'")

    def request(self, rows: Sequence[Values]) -> Request:
        """The rows as objects, at their place."""
        names = [column.name for column in self._inputs]
        objects = [dict(zip(names, map(plain, row), strict=True)) for row in rows]
        value: Any = objects if self._listed else objects[0]
        for name in reversed(self._within):
            value = {name: value}
        return self._request(self._constants | value if self._constants else value)

    def answer(self, body: bytes, rows: int) -> list[Values | DataError]:
        """The results at their place."""
        found = self._loaded(body)
        for name in self._found_at:
            try:
                found = found[int(name)] if isinstance(found, list) else found[name]
            except (KeyError, IndexError, TypeError, ValueError):
                raise self._fail(f"the answer has no {'.'.join(self._found_at)}", body) from None
        if not self._listed:
            return [self._row_or_error(found, body)]
        if not isinstance(found, list):
            raise self._fail("the model's answer is no list of results", body)
        return self._rows(found, rows, body)


_STEP = re.compile(r"\.?([^\s.*\[\]'\"$]+)|\[(\d+)\]|\['([^']*)'\]|\[\"([^\"]*)\"\]")


def path_of(text: str, option: str = "") -> tuple[str, ...]:
    """The parts of a path in JSON.

    Args:
        text: such as ``$.outputs[0].score`` or ``$['a name']``.
        option: that says so.

    Raises:
        OptionError: it is no path.

    Example:
        >>> path_of("$.outputs[0].score"), path_of("outputs['a.b']"), path_of("")
        (('outputs', '0', 'score'), ('outputs', 'a.b'), ())
    """
    rest = text.strip().removeprefix("$")
    parts: list[str] = []
    place = 0
    while place < len(rest):
        step = _STEP.match(rest, place)
        if step is None:
            problem = f"'{option}' must be a path of names and numbers, such as $.outputs[0].score, not {text!r}"
            raise OptionError(option, problem)
        parts.append(next(part for part in step.groups() if part is not None))
        place = step.end()
    return tuple(parts)


def plain(value: Any) -> Any:
    """A value in memory form as JSON has it; what JSON has no number for is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return float(value) if value % 1 else int(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    return value
