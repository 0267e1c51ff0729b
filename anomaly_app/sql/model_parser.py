"""Recursive descent for statements about models and connections."""

from __future__ import annotations

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions.tokens import Span
from anomaly_app.sql.commands import RenameTo, ResetOptions, SetOptions
from anomaly_app.sql.model_statements import AlterModel, CreateConnection, CreateModel
from anomaly_app.sql.statements import ColumnDefinition, Option
from anomaly_app.sql.table_parser import TableParser


class ModelParser(TableParser):
    """Definitions of models and connections."""

    def create_model(self, start: int) -> CreateModel:
        """Take a CREATE MODEL behind the word MODEL."""
        quiet = self.accept("IF", "NOT", "EXISTS")
        path, place = self.placed("a name for the model")
        inputs = self._columns() if self.accept("INPUT") else ()
        outputs = self._columns() if self.accept("OUTPUT") else ()
        comment = self._comment()
        options = self._options()
        return CreateModel(
            self.span_from(start), path, place, inputs, outputs, comment, options, quiet, self.text
        )  # fmt: skip

    def create_connection(self, start: int, *, or_replace: bool) -> CreateConnection:
        """Take a CREATE CONNECTION behind the word CONNECTION."""
        quiet = self.accept("IF", "NOT", "EXISTS")
        path, place = self.placed("a name for the connection")
        comment = self._comment()
        options = self._options()
        span = self.span_from(start)
        return CreateConnection(span, path, place, comment, options, or_replace, quiet, self.text)

    def alter_model(self, start: int, what: str) -> AlterModel:
        """Take an ALTER MODEL or ALTER CONNECTION behind that word."""
        quiet = self.accept("IF", "EXISTS")
        path, place = self.placed(f"the name of a {what.lower()}")
        action: SetOptions | ResetOptions | RenameTo
        if self.accept("SET"):
            self.expect("(")
            action = SetOptions(self.listed(self.option))
            self.expect(")")
        elif self.accept("RESET"):
            self.expect("(")
            action = ResetOptions(self.listed(self.literal_text))
            self.expect(")")
        elif self.accept("RENAME"):
            self.expect("TO")
            action = RenameTo(self.path(f"a name for the {what.lower()}"))
        else:
            raise self.expected("SET", "RESET", "RENAME TO")
        return AlterModel(self.span_from(start), what, path, place, quiet, action, self.text)

    def placed(self, what: str) -> tuple[tuple[str, ...], Span]:
        """Take a path, and its place."""
        start = self.token.span.start
        path = self.path(what)
        return path, self.span_from(start)

    def _columns(self) -> tuple[ColumnDefinition, ...]:
        self.expect("(")
        columns = self.listed(self.column_definition)
        self.expect(")")
        for column in columns:
            if column.type is None or column.metadata is not None:
                problem = f"column {column.name!r} of a model has a type, and nothing else"
                raise SqlValidationError(problem, self.text, *column.span)
        return columns

    def _comment(self) -> str:
        return self.literal_text() if self.accept("COMMENT") else ""

    def _options(self) -> tuple[Option, ...]:
        self.expect("WITH", "(")
        options = self.listed(self.option)
        self.expect(")")
        return options
