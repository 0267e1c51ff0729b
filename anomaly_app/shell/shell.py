"""The shell: one statement after the other, each carried out and shown."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from anomaly_app.batch import Result, fill_lookups, run_bound
from anomaly_app.changes import Change
from anomaly_app.errors import AnomalyError, BrokerError, SqlError, SqlValidationError
from anomaly_app.formats.values import to_internal
from anomaly_app.jobs.binder import BoundQuery, bind_job
from anomaly_app.jobs.files import is_file
from anomaly_app.jobs.lookups import Lookup, bind_lookups
from anomaly_app.jobs.precedence import settle, settle_tables
from anomaly_app.jobs.tables import bind_sink, bind_source
from anomaly_app.jobs.topic_tables import Sink, Source
from anomaly_app.limits import Limits
from anomaly_app.operators import Finding
from anomaly_app.plan.nodes import Evaluate, walk
from anomaly_app.rows import Rows
from anomaly_app.runtime.changed import Printer
from anomaly_app.runtime.insert import write_rows
from anomaly_app.runtime.live import LiveQuery
from anomaly_app.runtime.topics import forget_topics
from anomaly_app.schema import STRING, Column
from anomaly_app.session import Session
from anomaly_app.settings import LoadedSettings
from anomaly_app.shell.cells import cells_function
from anomaly_app.shell.help import HELP
from anomaly_app.shell.jobs import COLUMNS as JOB_COLUMNS, FAILED, Job, Jobs, failure, row_of
from anomaly_app.shell.options import KNOWN, Mode, ShellOptions, check
from anomaly_app.shell.remarks import Remarks
from anomaly_app.shell.running import interruptible, run_live, run_on_page
from anomaly_app.shell.sheet import Sheet
from anomaly_app.shell.statements import (
    Clear,
    Help,
    Own,
    Piece,
    Quit,
    Read,
    ShowJobs,
    StopJob,
    alone,
    own_statement,
    split,
)
from anomaly_app.shell.tableau import Tableau, rows_in_set
from anomaly_app.shell.terminal import Terminal
from anomaly_app.shell.views import JsonView, LeftView, TableauView, View, left_of
from anomaly_app.sql import parse_statements, parse_type
from anomaly_app.sql.commands import TELLS, Explain, Show
from anomaly_app.sql.parser import Statement
from anomaly_app.sql.queries import QueryTree
from anomaly_app.sql.statements import CreateTable, Insert, Option, SetOption

SYNC = "table.dml-sync"
"""Flink's option: an INSERT is waited for."""

DEEPEST = 20
"""Files that SOURCE one another, at most."""


class Leave(Exception):
    """QUIT."""


