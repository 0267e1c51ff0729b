"""A session: what names mean, what SET has said, and one statement after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from anomaly_app.batch import Result, run_bound
from anomaly_app.errors import SqlError, SqlValidationError
from anomaly_app.expressions.functions.python import PythonFunction
from anomaly_app.expressions.typed import Dialect
from anomaly_app.jobs.binder import BoundQuery, bind_query
from anomaly_app.jobs.catalog import Catalog
from anomaly_app.jobs.ctas import as_two
from anomaly_app.jobs.define import DEFINITIONS, define
from anomaly_app.jobs.said import Settings
from anomaly_app.jobs.show import OK, Told, describe, option, show
from anomaly_app.plan.analysis.analyzer import Analyzer
from anomaly_app.plan.explain import explain_text
from anomaly_app.rows import Rows, as_rows, schema_of
from anomaly_app.sql import parse_statements
from anomaly_app.sql.commands import Alter, Describe, Explain, ListOptions, Reset, Show
from anomaly_app.sql.parameters import Substituted, substitute
from anomaly_app.sql.parser import Statement
from anomaly_app.sql.queries import QueryTree
from anomaly_app.sql.statements import CreateTable, CreateView, Insert, SetOption

log = logging.getLogger(__name__)


class Session:
    """Statements of SQL one after the other, over tables in memory.

    Args:
        tables: as for :func:`anomaly_app.query`.
        dialect: ``flink`` or ``standard``.
        function_modules: prefixes of the modules from which ``CREATE FUNCTION … LANGUAGE PYTHON`` may take functions.
        parameters: values for ``${name}``, which come before those that SET gives.
        connections: of models, by name: options such as ``endpoint`` and ``api_key``, which come before those of CREATE
            CONNECTION.

    Example:
        >>> sales = Rows(columns=[("user_id", "STRING"), ("qty", "INT")], rows=[("ann", 2), ("bob", 9)])
        >>> session = Session({"sales": sales})
        >>> session.execute("CREATE VIEW large AS SELECT * FROM sales WHERE qty > 5").rows
        [('OK',)]
        >>> session.execute("SELECT user_id FROM large").rows
        [('bob',)]
        >>> session.execute("SHOW TABLES").rows
        [('large',), ('sales',)]
    """

    def __init__(
        self,
        tables: Mapping[str, Any] | None = None,
        *,
        dialect: str = "flink",
        function_modules: Sequence[str] = (),
        parameters: Mapping[str, str] | None = None,
        connections: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self._dialect: Dialect = Dialect.named(dialect)
        self._catalog, self._settings = Catalog(""), Settings("")
        self._catalog.models.given = connections or {}
        self._modules = tuple(function_modules)
        self._parameters = dict(parameters or {})
        for name, table in (tables or {}).items():
            self.add(name, table)

    def add(self, name: str, table: Any) -> None:
        """Give a table, or other rows for one that is there.

        Args:
            name: a dotted path is allowed.
            table: :class:`Rows`, or a pandas or Polars frame or a pyarrow table. The columns may be left out for a
                table that CREATE TABLE makes, before or after.

        Raises:
            SqlError: a type or the time attribute makes no sense.
            DataError: it is none of these.
        """
        rows = as_rows(table)
        full = self._catalog.name(tuple(name.replace("`", "").split(".")))
        if rows.columns and full not in self._catalog.creates:
            self._catalog.add_table(full, schema_of(rows))
        self._catalog.data[full] = rows

    def register(
        self,
        name: str,
        function: Callable[..., Any],
        *,
        arguments: Sequence[str] | None = None,
        returns: str | None = None,
        vectorised: bool | None = None,
    ) -> None:
        """Make a function of Python known to SQL.

        It is called for each row, with None for NULL. What it raises is an error of the row.

        Args:
            name: by which SQL calls it, in upper or lower case.
            function: takes and gives Python's values, as in the rows of a :class:`Result`.
            arguments: SQL types of the arguments; without them its annotations say them.
            returns: SQL type of the result; the same.
            vectorised: it takes lists of values and gives a list as long.

        Raises:
            ValueError: a type is unknown or missing, or the name is taken.

        Example:
            >>> session = Session({"t": Rows(columns=[("price", "DOUBLE")], rows=[(100.0,), (None,)])})
            >>> session.register("with_tax", lambda x: x and x * 1.2, arguments=["DOUBLE"], returns="DOUBLE")
            >>> session.execute("SELECT with_tax(price) AS gross FROM t").rows
            [(120.0,), (None,)]
        """
        made = PythonFunction(name, function, arguments, returns, vectorised=vectorised)
        self._catalog.create_function(made)

    @property
    def catalog(self) -> Catalog:
        """What names mean."""
        return self._catalog

    @property
    def settings(self) -> Settings:
        """What SET has said."""
        return self._settings

    def bind(self, statement: QueryTree | Insert, sql: str) -> BoundQuery:
        """A query or INSERT as what runs it, for somebody who has its rows elsewhere.

        Args:
            statement: of the text.
            sql: the text.

        Raises:
            SqlError: a name is unknown, or what is asked makes no sense or is not supported.
        """
        self._catalog.text = self._settings.text = sql
        return self._bound(statement)

    def make(self, create: CreateTable) -> Insert:
        """Make the table of a CREATE TABLE … AS of the text at hand; gives the INSERT that fills it.

        Raises:
            SqlError: the query or the table is wrong.
        """
        table, insert = as_two(create, self._catalog, Analyzer(self._catalog, self._dialect))
        self._define(table)
        return insert

    def fill(self, inserts: Sequence[Insert], sql: str) -> None:
        """Carry out INSERTs of a text; errors as of :meth:`execute`."""
        for insert in inserts:
            self._query(insert, sql)

    def execute(self, sql: str) -> Result:
        """Carry out one statement, or a statement set.

        Args:
            sql: a query, whose rows come back; an INSERT, whose rows come back too, and are kept if its table was made
                by CREATE TABLE without options; or any other statement: one that tells gives what Flink prints, the
                others the row ``OK``.

        Returns:
            Columns and rows.

        Raises:
            SqlError: the text is wrong.
            DataError: an expression fails on a row.
        """
        with self.substituted(sql).located() as text:
            return self._execute(text)

    def substituted(self, sql: str) -> Substituted:
        """A text with the values that its parameters have now; errors as of :meth:`execute`."""
        return substitute(sql, self._parameters, self._settings.said)

    def _execute(self, sql: str) -> Result:
        self._catalog.text = self._settings.text = sql
        statements = parse_statements(sql)
        if len(statements) > 1 and all(isinstance(one, Insert) for one in statements):
            for one in statements:
                self._one(one, sql)
            return _told(OK)
        if len(statements) != 1:
            place = statements[1].span if statements else (0, 1)
            raise SqlValidationError(f"expected one statement, found {len(statements)}", sql, *place)
        return self._one(statements[0], sql)

    def run(self, sql: str) -> list[Result]:
        """Carry out a text of several statements; a result for each.

        Args:
            sql: the statements, with ``;`` between them.

        Raises:
            SqlError: the text is wrong; a statement that is wrong leaves those before it done.
        """
        with self.substituted(sql).located() as text:
            self._catalog.text = self._settings.text = text
            return [self._one(one, text) for one in parse_statements(text)]

    def _one(self, statement: Statement, sql: str) -> Result:
        catalog = self._catalog
        if isinstance(statement, CreateTable) and statement.query is not None:
            return self._query(self.make(statement), sql)
        if isinstance(statement, DEFINITIONS):
            self._define(statement)
            return _told(OK)
        if isinstance(statement, (SetOption, Reset)):
            self._settings.take(statement)
            return _told(OK)
        analyzer = Analyzer(catalog, self._dialect)
        if isinstance(statement, Show):
            return _told(show(statement, catalog, analyzer))
        if isinstance(statement, Describe):
            return _told(describe(statement, catalog, analyzer))
        if isinstance(statement, ListOptions):
            rows = [(key, option(key, value)) for key, value in sorted(self._settings.said.items())]
            return _told(Told([("key", "STRING"), ("value", "STRING")], rows))
        if isinstance(statement, Explain):
            plans = [explain_text(self._bound(one).factory) for one in statement.statements]
            return _told(Told([("result", "STRING")], [("\n".join(plans),)]))
        return self._query(statement, sql)

    def _define(self, statement: Any) -> None:
        """Carry out a definition; a view that is wrong is refused now, and not when it is read."""
        catalog = self._catalog
        before, warned = dict(catalog.views), len(catalog.models.warnings)
        define(statement, catalog, self._modules)
        for warning in catalog.models.warnings[warned:]:
            log.warning("%s", warning)
        if not isinstance(statement, (Alter, CreateView)):
            return
        try:
            for name, view in catalog.views.items():
                if before.get(name) is not view:
                    Analyzer(catalog, self._dialect).view(view)
        except SqlError:
            catalog.views = before
            raise

    def _bound(self, statement: QueryTree | Insert) -> BoundQuery:
        return bind_query(statement, self._catalog, self._dialect, self._settings)

    def _query(self, statement: QueryTree | Insert, sql: str) -> Result:
        catalog = self._catalog
        result = run_bound(self._bound(statement), catalog.data, sql)
        if isinstance(statement, Insert):
            name = catalog.known(statement.path, statement.target_span)
            create = catalog.creates.get(name)
            if create is not None and not create.options:
                kept = catalog.data.get(name, Rows())
                if isinstance(kept.rows, (list, tuple)):
                    catalog.data[name] = Rows(kept.columns, [*kept.rows, *result.rows])
        return result


def _told(told: Told) -> Result:
    return Result(list(told.columns), list(told.rows))
