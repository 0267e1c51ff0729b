"""Recursive descent for CREATE and DROP, ALTER, USE, SHOW, DESCRIBE, SET and RESET."""

from __future__ import annotations

from anomaly_app.errors import SqlValidationError
from anomaly_app.sql.commands import (
    Action,
    Alter,
    Change,
    Command,
    CreateFunction,
    CreateSpace,
    Describe,
    Drop,
    DropParts,
    ListOptions,
    NewQuery,
    PlacedColumn,
    RenameColumn,
    RenameTo,
    Reset,
    ResetOptions,
    SetOptions,
    Show,
    Use,
)
from anomaly_app.sql.model_parser import ModelParser
from anomaly_app.sql.model_statements import AlterModel, OfModels
from anomaly_app.sql.statements import CreateTable, CreateView, SetOption, WatermarkDefinition

REFUSED = {
    "ADD": "Python functions come from modules that the setting functions.modules names",
    "ANALYZE": "there is nothing to plan by statistics here",
    "CALL": "there are no procedures",
    "COMPILE": "a plan is made anew from the text: keep the job file",
    "DELETE": "a topic cannot be changed: INSERT into an 'upsert-kafka' table writes the newest row of a key",
    "LOAD": "all functions are there without modules",
    "REMOVE": "Python functions come from modules that the setting functions.modules names",
    "STOP": "end the worker, or take the file out of worker.jobs; the shell has it for its jobs",
    "TRUNCATE": "a topic cannot be changed",
    "UNLOAD": "all functions are there without modules",
    "UPDATE": "a topic cannot be changed: INSERT into an 'upsert-kafka' table writes the newest row of a key",
}
"""Statements that Flink has, and what to do in their place."""

_SHOWN = (
    "CATALOGS",
    "COLUMNS",
    "CONNECTIONS",
    "CREATE",
    "CURRENT",
    "DATABASES",
    "FUNCTIONS",
    "MODELS",
    "TABLES",
    "VIEWS",
)
_COMMANDS = ("ALTER", "CREATE", "DESC", "DESCRIBE", "DROP", "RESET", "SET", "SHOW", "USE")


