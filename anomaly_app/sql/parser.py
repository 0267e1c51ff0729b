"""Recursive descent for statements."""

from __future__ import annotations

from anomaly_app.errors import SqlValidationError
from anomaly_app.sql.query_parser import QueryParser
from anomaly_app.sql.statements import (
    ColumnDefinition,
    CreateTable,
    CreateView,
    Insert,
    Option,
    SetOption,
    Statement,
    WatermarkDefinition,
)


class StatementParser(QueryParser):
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
            else:
                found.append(self._statement())
            if self.token.kind != "end" and not self.accept(";"):
                raise self.expected(";", "the end of the statement")

    def _statement_set(self) -> list[Statement]:
        self.accept("EXECUTE")
        begun = self.accept("BEGIN")
        self.expect("STATEMENT", "SET")
        if not begun:
            self.expect("BEGIN")
        found: list[Statement] = []
        self.accept(";")
        while not self.accept("END"):
            if not self.at("INSERT"):
                raise self.expected("INSERT", "END")
            found.append(self._statement())
            self.expect(";")
        return found

    def _statement(self) -> Statement:
        self.accept("EXECUTE")
        word = self.token.upper
        if word == "CREATE":
            return self._create()
        if word == "INSERT":
            return self._insert()
        if self.at_query() or self.at("("):
            return self.query()
        if word == "SET":
            return self._set()
        raise self.expected("CREATE", "INSERT", "SELECT", "SET")

    def _set(self) -> SetOption:
        start = self.expect("SET").span.start
        key = self.literal_text("an option in quotes")
        self.expect("=")
        value = self.literal_text("a value in quotes")
        return SetOption(self.span_from(start), key, value)

    # --- CREATE TABLE ---------------------------------------------------------------------------

    def _create(self) -> CreateTable | CreateView:
        start = self.expect("CREATE").span.start
        self.accept("TEMPORARY")
        if self.accept("VIEW"):
            return self._create_view(start)
        if not self.accept("TABLE"):
            if self.token.upper in ("FUNCTION", "CATALOG", "DATABASE", "MODEL"):
                raise SqlValidationError(f"CREATE {self.token.upper} is not supported", self.text, *self.token.span)
            raise self.expected("TABLE")
        quiet = self.accept("IF", "NOT", "EXISTS")
        path = self.path("a table name")
        self.expect("(")
        columns: list[ColumnDefinition] = []
        watermark: WatermarkDefinition | None = None
        primary_key: tuple[str, ...] = ()
        while True:
            place = self.token.span
            if self.at("WATERMARK", "FOR"):
                if watermark is not None:
                    raise SqlValidationError("the table has a watermark already", self.text, *place)
                watermark = self._watermark()
            elif self.at("PRIMARY") or self.at("CONSTRAINT"):
                primary_key = self._primary_key()
            else:
                columns.append(self._column_definition())
                if self.accept("PRIMARY"):
                    self.expect("KEY", "NOT", "ENFORCED")
                    primary_key = (columns[-1].name,)
            if not self.accept(","):
                break
        self.expect(")")
        if self.accept("COMMENT"):
            self.literal_text()
        if self.accept("PARTITIONED"):
            self.expect("BY", "(")
            self.listed(self.identifier)
            self.expect(")")
        options: tuple[Option, ...] = ()
        if self.accept("WITH"):
            self.expect("(")
            options = self.listed(self._option)
            self.expect(")")
        return CreateTable(self.span_from(start), path, tuple(columns), watermark, primary_key, options, quiet)

    def _create_view(self, start: int) -> CreateView:
        quiet = self.accept("IF", "NOT", "EXISTS")
        path = self.path("a name for the view")
        columns: tuple[str, ...] = ()
        if self.accept("("):
            columns = self.listed(self.identifier)
            self.expect(")")
        if self.accept("COMMENT"):
            self.literal_text()
        self.expect("AS")
        query = self.query()
        return CreateView(self.span_from(start), path, columns, query, quiet, self.text)

    def _column_definition(self) -> ColumnDefinition:
        start = self.token.span.start
        name = self.identifier("a column name")
        if self.accept("AS"):
            computed = self.expression()
            return ColumnDefinition(name, None, None, True, computed, self.span_from(start))
        type_ = self.data_type()
        metadata, virtual = None, False
        if self.accept("METADATA"):
            metadata = self.literal_text("a metadata key in quotes") if self.accept("FROM") else name
            virtual = self.accept("VIRTUAL")
        if self.accept("COMMENT"):
            self.literal_text()
        return ColumnDefinition(name, type_, metadata, virtual, None, self.span_from(start))

    def _watermark(self) -> WatermarkDefinition:
        start = self.token.span.start
        self.expect("WATERMARK", "FOR")
        column = self.identifier("the event-time column")
        self.expect("AS")
        return WatermarkDefinition(column, self.expression(), self.span_from(start))

    def _primary_key(self) -> tuple[str, ...]:
        if self.accept("CONSTRAINT"):
            self.identifier("a constraint name")
        self.expect("PRIMARY", "KEY", "(")
        names = self.listed(self.identifier)
        self.expect(")")
        self.expect("NOT", "ENFORCED")
        return names

    def _option(self) -> Option:
        start = self.token.span.start
        key = self.literal_text("an option in quotes")
        self.expect("=")
        value = self.literal_text("a value in quotes")
        return Option(key, value, self.span_from(start))

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
    return StatementParser(text).statements()
