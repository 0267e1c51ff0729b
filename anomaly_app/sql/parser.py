"""Recursive descent for statements."""

from __future__ import annotations

from dataclasses import replace

from anomaly_app.errors import SqlSyntaxError, SqlValidationError
from anomaly_app.expressions.nodes import Node
from anomaly_app.expressions.reader import MAX_DEPTH
from anomaly_app.expressions.refused import refusal
from anomaly_app.sql.statements import (
    ColumnDefinition,
    CreateTable,
    Insert,
    Option,
    Select,
    SelectItem,
    SetOption,
    Statement,
    Subquery,
    TableRef,
    WatermarkDefinition,
)
from anomaly_app.sql.windows_parser import WindowParser

_REFUSED = {
    "ORDER": "ORDER BY of a query",
    "LIMIT": "LIMIT",
    "OFFSET": "OFFSET",
    "FETCH": "FETCH",
    "UNION": "UNION",
    "INTERSECT": "INTERSECT",
    "EXCEPT": "EXCEPT",
    "MINUS": "EXCEPT",
    "WINDOW": "WINDOW",
    "QUALIFY": "QUALIFY",
    "PIVOT": "PIVOT",
}
"""Words that begin what may follow a table or a condition, and is refused."""
_JOINS = ("NATURAL", "INNER", "LEFT", "RIGHT", "FULL", "CROSS", "OUTER", "JOIN")


class StatementParser(WindowParser):
    """A whole job file."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._named: dict[str, Select] = {}

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
        if word in ("SELECT", "WITH"):
            return self._query()
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

    def _create(self) -> CreateTable:
        start = self.expect("CREATE").span.start
        self.accept("TEMPORARY")
        if not self.accept("TABLE"):
            if self.token.upper in ("VIEW", "FUNCTION", "CATALOG", "DATABASE", "MODEL"):
                raise SqlValidationError(refusal(f"CREATE {self.token.upper}"), self.text, *self.token.span)
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
        if self.at("VALUES"):
            raise SqlValidationError(refusal("INSERT … VALUES"), self.text, *self.token.span)
        query = self._query()
        return Insert(self.span_from(start), path, target, columns, query)

    def _query(self) -> Select:
        """A SELECT, perhaps with subqueries that WITH names in front of it."""
        start = self.token.span.start
        if not self.accept("WITH"):
            return self._select()
        outside = self._named
        self._named = dict(outside)
        if self.at("RECURSIVE"):
            raise SqlValidationError(refusal("WITH RECURSIVE"), self.text, *self.token.span)
        while True:
            place = self.token.span
            name = self.identifier("a name for a query")
            if name in self._named and name not in outside:
                raise SqlValidationError(f"WITH names {name} twice", self.text, *place)
            self.expect("AS", "(")
            self._named[name] = self._query()
            self.expect(")")
            if not self.accept(","):
                break
        query = replace(self._select(), span=self.span_from(start))
        self._named = outside
        return query

    def _select(self) -> Select:
        start = self.expect("SELECT").span.start
        if self.at("DISTINCT"):
            raise SqlValidationError(refusal("SELECT DISTINCT"), self.text, *self.token.span)
        self.accept("ALL")
        items = self.listed(self._item)
        self.expect("FROM")
        if self.at("LATERAL"):
            raise SqlValidationError(refusal("LATERAL"), self.text, *self.token.span)
        window = None
        if self.at_window_function():
            path, place, window = self.window_function()
            if len(path) == 1 and path[0] in self._named:
                problem = "windows over a subquery are not supported: take the table, with the conditions in WHERE"
                raise SqlValidationError(problem, self.text, *place)
            table: TableRef | Subquery = TableRef(place, path, self._alias())
        else:
            table = self._subquery() if self.at("(") else self._table()
        match = None
        if self.at("MATCH_RECOGNIZE"):
            if isinstance(table, Subquery):
                problem = refusal("MATCH_RECOGNIZE over a subquery")
                raise SqlValidationError(problem, self.text, *self.token.span)
            match = self.match_recognize()
            match_alias = self._alias()
            if match_alias is not None:
                match = replace(match, alias=match_alias)
        self._refuse()
        where: Node | None = self.expression() if self.accept("WHERE") else None
        group_by, having = self.grouping()
        self._refuse()
        return Select(self.span_from(start), items, table, match, where, window, group_by, having)

    def _refuse(self) -> None:
        """An error if what comes next is no part of a query here."""
        place, clause = self.token.span, ""
        if self.at(","):
            clause = "a comma JOIN"
        elif self.token.upper in _REFUSED:
            clause = _REFUSED[self.token.upper]
            self.take()
            clause += " ALL" if clause == "UNION" and self.at("ALL") else ""
        elif self.token.upper in _JOINS:
            words = []
            while self.token.upper in _JOINS and "JOIN" not in words:
                words.append(self.take().upper)
            if "JOIN" not in words:
                return
            clause = " ".join([*words, "UNNEST"] if self.at("UNNEST") else words)
        if clause:
            raise SqlValidationError(refusal(clause), self.text, *place)

    def _table(self) -> TableRef | Subquery:
        start = self.token.span.start
        path = self.path("a table name")
        alias = self._alias()
        place = self.span_from(start)
        named = self._named.get(path[0]) if len(path) == 1 else None
        if named is None:
            return TableRef(place, path, alias)
        if len(named.levels) >= MAX_DEPTH:
            raise SqlSyntaxError(f"nested more than {MAX_DEPTH} levels deep", self.text, *place)
        return Subquery(place, named, alias or path[0])

    def _subquery(self) -> Subquery:
        start = self.expect("(").span.start
        if self.at("VALUES"):
            raise SqlValidationError(refusal("VALUES as a table"), self.text, *self.token.span)
        self.deeper()
        query = self._query()
        self.depth -= 1
        self.expect(")")
        return Subquery(self.span_from(start), query, self._alias())

    def _item(self) -> SelectItem:
        start = self.token.span.start
        expr = self.expression()
        alias = self._alias()
        return SelectItem(expr, alias, self.span_from(start))

    def _alias(self) -> str | None:
        if self.accept("AS"):
            return self.identifier("an alias")
        token = self.token
        stop = token.upper in _REFUSED or token.upper in _JOINS or token.upper == "MATCH_RECOGNIZE"
        if token.kind == "quoted" or (token.kind == "word" and not stop):
            try:
                return self.identifier()
            except SqlSyntaxError:
                return None
        return None


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
