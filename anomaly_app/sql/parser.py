"""Recursive descent for statements."""

from __future__ import annotations

from typing import TypeAlias

from anomaly_app.errors import SqlValidationError, not_too_deep
from anomaly_app.sql.command_parser import CommandParser
from anomaly_app.sql.commands import Command, Explain
from anomaly_app.sql.model_statements import OfModels
from anomaly_app.sql.queries import QueryTree
from anomaly_app.sql.statements import CreateTable, CreateView, Insert, SetOption

Statement: TypeAlias = Command | CreateTable | CreateView | Insert | OfModels | QueryTree | SetOption

_DETAILS = ("ESTIMATED_COST", "CHANGELOG_MODE", "PLAN_ADVICE", "JSON_EXECUTION_PLAN")
"""What EXPLAIN may be asked for in Flink; everything there is, is printed anyway."""


class StatementParser(CommandParser):
    """A whole job file."""

    def statements(self) -> list[Statement]:
        """Take all statements."""
        found: list[Statement] = []
        while True:
            while self.accept(";"):
                pass
            if self.token.kind == "end":
                return found
            if self.at("EXECUTE", "STATEMENT", "SET", "BEGIN") or self.at("BEGIN", "STATEMENT", "SET"):
                found += self._statement_set()
            elif self.accept("EXPLAIN"):
                found.append(self._explain())
            else:
                found.append(self._statement())
            if self.token.kind != "end" and not self.accept(";") and not self.at_next_statement():
                raise self.expected(";", "the end of the statement")

    def _statement_set(self) -> list[Insert]:
        self.accept("EXECUTE")
        begun = self.accept("BEGIN")
        self.expect("STATEMENT", "SET")
        if not begun:
            self.expect("BEGIN")
        found: list[Insert] = []
        self.accept(";")
        while not self.accept("END"):
            if not self.at("INSERT"):
                raise self.expected("INSERT", "END")
            found.append(self._insert())
            if not self.at_next_statement():
                self.expect(";")
        return found

    def _explain(self) -> Explain:
        start = self.tokens[self.place - 1].span.start
        if self.accept("PLAN"):
            self.expect("FOR")
        else:
            while self.accept_any(_DETAILS):
                self.accept(",")
        self.accept("EXECUTE")
        if self.at("STATEMENT", "SET") or self.at("BEGIN", "STATEMENT", "SET"):
            statements: tuple[QueryTree | Insert, ...] = tuple(self._statement_set())
        elif self.at("INSERT"):
            statements = (self._insert(),)
        elif self.at_query() or self.at("("):
            statements = (self.query(),)
        else:
            raise self.expected("SELECT", "INSERT")
        return Explain(self.span_from(start), statements)

    def _statement(self) -> Statement:
        self.accept("EXECUTE")
        if self.at("INSERT"):
            return self._insert()
        if self.at_query() or self.at("("):
            return self.query()
        if self.at_command():
            return self.command()
        refused = self.refused()
        if refused is not None:
            raise refused
        raise self.expected("CREATE", "INSERT", "SELECT", "SET")

    # --- queries --------------------------------------------------------------------------------

    def _insert(self) -> Insert:
        start = self.expect("INSERT").span.start
        self.expect("INTO")
        place = self.token.span.start
        path = self.path("a table name")
        target = self.span_from(place)
        columns: tuple[str, ...] = ()
        if self.accept("("):
            columns = self.listed(self.identifier)
            self.expect(")")
        query, on_conflict = self.query(), self._on_conflict()
        return Insert(self.span_from(start), path, target, columns, query, on_conflict)

    def _on_conflict(self) -> bool:
        place = self.token.span
        if not self.accept("ON"):
            return False
        self.expect("CONFLICT")
        self.expect("DO")
        if self.token.upper in ("ERROR", "NOTHING"):
            problem = (
                f"ON CONFLICT DO {self.token.upper} is not supported: the latest row of a key counts, DO DEDUPLICATE"
            )
            raise SqlValidationError(problem, self.text, place.start, self.token.span.end)
        self.expect("DEDUPLICATE")
        return True


def parse_statements(text: str) -> list[Statement]:
    """All statements of a job file, in order; statement sets are dissolved into their INSERTs.

    Raises:
        SqlSyntaxError: the text does not follow the grammar.
        SqlValidationError: it asks for what is not supported.

    Example:
        >>> [type(s).__name__ for s in parse_statements("SET 'a' = 'b'; SELECT x FROM t;")]
        ['SetOption', 'Select']
    """
    parser = StatementParser(text)
    with not_too_deep(text, lambda: parser.token.span):
        return parser.statements()
