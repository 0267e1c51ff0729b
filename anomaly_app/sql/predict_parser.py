"""Recursive descent for ML_PREDICT, in the form of Confluent Cloud and in that of Flink."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from anomaly_app.errors import SqlSyntaxError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.tokens import Span
from anomaly_app.sql.queries import Predict
from anomaly_app.sql.windows_parser import WindowParser

NAME = "ML_PREDICT"
_ARGUMENTS = ("INPUT", "MODEL", "ARGS", "CONFIG")


class PredictParser(WindowParser):
    """ML_PREDICT in FROM."""

    def at_predict(self) -> bool:
        """Whether it comes next."""
        return self.at("LATERAL", "TABLE", "(", NAME) or self.at("TABLE", "(", NAME, "(") or self.at(NAME, "(")

    def predict(self) -> Predict:
        """Take it, without an alias."""
        start = self.token.span.start
        self.accept("LATERAL")
        wrapped = self.accept("TABLE")
        if wrapped:
            self.expect("(")
        self.expect(NAME, "(")
        over_table = self.at("TABLE") or self.at("(") or self.ahead().value == "=>"
        predict = self._over_table(start) if over_table else self._of_row(start)
        self.expect(")")
        if wrapped:
            self.expect(")")
        return replace(predict, span=self.span_from(start))

    def _of_row(self, start: int) -> Predict:
        """``'model', value, … [, MAP[…]]``."""
        path, place = self._model()
        args: list[n.Node] = []
        while self.accept(","):
            args.append(self.expression())
        config = args.pop() if args and isinstance(args[-1], n.Call) and args[-1].name == "MAP" else None
        return Predict(Span(start, start), path, place, tuple(args), config, None)

    def _over_table(self, start: int) -> Predict:
        """``TABLE t, MODEL m, DESCRIPTOR(…) [, MAP[…]]``, or the same with names, in any order."""
        named = self.ahead().value == "=>"
        given: dict[str, Any] = {}
        while True:
            if len(given) == len(_ARGUMENTS):
                raise self.expected(")")
            name = _ARGUMENTS[len(given)]
            if named:
                name = self.token.upper
                if name not in _ARGUMENTS or name in given:
                    raise self.expected(*(known for known in _ARGUMENTS if known not in given))
                self.take()
                self.expect("=>")
            if name == "INPUT":
                given[name], _ = self.table_argument(NAME)
            elif name == "MODEL":
                self.accept("MODEL")
                given[name] = self._model()
            elif name == "ARGS":
                self.expect("DESCRIPTOR", "(")
                given[name] = self.listed(self._column_name)
                self.expect(")")
            else:
                given[name] = self.expression()
            if not self.accept(","):
                break
        missing = next((name for name in _ARGUMENTS[:3] if name not in given), None)
        if missing is not None:
            problem = f"{NAME} takes {', '.join(_ARGUMENTS[:3])}, and CONFIG if wanted; {missing} is missing"
            raise SqlSyntaxError(problem, self.text, *self.span_from(start))
        path, place = given["MODEL"]
        return Predict(Span(start, start), path, place, given["ARGS"], given.get("CONFIG"), given["INPUT"])

    def _column_name(self) -> n.ColumnRef:
        start = self.token.span.start
        parts = self.path("a column")
        return n.ColumnRef(self.span_from(start), parts)

    def _model(self) -> tuple[tuple[str, ...], Span]:
        """A model by name, or by a text that is its name; and its place."""
        start = self.token.span.start
        if self.token.kind != "text":
            path = self.path("the name of a model")
            return path, self.span_from(start)
        token = self.take()
        parts = tuple(part.strip().strip("`") for part in token.value.split("."))
        if not all(parts):
            raise SqlSyntaxError("expected the name of a model", self.text, *token.span)
        return parts, token.span
