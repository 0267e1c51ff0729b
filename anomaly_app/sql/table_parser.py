"""Recursive descent for CREATE TABLE and CREATE VIEW."""

from __future__ import annotations

from anomaly_app.errors import SqlValidationError
from anomaly_app.sql.query_parser import QueryParser
from anomaly_app.sql.statements import (
    ColumnDefinition,
    CreateTable,
    CreateView,
    Like,
    Option,
    WatermarkDefinition,
)

_LIKE_PARTS = ("ALL", "CONSTRAINTS", "DISTRIBUTION", "GENERATED", "METADATA", "OPTIONS", "PARTITIONS", "WATERMARKS")


class TableParser(QueryParser):
    """Definitions of tables and views, and their parts."""

    def create_table(self, start: int, *, temporary: bool) -> CreateTable:
        """Take a CREATE TABLE behind the word TABLE."""
        quiet = self.accept("IF", "NOT", "EXISTS")
        path = self.path("a table name")
        columns: list[ColumnDefinition] = []
        watermark: WatermarkDefinition | None = None
        primary_key: tuple[str, ...] = ()
        if not self.at("(") and self.token.upper not in ("AS", "COMMENT", "DISTRIBUTED", "LIKE", "PARTITIONED", "WITH"):
            raise self.expected("(")
        more = self.accept("(")
        while more:
            place = self.token.span
            if self.at("WATERMARK", "FOR"):
                if watermark is not None:
                    raise SqlValidationError("the table has a watermark already", self.text, *place)
                watermark = self.watermark()
            elif self.at("PRIMARY") or self.at("CONSTRAINT"):
                primary_key = self.primary_key()
            else:
                columns.append(self.column_definition())
                if self.accept("PRIMARY"):
                    self.expect("KEY", "NOT", "ENFORCED")
                    primary_key = (columns[-1].name,)
            more = self.accept(",")
            if not more:
                self.expect(")")
        if self.accept("COMMENT"):
            self.literal_text()
        self._distribution()
        options: tuple[Option, ...] = ()
        if self.accept("WITH"):
            self.expect("(")
            options = self.listed(self.option)
            self.expect(")")
        like = self._like() if self.at("LIKE") else None
        query = self.query() if like is None and self.accept("AS") else None
        if not columns and like is None and query is None:
            raise self.expected("LIKE", "AS")
        span = self.span_from(start)
        return CreateTable(
            span, path, tuple(columns), watermark, primary_key, options, quiet, like, temporary, self.text, query
        )

    def _distribution(self) -> None:
        """How a table is spread, which its topic says here: PARTITIONED BY, or DISTRIBUTED BY … INTO n BUCKETS."""
        if self.accept("PARTITIONED"):
            self.expect("BY", "(")
            self.listed(self.identifier)
            self.expect(")")
        elif self.accept("DISTRIBUTED"):
            if self.accept("BY"):
                self.accept_any(("HASH", "RANGE"))
                self.expect("(")
                self.listed(self.identifier)
                self.expect(")")
            if self.accept("INTO"):
                self.whole_number("the number of buckets")
                self.expect("BUCKETS")

    def _like(self) -> Like:
        start = self.expect("LIKE").span.start
        path = self.path("the table that it is like")
        place = self.span_from(start)
        wishes: dict[str, str] = {}
        if self.accept("("):
            while not self.accept(")"):
                how = self.accept_any(("INCLUDING", "EXCLUDING", "OVERWRITING"))
                if not how:
                    raise self.expected("INCLUDING", "EXCLUDING", "OVERWRITING", ")")
                token = self.token
                part = self.accept_any(_LIKE_PARTS)
                if not part:
                    raise self.expected(*_LIKE_PARTS)
                if how == "OVERWRITING" and part in ("ALL", "CONSTRAINTS", "DISTRIBUTION", "PARTITIONS"):
                    raise SqlValidationError(f"OVERWRITING {part} is not possible", self.text, *token.span)
                if part in wishes:
                    raise SqlValidationError(f"{part} is said twice", self.text, *token.span)
                wishes[part] = how
        return Like(place, path, wishes)

    def create_view(self, start: int, *, temporary: bool) -> CreateView:
        """Take a CREATE VIEW behind the word VIEW."""
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
        return CreateView(self.span_from(start), path, columns, query, quiet, self.text, temporary)

    def column_definition(self) -> ColumnDefinition:
        """Take the definition of a column."""
        start = self.token.span.start
        name = self.identifier("a column name")
        if self.accept("AS"):
            computed = self.expression()
            words = self.text[slice(*computed.span)]
            if self.accept("COMMENT"):
                self.literal_text()
            return ColumnDefinition(name, None, None, True, computed, self.span_from(start), words)
        type_ = self.data_type()
        metadata, virtual = None, False
        if self.accept("METADATA"):
            metadata = self.literal_text("a metadata key in quotes") if self.accept("FROM") else name
            virtual = self.accept("VIRTUAL")
        if self.accept("COMMENT"):
            self.literal_text()
        return ColumnDefinition(name, type_, metadata, virtual, None, self.span_from(start))

    def watermark(self) -> WatermarkDefinition:
        """Take ``WATERMARK FOR column AS strategy``."""
        start = self.token.span.start
        self.expect("WATERMARK", "FOR")
        column = self.identifier("the event-time column")
        if self.at("."):
            problem = f"a field cannot be the event time: name it, as in event_time AS {column}.… before the watermark"
            raise SqlValidationError(problem, self.text, *self.span_from(start))
        self.expect("AS")
        strategy = self.expression()
        return WatermarkDefinition(column, strategy, self.span_from(start), self.text[slice(*strategy.span)])

    def primary_key(self) -> tuple[str, ...]:
        """Take ``[CONSTRAINT name] PRIMARY KEY (columns) NOT ENFORCED``."""
        if self.accept("CONSTRAINT"):
            self.identifier("a constraint name")
        self.expect("PRIMARY", "KEY", "(")
        names = self.listed(self.identifier)
        self.expect(")")
        self.expect("NOT", "ENFORCED")
        return names

    def option(self) -> Option:
        """Take ``'key' = 'value'``."""
        start = self.token.span.start
        key = self.literal_text("an option in quotes")
        self.expect("=")
        value = self.literal_text("a value in quotes")
        return Option(key, value, self.span_from(start))