class CommandParser(ModelParser):
    """Statements that define names, change what they mean, or tell about them."""

    def at_command(self) -> bool:
        """Whether one of them comes next."""
        return self.token.upper in _COMMANDS

    def command(self) -> Command | CreateTable | CreateView | OfModels | SetOption:
        """Take one."""
        word = self.token.upper
        start = self.take().span.start
        if word == "CREATE":
            return self._create(start)
        if word == "DROP":
            return self._drop(start)
        if word == "ALTER":
            return self._alter(start)
        if word == "USE":
            catalog = self.accept("CATALOG")
            path, place = self.placed("a name")
            return Use(self.span_from(start), catalog, path, place)
        if word == "SHOW":
            return self._show(start)
        if word in ("DESCRIBE", "DESC"):
            about = ""
            if self.token.upper in ("MODEL", "CONNECTION") and self.ahead().kind in ("word", "quoted"):
                about = self.take().upper
            self.accept("EXTENDED")
            path, place = self.placed(f"the name of a {about.lower()}" if about else "a table name")
            return Describe(self.span_from(start), path, place, about)
        return self._set(start) if word == "SET" else self._reset(start)

    def refused(self) -> SqlValidationError | None:
        """An error if a statement comes next that Flink has, and this product has not."""
        token = self.token
        if token.upper not in REFUSED:
            return None
        what = f"{token.upper} {self.ahead().upper}".rstrip() if self.ahead().kind == "word" else token.upper
        if token.upper in ("ANALYZE", "CALL", "DELETE", "TRUNCATE", "UPDATE"):
            what = token.upper
        return SqlValidationError(f"{what} is not supported: {REFUSED[token.upper]}", self.text, *token.span)

    def _set(self, start: int) -> SetOption | ListOptions:
        if self.token.kind == "end" or self.at(";"):
            return ListOptions(self.span_from(start))
        key = self.literal_text("an option in quotes")
        self.expect("=")
        value = self.literal_text("a value in quotes")
        return SetOption(self.span_from(start), key, value)

    def _reset(self, start: int) -> Reset:
        key = None
        if self.token.kind != "end" and not self.at(";"):
            key = self.literal_text("an option in quotes")
        return Reset(self.span_from(start), key)

    # --- CREATE and DROP --------------------------------------------------------------------------

    def _create(self, start: int) -> Command | CreateTable | CreateView | OfModels:
        if self.accept("OR", "REPLACE", "CONNECTION"):
            return self.create_connection(start, or_replace=True)
        if self.at("OR", "REPLACE"):
            problem = "CREATE OR REPLACE is not supported: DROP … IF EXISTS first, or ALTER VIEW … AS"
            if self.at("OR", "REPLACE", "MODEL"):
                problem = "CREATE OR REPLACE MODEL is not supported: CREATE MODEL again makes another version"
            raise SqlValidationError(problem, self.text, *self.token.span)
        temporary = self.accept("TEMPORARY")
        if self.accept("VIEW"):
            return self.create_view(start, temporary=temporary)
        if self.accept("TABLE"):
            return self.create_table(start, temporary=temporary)
        if self.at("FUNCTION") or self.at("SYSTEM", "FUNCTION"):
            self.accept("SYSTEM")
            return self._create_function(start)
        what = self.token.upper
        if not temporary and what in ("CATALOG", "DATABASE"):
            self.take()
            quiet = self.accept("IF", "NOT", "EXISTS")
            path, place = self.placed(f"a name for the {what.lower()}")
            self._space_options(what)
            return CreateSpace(self.span_from(start), what, path, place, quiet)
        if self.accept("MODEL"):
            return self.create_model(start)
        if self.accept("CONNECTION"):
            return self.create_connection(start, or_replace=False)
        if what == "MATERIALIZED":
            problem = "CREATE MATERIALIZED TABLE is not supported: CREATE TABLE, then INSERT INTO it"
            raise SqlValidationError(problem, self.text, *self.token.span)
        raise self.expected("TABLE", "VIEW", "FUNCTION", "DATABASE", "CATALOG", "MODEL", "CONNECTION")

    def _space_options(self, what: str) -> None:
        if self.accept("COMMENT"):
            self.literal_text()
        if not self.accept("WITH"):
            return
        self.expect("(")
        for option in self.listed(self.option):
            if what == "CATALOG" and option.key == "type" and option.value != "generic_in_memory":
                problem = f"catalogs of the type '{option.value}' are not supported: only 'generic_in_memory' is"
                raise SqlValidationError(problem, self.text, *option.span)
        self.expect(")")

    def _create_function(self, start: int) -> CreateFunction:
        self.expect("FUNCTION")
        quiet = self.accept("IF", "NOT", "EXISTS")
        path = self.path("a name for the function")
        self.expect("AS")
        place = self.token.span
        target = self.literal_text("the Python function in quotes, 'module.name'")
        language = "JAVA"
        where = self.span_from(start)
        if self.accept("LANGUAGE"):
            where = self.token.span
            language = self.identifier("a language").upper()
        if language != "PYTHON":
            problem = f"functions of the language {language} are not supported: write LANGUAGE PYTHON"
            raise SqlValidationError(problem, self.text, *where)
        if self.at("USING"):
            problem = "USING is not supported: the module must be importable, and the setting functions.modules name it"
            raise SqlValidationError(problem, self.text, *self.token.span)
        return CreateFunction(self.span_from(start), path, target, place, quiet)

    def _drop(self, start: int) -> Drop:
        temporary = self.accept("TEMPORARY")
        if temporary:
            self.accept("SYSTEM")
        others = ("MODEL",) if temporary else ("DATABASE", "CATALOG", "MODEL", "CONNECTION")
        what = self.accept_any(("TABLE", "VIEW", "FUNCTION", *others))
        if not what:
            raise self.expected("TABLE", "VIEW", "FUNCTION", *others)
        quiet = self.accept("IF", "EXISTS")
        path, place = self.placed(f"the name of a {what.lower()}")
        cascade = what == "DATABASE" and self.accept_any(("CASCADE", "RESTRICT")) == "CASCADE"
        return Drop(self.span_from(start), what, path, place, quiet, cascade)

    # --- ALTER ------------------------------------------------------------------------------------

    def _alter(self, start: int) -> Alter | AlterModel:
        about = self.accept_any(("MODEL", "CONNECTION"))
        if about:
            return self.alter_model(start, about)
        what = self.accept_any(("TABLE", "VIEW"))
        if not what:
            if self.token.upper in ("CATALOG", "DATABASE", "FUNCTION", "MATERIALIZED"):
                problem = f"ALTER {self.token.upper} is not supported: DROP and CREATE it"
                raise SqlValidationError(problem, self.text, *self.token.span)
            raise self.expected("TABLE", "VIEW", "MODEL", "CONNECTION")
        quiet = self.accept("IF", "EXISTS")
        path, place = self.placed(f"the name of a {what.lower()}")
        action = self._table_action() if what == "TABLE" else self._view_action()
        return Alter(self.span_from(start), what, path, place, quiet, action, self.text)

    def _view_action(self) -> Action:
        if self.accept("RENAME"):
            self.expect("TO")
            return RenameTo(self.path("a name for the view"))
        if self.accept("AS"):
            return NewQuery(self.query())
        raise self.expected("RENAME TO", "AS")

    def _table_action(self) -> Action:
        start = self.token.span.start
        if self.accept("RENAME"):
            if self.accept("TO"):
                return RenameTo(self.path("a name for the table"))
            old = self.identifier("a column name")
            self.expect("TO")
            return RenameColumn(old, self.identifier("a column name"), self.span_from(start))
        if self.accept("SET"):
            self.expect("(")
            options = self.listed(self.option)
            self.expect(")")
            return SetOptions(options)
        if self.accept("RESET"):
            self.expect("(")
            keys = self.listed(self.literal_text)
            self.expect(")")
            return ResetOptions(keys)
        word = self.accept_any(("ADD", "MODIFY"))
        if word:
            return self._change(word == "MODIFY", start)
        if self.accept("DROP"):
            return self._drop_parts(start)
        raise self.expected("RENAME", "SET", "RESET", "ADD", "MODIFY", "DROP")

    def _change(self, modify: bool, start: int) -> Change:
        columns: list[PlacedColumn] = []
        watermark: WatermarkDefinition | None = None
        primary_key: tuple[str, ...] = ()
        many = self.accept("(")
        while True:
            if self.at("WATERMARK", "FOR"):
                watermark = self.watermark()
            elif self.at("PRIMARY") or self.at("CONSTRAINT"):
                primary_key = self.primary_key()
            else:
                column = self.column_definition()
                after: str | None = None
                if self.accept("FIRST"):
                    after = ""
                elif self.accept("AFTER"):
                    after = self.identifier("a column name")
                columns.append(PlacedColumn(column, after))
            if not (many and self.accept(",")):
                break
        if many:
            self.expect(")")
        return Change(modify, tuple(columns), watermark, primary_key, self.span_from(start))

    def _drop_parts(self, start: int) -> DropParts:
        columns: tuple[str, ...] = ()
        watermark = primary_key = False
        if self.accept("("):
            columns = self.listed(self.identifier)
            self.expect(")")
        elif self.at("WATERMARK"):
            self.take()
            watermark = True
        elif self.accept("PRIMARY"):
            self.expect("KEY")
            primary_key = True
        elif self.accept("CONSTRAINT"):
            self.identifier("a constraint name")
            primary_key = True
        else:
            columns = (self.identifier("a column name"),)
        return DropParts(columns, watermark, primary_key, self.span_from(start))

    # --- SHOW -------------------------------------------------------------------------------------

    def _show(self, start: int) -> Show:
        token = self.token
        user = token.upper == "USER" and self.accept("USER")
        what = "FUNCTIONS" if user else self.accept_any(_SHOWN)
        if user:
            self.expect("FUNCTIONS")
            what = "USER FUNCTIONS"
        if not what:
            if token.upper in ("JARS", "JOBS", "MODULES", "FULL", "PARTITIONS", "PROCEDURES", "MATERIALIZED"):
                raise SqlValidationError(f"SHOW {token.upper} is not supported", self.text, *token.span)
            raise self.expected(*_SHOWN)
        path: tuple[str, ...] = ()
        place = token.span
        if what == "CREATE":
            kind = self.accept_any(("TABLE", "VIEW", "MODEL", "CONNECTION"))
            if not kind:
                raise self.expected("TABLE", "VIEW", "MODEL", "CONNECTION")
            path, place = self.placed(f"the name of a {kind.lower()}")
            return Show(self.span_from(start), f"CREATE {kind}", path, place)
        if what == "CURRENT":
            kind = self.accept_any(("CATALOG", "DATABASE"))
            if not kind:
                raise self.expected("CATALOG", "DATABASE")
            return Show(self.span_from(start), f"CURRENT {kind}")
        if what == "COLUMNS" and not (self.at("FROM") or self.at("IN")):
            raise self.expected("FROM", "IN")
        if what in ("COLUMNS", "DATABASES", "MODELS", "TABLES", "VIEWS") and self.accept_any(("FROM", "IN")):
            path, place = self.placed("a name")
        negated = self.accept("NOT")
        how = self.accept_any(("LIKE", "ILIKE"))
        if negated and not how:
            raise self.expected("LIKE", "ILIKE")
        like = self.literal_text("a pattern in quotes") if how else None
        return Show(self.span_from(start), what, path, place, like, negated, how == "ILIKE")