class Shell:
    """Carries out statements.

    Args:
        loaded: the settings.
        terminal: where it prints.
        remarks: what is logged.
        json: rows are printed as JSON.
        environment: of the processes of jobs, beside that of this one.
    """

    def __init__(
        self,
        loaded: LoadedSettings,
        terminal: Terminal,
        remarks: Remarks,
        *,
        json: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.loaded, self.terminal, self._remarks, self._json = loaded, terminal, remarks, json
        settings = loaded.settings
        self.session = Session(
            dialect=settings.worker.dialect,
            function_modules=settings.functions.modules,
            parameters=settings.parameters,
            connections=settings.connection_options,
        )
        self.jobs = Jobs(environment)
        self._script: list[str] = []
        self._depth = 0
        self._told: set[str] = set()

    @property
    def options(self) -> ShellOptions:
        """What SET says to the shell."""
        usual = Mode.TABLE if self.terminal.interactive else Mode.TABLEAU
        return ShellOptions.of(self.session.settings.said, usual)

    def run(self, text: str) -> None:
        """Carry out the statements of a text.

        Args:
            text: the statements, with ``;`` between them.

        Raises:
            Leave: it says QUIT.
            AnomalyError: a statement fails; those before it are done.
            KeyboardInterrupt: Ctrl-C, where nobody sits at a prompt.
        """
        for piece in split(text):
            self.execute(piece)

    def execute(self, piece: Piece) -> None:
        """Carry out one statement; errors as of :meth:`run`."""
        sql = piece.text
        own = own_statement(sql)
        if own is not None:
            self._own(own)
            return
        with self.session.substituted(sql).located() as text:
            self._execute(text, piece)

    def _execute(self, sql: str, piece: Piece) -> None:
        statements = parse_statements(sql)
        first = statements[0]
        if len(statements) > 1 and not all(isinstance(one, Insert) for one in statements):
            for one in statements:  # a comment has ended each
                self.execute(alone(piece, *one.span))
        elif isinstance(first, CreateTable) and first.query is not None:
            self._create_as(first, sql, piece)
        elif isinstance(first, Insert):
            self._insert([one for one in statements if isinstance(one, Insert)], sql, piece)
        elif isinstance(first, QueryTree):
            self._query(first, sql)
        else:
            if isinstance(first, SetOption):
                check(first, sql)
            result = self.session.execute(sql)
            # What is for the shell would only be warned of in a job.
            if not isinstance(first, TELLS) and not (isinstance(first, SetOption) and first.key in KNOWN):
                self._script.append(piece.own)
            self._tell(first, result)

    # --- statements of the shell --------------------------------------------------------------------

    def _own(self, own: Own) -> None:
        if isinstance(own, Quit):
            raise Leave
        if isinstance(own, Help):
            for line in HELP.splitlines():
                self.terminal.write(line)
        elif isinstance(own, Clear):
            self.terminal.clear()
        elif isinstance(own, Read):
            self.read(Path(own.path))
        elif isinstance(own, ShowJobs):
            self._told_rows(JOB_COLUMNS, [row_of(job) for job in self.jobs.all()])
        elif isinstance(own, StopJob):
            job = self.jobs.find(own.id)
            self.jobs.stop(job)
            self._done(f"Job {job.folder.id} is {job.state}.")
        else:
            self._describe_job(self.jobs.find(own.id))

    def read(self, path: Path) -> None:
        """Carry out the statements of a file; errors as of :meth:`run`, with the name of the file."""
        if self._depth >= DEEPEST:
            raise AnomalyError(f"SOURCE '{path}': {DEEPEST} files are open that SOURCE one another")
        try:
            text = path.expanduser().read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise AnomalyError(f"{path} cannot be read: {error}") from error
        self._depth += 1
        try:
            self.run(text)
        except SqlError as error:
            raise error.in_file(path) from None
        finally:
            self._depth -= 1

    # --- what tells ---------------------------------------------------------------------------------

    def _tell(self, statement: Statement, result: Result) -> None:
        if not isinstance(statement, TELLS):
            self._done()
        elif self._json:
            self._show(result)
        elif isinstance(statement, Explain) or (isinstance(statement, Show) and statement.what.startswith("CREATE ")):
            for line in str(result.rows[0][0]).splitlines():
                self.terminal.write(line)
        else:
            self._told_rows([name for name, _ in result.columns], result.rows)

    def _done(self, what: str = "Execute statement succeeded.") -> None:
        if self._json:
            return
        self.terminal.note(f"[INFO] {what}")

    def _told_rows(self, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Rows that are all there; NULL is nothing."""
        if self._json:
            self._show(Result([(name, "STRING") for name in names], list(rows)))
            return
        cells_of = cells_function([Column(name, STRING) for name in names])
        cells = cells_of([tuple("" if cell is None else _word(cell) for cell in row) for row in rows])
        if cells:
            tableau = Tableau.of_cells(names, cells)
            for line in [*tableau.head(), *map(tableau.row, cells), tableau.border]:
                self.terminal.write(line)
        self.terminal.note(rows_in_set(len(cells)))

    # --- queries ------------------------------------------------------------------------------------

    def _query(self, tree: QueryTree, sql: str) -> None:
        bound = self.session.bind(tree, sql)
        sources = self._sources(bound, sql)
        if not sources:
            self._show(self.session.execute(sql))
            return
        lookups = self._lookups(bound, sql)
        followed = [lookup.source for lookup in lookups if isinstance(lookup.source, Source)]
        loaded = self.settled([*sources.values(), *followed])
        batch = self.options.batch
        query = LiveQuery(bound.factory, sources, loaded, to_end=batch, lookups=lookups)
        bounded = batch or all(source.bounded for source in sources.values())
        if bound.factory.bounded_only and not bounded:
            problem = "ORDER BY must begin with the time attribute, ascending: an endless input cannot be sorted"
            if any(isinstance(one, Evaluate) for one in walk(bound.factory.node)):
                problem = "ML_EVALUATE judges rows that are all there: SET 'execution.runtime-mode' = 'batch' first"
            raise SqlValidationError(problem, sql, *bound.factory.main.span)
        options, columns = self.options, bound.factory.output
        if self.terminal.interactive and not batch and options.mode is not Mode.TABLEAU:
            changes = options.mode is Mode.CHANGELOG
            sheet = Sheet(columns, options.width, options.most_rows, changes=changes)
            run_on_page(query, sheet, options.mode.value, self.terminal, self._remarks)
        else:
            run_live(query, self._view(columns), self.terminal)

    def _show(self, result: Result) -> None:
        """Rows that are all there, as those of a query."""
        view = self._view([Column(name, parse_type(type_)) for name, type_ in result.columns])
        view.take(in_memory_form(result, result.changes or [("+I", row) for row in result.rows]))
        view.end(stopped=False)

    def _view(self, columns: Sequence[Column]) -> View:
        options, terminal = self.options, self.terminal
        at_the_end = options.batch or options.mode is Mode.TABLE
        if self._json:
            return JsonView(columns, terminal.write, left_of(columns, options.most_rows) if at_the_end else None)
        if at_the_end:
            return LeftView(columns, options.width, options.most_rows, terminal.write, terminal.note)
        return TableauView(columns, options.width, terminal.write, terminal.note)

    def _sources(self, bound: BoundQuery, sql: str) -> dict[str, Source]:
        """The topics of the tables that a query reads, by name; {} if all are in memory."""
        creates = self.session.catalog.creates
        topics = {}
        memory = []
        for table in bound.tables:
            create = creates.get(table.name)
            if create is not None and is_file(create):
                memory.append(table)
            elif create is None or not create.options:
                memory.append(table)
                self.session.catalog.data.setdefault(table.name, Rows())  # an INSERT may come later
            elif table.name not in topics:
                warnings: list[str] = []
                topics[table.name] = bind_source(create, create.text, warnings)
                self.warn(warnings)
        if topics and memory:
            where = "in a file" if memory[0].file is not None else "in memory"
            problem = f"table {memory[0].name} is {where} and {next(iter(topics))} is a topic: a query reads one kind"
            raise SqlValidationError(problem, sql, *memory[0].span)
        return topics

    def _lookups(self, bound: BoundQuery, sql: str) -> list[Lookup]:
        """The tables that a query looks rows up in; those that are in memory are filled."""
        catalog = self.session.catalog
        memory = []
        for table, read in bound.lookups:
            create = catalog.creates.get(read.name)
            if create is None or not create.options:
                catalog.data.setdefault(read.name, Rows())
                memory.append((table, read))
        fill_lookups(memory, catalog.data, sql)
        warnings: list[str] = []
        filled = {read.name for _, read in memory}
        lookups = bind_lookups(bound.factory.node, catalog.creates, sql, warnings, filled)
        self.warn(warnings)
        return lookups

    def settled(self, tables: Iterable[Source | Sink], warnings: Sequence[str] = ()) -> LoadedSettings:
        """The settings, with what the tables add; ``warnings`` about them are told too."""
        settled = settle_tables(self.loaded, tables)
        self.warn([*warnings, *([settled.warning] if settled.warning else [])])
        return settled.loaded

    def warn(self, warnings: Sequence[str]) -> None:
        """Say once what is accepted and has no meaning here."""
        for warning in warnings:
            if warning not in self._told:
                self._told.add(warning)
                self.terminal.warn(warning)

    # --- jobs ---------------------------------------------------------------------------------------

    def _create_as(self, create: CreateTable, sql: str, piece: Piece) -> None:
        """CREATE TABLE … AS: the table, and a job that fills it, or rows that are there."""
        session = self.session
        session.catalog.text = session.settings.text = sql
        assert create.query is not None
        if not create.options and self._sources(session.bind(create.query, sql), sql):
            # Rows of topics go to a topic; a table without options would be in memory.
            create = replace(create, options=(Option("connector", "confluent", create.span),))
        insert = session.make(create)
        name = session.catalog.known(insert.path, insert.target_span)
        try:
            self._insert([insert], sql, piece)
        except BaseException:
            session.execute(f"DROP TABLE IF EXISTS {'.'.join(f'`{part}`' for part in name.split('.'))}")
            raise
        # Later jobs read the table, and do not fill it again.
        told = session.execute(f"SHOW CREATE TABLE {'.'.join(f'`{part}`' for part in name.split('.'))}")
        self._script.append(str(told.rows[0][0]))

    def _insert(self, inserts: Sequence[Insert], sql: str, piece: Piece) -> None:
        """A job, or rows that are there and only need to be written."""
        catalog = self.session.catalog
        bound = [self.session.bind(insert, sql) for insert in inserts]
        sinks = [catalog.known(insert.path, insert.target_span) for insert in inserts]
        read = [self._sources(one, sql) for one in bound]
        topics = [name for name in sinks if name in catalog.creates and catalog.creates[name].options]
        if any(read):
            for insert, name in zip(inserts, sinks, strict=True):
                if name not in topics:
                    problem = f"table {name} is in memory: a job writes topics, so its table needs WITH options"
                    raise SqlValidationError(problem, sql, *insert.target_span)
            self._start(piece, sinks)
        elif not topics:
            self.session.fill(inserts, sql)
            self._done()
        else:
            for one, name in zip(bound, sinks, strict=True):
                self._write(one, name, sql)

    def _write(self, bound: BoundQuery, name: str, sql: str) -> None:
        create, warnings = self.session.catalog.creates[name], list[str]()
        sink = bind_sink(create, create.text, warnings)
        loaded = self.settled([sink], warnings)
        result = run_bound(bound, self.session.catalog.data, sql)
        if not sink.topic:
            if sink.connector == "print":
                printer = Printer(sink)
                for change, row in in_memory_form(result, result.changes):
                    self.terminal.write(printer.line(Finding((), 0, row, (), change=change)))
            self._done()
            return
        rows = [row for _, row in in_memory_form(result, [("+I", row) for row in result.rows])]
        if interruptible(write_rows(sink, rows, loaded)):
            raise KeyboardInterrupt
        self._done(f"{len(rows):,} {'row' if len(rows) == 1 else 'rows'} written to {name}.")

    def _start(self, piece: Piece, sinks: Sequence[str]) -> None:
        settings, options = self.loaded.settings, self.options
        name = f"insert-into_{'_'.join(dict.fromkeys(sinks))}"
        text = "".join(f"{one};\n" for one in [*self._script, piece.own])
        draft = bind_job(
            text,
            name=name,
            dialect=settings.worker.dialect,
            bounded=options.batch,
            limits=Limits(**settings.limits.model_dump()),
            modules=settings.functions.modules,
            parameters=settings.parameters,
            connections=settings.connection_options,
        )
        settle(self.loaded, [draft])
        job = self.jobs.start(name, text, self.loaded, detached=options.detach, bounded=options.batch)
        self._done(f"Job {job.folder.id} runs in the background: SHOW JOBS, STOP JOB '{job.folder.id}'.")
        if self.session.settings.said.get(SYNC, "").lower() == "true":
            self.jobs.wait(job)

    def _describe_job(self, job: Job) -> None:
        self._told_rows(JOB_COLUMNS, [row_of(job)])
        lines = [f"files: {job.folder.path}", *job.folder.text().splitlines()]
        if job.state == FAILED:
            lines.append(failure(job))
        for line in lines:
            self.terminal.note(line)

    def tell_news(self) -> None:
        """What has happened in the background since the last time."""
        for line in self.jobs.news():
            self.terminal.note(f"[INFO] {line}")

    def wait(self) -> None:
        """Until all jobs that would end with the shell have ended by themselves; errors as of :meth:`run`."""
        for job in self.jobs.all():
            if not job.detached:
                self.jobs.wait(job)

    def close(self) -> None:
        """End the jobs that are not detached, and delete what only they needed."""
        gone = self.jobs.close()
        if gone:
            with suppress(BrokerError):  # a broker that is away keeps them
                asyncio.run(forget_topics(self.loaded, gone))


def _word(cell: Any) -> str:
    return ("TRUE" if cell else "FALSE") if isinstance(cell, bool) else str(cell)


def in_memory_form(
    result: Result, changes: Iterable[tuple[str, tuple[Any, ...]]]
) -> list[tuple[Change, tuple[Any, ...]]]:
    """Changes of a result, with values as the engine has them."""
    converts = [to_internal(parse_type(type_)) for _, type_ in result.columns]
    return [
        (
            Change.of(symbol),
            tuple(
                [
                    cell if cell is None or convert is None else convert(cell)
                    for cell, convert in zip(row, converts, strict=True)
                ]
            ),
        )
        for symbol, row in changes
    ]
