"""One query over tables of several partitions each, all in one place: the shell's, of which nothing is kept.

The sibling of :mod:`anomaly_app.jobs.task`, which has one partition, and of :mod:`anomaly_app.jobs.joint_task`, which
has the rows of all tables in one order: this one drives whichever of them the query needs, with a watermark for each
partition of each table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from anomaly_app.graph.asked import Question
from anomaly_app.jobs.joint_task import JointSlot, JointTask
from anomaly_app.jobs.task import Output, PartitionTask, QuerySlot, TimeMode
from anomaly_app.operators import COLUMNS, MIN_WATERMARK, TIME, Layout, Row
from anomaly_app.plan.query import PlannedQuery
from anomaly_app.schema import Schema
from anomaly_app.upstreams import upstream_of


@dataclass(frozen=True, slots=True)
class LiveTable:
    """A table that a live query reads.

    Args:
        schema: its columns and time.
        layout: the columns of its rows.
        partitions: numbers of its partitions, over all its topics.
    """

    schema: Schema
    layout: Layout
    partitions: Sequence[int]


class LiveTask:
    """Drives a query.

    Args:
        factory: the query.
        tables: that it reads, by name.

    Example:
        >>> from anomaly_app.jobs.binder import bind_text
        >>> from anomaly_app.schema import INT, Column
        >>> schema = Schema((Column("a", INT),))
        >>> factory = bind_text("SELECT a + 1 AS b FROM t WHERE a > 2", {"t": schema}).factory
        >>> task = LiveTask(factory, {"t": LiveTable(schema, Layout(schema.columns), (0, 1))})
        >>> task.process("t", 1, [(0, 17, 2), (0, 18, 3)])
        >>> [finding.values for _, finding in task.take().findings]
        [(4,)]
    """

    def __init__(self, factory: PlannedQuery, tables: Mapping[str, LiveTable]) -> None:
        self._tables = tables
        self._numbers: dict[str, list[int]] = {name: [] for name in tables}
        for number, scan in enumerate(factory.scans):
            self._numbers[scan.table].append(number)
        self._driver: _One | _Several
        if len(factory.scans) == 1:
            self._driver = _One(factory, tables[factory.scan.table])
        else:
            self._driver = _Several(factory, tables)
        self._reached = {(name, number): MIN_WATERMARK for name in tables for number in tables[name].partitions}
        self._clocked = any(table.schema.proctime is not None for table in tables.values())

    def process(self, table: str, partition: int, rows: Sequence[Row]) -> None:
        """Take rows of one partition of a table, in the order of their offsets, which are their positions.

        A row takes part before it moves the watermark of its partition, however many come together.
        """
        schema = self._tables[table].schema
        for part, watermark in self._parts(schema, self._reached[table, partition], rows):
            self._reached[table, partition] = watermark
            self._driver.process(self._numbers[table], partition, part, watermark)

    @staticmethod
    def _parts(schema: Schema, reached: int, rows: Sequence[Row]) -> Iterator[tuple[Sequence[Row], int]]:
        """Rows cut in front of each that is behind the watermark of the partition, and the watermark behind them."""
        timed = schema.rowtime is not None
        delay = schema.watermark_delay_ms if timed else 0
        if not timed and schema.proctime is None:
            yield rows, MIN_WATERMARK
            return
        first, told = 0, reached
        for number, row in enumerate(rows):
            if timed and row[TIME] <= reached and number > first and reached > told:
                yield rows[first:number], reached
                first, told = number, reached
            reached = max(reached, row[TIME] - delay)
        yield rows[first:], reached

    def idle(self, table: str, partition: int) -> None:
        """A partition has had no rows for a while: it holds back nobody's time."""
        self._driver.idle(self._numbers[table], partition)

    def clock(self, now_ms: int) -> None:
        """Time by the clock, for what is over processing time and complete though no row has come since."""
        if self._clocked and self._driver.task.is_due(now_ms):
            self._driver.task.advance(now_ms)

    def finish(self) -> None:
        """The end of all tables: every row is released, every window fires."""
        self._driver.task.finish()

    def take(self) -> Output:
        """Findings, late rows and problems since the last call; all under query 0."""
        return self._driver.task.take()

    def questions(self) -> list[Question]:
        """What is to be asked since the last call; when answers have come, :meth:`release` goes on."""
        return self._driver.task.questions()

    @property
    def waiting(self) -> int | None:
        """How many rows wait for an answer; None if nothing waits."""
        return self._driver.task.waiting

    def release(self) -> None:
        """Go on with the rows whose answers are there."""
        self._driver.task.release()

    def forget(self) -> None:
        """Let go what operators keep for a checkpoint: there is none, and it would grow for ever."""
        self._driver.task.checkpoint()


class _One:
    """A query over one table: as a partition of the worker behind a repartition, which reads several upstream ones."""

    def __init__(self, factory: PlannedQuery, table: LiveTable) -> None:
        layout = table.layout
        slot = QuerySlot(
            "query",
            factory.create(layout),
            needs_order=factory.needs_order,
            order_key=factory.order_key(layout),
            sort_key=factory.sort_key(layout),
        )
        schema = table.schema
        mode = TimeMode.ROWTIME if schema.rowtime is not None else TimeMode.ARRIVAL
        self.task = PartitionTask([slot], delay_ms=schema.watermark_delay_ms, mode=mode, upstreams=table.partitions)
        self._timed = schema.rowtime is not None
        self._next = 0

    def process(self, numbers: Sequence[int], partition: int, rows: Sequence[Row], watermark: int) -> None:
        end = self._next + len(rows)
        placed = [(row[TIME], place, *row[COLUMNS:]) for place, row in enumerate(rows, self._next)]
        # Their places are their numbers: nothing is read again, and the two rows of an update have one offset.
        self.task.process_from(partition, placed, range(self._next, end), end=end)
        self._next = end
        if self._timed:
            self._next += 1
            self.task.upstream_watermark(partition, watermark, end=self._next)

    def idle(self, numbers: Sequence[int], partition: int) -> None:
        self._next += 1
        self.task.upstream_watermark(partition, MIN_WATERMARK, end=self._next, idle=True)


class _Several:
    """A query over several tables, or over one several times: as a worker's behind one repartition topic for all."""

    def __init__(self, factory: PlannedQuery, tables: Mapping[str, LiveTable]) -> None:
        operator, _ = factory.create_over({name: table.layout for name, table in tables.items()})
        read = [tables[scan.table] for scan in factory.scans]
        upstreams = [upstream_of(number, partition) for number, one in enumerate(read) for partition in one.partitions]
        slot = JointSlot("query", operator, range(len(read)))
        self.task = JointTask([slot], [table.schema for table in read], upstreams)
        self._next = 0

    def process(self, numbers: Sequence[int], partition: int, rows: Sequence[Row], watermark: int) -> None:
        end = self._next + len(rows)
        placed = [(row[TIME], place, *row[COLUMNS:]) for place, row in enumerate(rows, self._next)]
        for count, number in enumerate(numbers, 1):  # a frame for each, and one step for all
            self.task.process_from(upstream_of(number, partition), placed, range(self._next, end), end=end + count)
        self._next = end + len(numbers)
        self._told(numbers, partition, watermark)

    def idle(self, numbers: Sequence[int], partition: int) -> None:
        self._told(numbers, partition, MIN_WATERMARK, idle=True)

    def _told(self, numbers: Sequence[int], partition: int, watermark: int, *, idle: bool = False) -> None:
        for number in numbers:
            self._next += 1
            self.task.upstream_watermark(upstream_of(number, partition), watermark, end=self._next, idle=idle)
