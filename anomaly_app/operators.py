"""The operator contract: what every detector, join and enrichment is to the rest of the system.

Rows are plain tuples, because a tuple is the cheapest record Python has::

    (event time in ms, position, column 0, column 1, …)

``position`` is the offset of the record in the partition that the operator works on; it never falls. The
columns are those that the queries of one source read, in an order fixed when the job is bound
(:class:`Layout`). A table with neither rowtime nor proctime has event time 0 in all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from anomaly_app.schema import Column

Row: TypeAlias = tuple[Any, ...]

TIME = 0
"""Index of the event time in a row."""
POSITION = 1
"""Index of the position in a row."""
COLUMNS = 2
"""Index of the first column in a row."""

MIN_WATERMARK = -(1 << 63)
"""Nothing is known yet: no row is late."""
MAX_WATERMARK = (1 << 63) - 1
"""The end of the input: every row is released, every timer fires."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the columns of a source stand in its rows.

    Example:
        >>> from anomaly_app.schema import INT, STRING
        >>> layout = Layout((Column("user_id", STRING), Column("qty", INT)))
        >>> row = (1_000, 42, "ann", 3)
        >>> row[layout.index("qty")]
        3
    """

    columns: tuple[Column, ...]

    def index(self, name: str) -> int:
        """Index of a column in a row tuple; raises ``KeyError`` for an unknown name."""
        for number, column in enumerate(self.columns):
            if column.name == name:
                return COLUMNS + number
        raise KeyError(name)


@dataclass(slots=True)
class Finding:
    """One output row of an operator, with what is needed to explain it.

    Args:
        key: values of the PARTITION BY columns; () without.
        time: event time of the result in ms.
        values: the output row in the order of the SELECT list.
        last: the last source row of the finding; it gives the alert its id.
        bindings: pattern variable (or another role) and source row, in row order; () if there is nothing to tell.
        number: the how-manieth output row with the same ``last`` row and key this is (0 for the first), so that
            ids stay apart when one row ends several matches or a match has many output rows.
        alert: it is an alert, and not only a row of the result.
        score: how bad it is, as the detector says: a multiple of the distance to the bound, or a probability.
        explanation: of the detector; "" if the rows tell it.
        timed_out: it tells of a pattern that was begun, but not completed in time.
        change: what it does to the result, a :class:`~anomaly_app.changes.Change`; 0 where nothing is taken back.
    """

    key: tuple[Any, ...]
    time: int
    values: tuple[Any, ...]
    last: Row
    bindings: Sequence[tuple[str, Row]] = ()
    number: int = 0
    alert: bool = True
    score: float | None = None
    explanation: str = ""
    timed_out: bool = False
    change: int = 0


@dataclass(slots=True)
class Problem:
    """A row or match on which a rule failed; reported, counted and dead-lettered while the stream goes on.

    Args:
        error: what went wrong.
        rows: the rows concerned.
        key: values of the PARTITION BY columns.
        node: whose rows they are, if a query has made them; "" for rows of the source.
        layout: columns of these rows; None for those of the source.
        side: number of the input of a vertex that they are of.
    """

    error: Exception
    rows: Sequence[Row]
    key: tuple[Any, ...] = ()
    node: str = ""
    layout: Layout | None = None
    side: int = 0


@dataclass(frozen=True, slots=True)
class InnerRow:
    """A row that a query has made and one of its own nodes has dropped, since it came too late there.

    Args:
        node: which one.
        layout: columns of the row.
        row: what it was; behind the columns it says where the last source row stands that it was made of.
        number: tells it apart from others that stand there, and is the same in a replay.
    """

    node: str
    layout: Layout
    row: Row
    number: int


@dataclass(slots=True)
class Counters:
    """What an operator dropped or bounded, by reason; added up by the runtime and shown in /metrics."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, reason: str, number: int = 1) -> None:
        """Count ``number`` more for ``reason``."""
        self.counts[reason] = self.counts.get(reason, 0) + number


_STRETCH = 32
"""Rows that are looked at together: hardly ever is one of them behind the watermark."""


class Arrivals:
    """Rows of one batch in order of arrival, for operators that do not wait for the watermark.

    A row takes part before it moves the watermark, which is the greatest time so far less the delay.

    Args:
        rows: of the batch.
        watermark: in front of the first one, in ms.
        highest: greatest event time before it, in ms.
        delay_ms: bound on disorder in ms; None if the watermark comes from outside, and stands still meanwhile.

    Attributes:
        times: event times of the rows.
        watermark: behind the last row.
        highest: greatest event time behind the last row.

    Example:
        >>> arrivals = Arrivals([(2_000, 0), (3_200, 1), (900, 2)], watermark=0, highest=0, delay_ms=1_000)
        >>> arrivals.behind, arrivals.watermark, list(arrivals.watermarks())
        ([(2, 2200)], 2200, [0, 1000, 2200])
    """

    __slots__ = ("_before", "_behind", "_delay", "_in_order", "highest", "rows", "times", "watermark")

    def __init__(self, rows: Sequence[Row], *, watermark: int, highest: int, delay_ms: int | None) -> None:
        self.rows = rows
        self._before, self._delay = (watermark, highest), delay_ms
        self.times = [row[TIME] for row in rows]
        self._behind: list[tuple[int, int]] | None = None
        self._in_order: bool | None = None
        self.watermark, self.highest = watermark, highest
        if delay_ms is not None and rows:
            self.highest = max(highest, max(self.times))
            self.watermark = max(watermark, self.highest - delay_ms)

    @property
    def begin(self) -> int:
        """The watermark in front of the first row."""
        return self._before[0]

    @property
    def in_order(self) -> bool:
        """Whether no row is earlier than the one before it."""
        if self._in_order is None:
            times, first = self.times, self.times[:_STRETCH]
            self._in_order = first == sorted(first) and times == sorted(times)
        return self._in_order

    @property
    def behind(self) -> Sequence[tuple[int, int]]:
        """Number of each row that is not at least two milliseconds ahead of the watermark, and that watermark.

        All others come in time for whatever ends at their own time or later, however the batch is cut. (One
        millisecond ahead: a session that would just take the row has ended.)
        """
        if self._behind is None:
            self._behind = self._find_behind()
        return self._behind

    def _find_behind(self) -> list[tuple[int, int]]:
        times, delay = self.times, self._delay
        watermark, highest = self._before
        if not times or (times[0] if self.in_order else min(times)) > self.watermark + 1:
            return []
        if self.in_order and times[0] > watermark + 1 and delay is not None and delay > 1:
            return []
        if delay is None:
            return [(number, watermark) for number, time in enumerate(times) if time <= watermark + 1]
        behind: list[tuple[int, int]] = []
        for start in range(0, len(times), _STRETCH):
            stretch = times[start : start + _STRETCH]
            latest = max(highest, max(stretch))
            reached = max(watermark, latest - delay)
            if min(stretch) > reached + 1:
                highest, watermark = latest, reached
                continue
            for number, time in enumerate(stretch, start):
                if time <= watermark + 1:
                    behind.append((number, watermark))
                if time > highest:
                    highest = time
                    if time - delay > watermark:
                        watermark = time - delay
        return behind

    def watermarks(self) -> Iterator[int]:
        """The watermark in front of each row."""
        (watermark, highest), delay = self._before, self._delay
        for row in self.rows:
            yield watermark
            if delay is not None and row[TIME] > highest:
                highest = row[TIME]
                watermark = max(watermark, highest - delay)


class Operator(Protocol):
    """One partition of keyed rows in, findings out. Plain synchronous Python; time is data.

    An operator raises nothing on bad data: it collects :class:`Problem` objects and goes on.
    """

    problems: list[Problem]
    counters: Counters

    late: list[Row]
    """Rows that came too late and were dropped since the last time somebody looked; stays empty in operators whose
    rows come in order, since those never see a late row."""

    def process(self, rows: Sequence[Row], watermark: int, arrivals: Arrivals | None = None) -> list[Finding]:
        """Take rows, and move time to ``watermark``.

        Args:
            rows: in order of event time and none later than ``watermark``; with ``arrivals``, in order of arrival,
                whatever their times.
            watermark: in ms; it never falls.
            arrivals: the same rows, and how the watermark stood in front of each; never for an operator whose factory
                ``needs_order``. What comes out must be what would come out if the rows came one by one, with time
                moved between them.
        """
        ...

    def advance(self, watermark: int) -> list[Finding]:
        """Move time without rows: time-outs fire. :data:`MAX_WATERMARK` is the end of a bounded input."""
        ...

    def due_ms(self) -> int | None:
        """Time by the clock from which on something is complete though no row has come since; None if nothing is."""
        ...

    def changes(self) -> Iterable[tuple[bytes, bytes | None]]:
        """State entries put (or deleted: None) since the last call. Grows with rows that came in, not rows held."""
        ...

    def restore(self, state: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back, into a fresh operator, all entries that ``changes`` has given and not deleted since."""
        ...

    @property
    def keeps_rows(self) -> bool:
        """True if the state entries hold every row still needed (or none is): nothing is fed again after a crash.

        False if the source is the log: after :meth:`restore` the rows from :meth:`oldest_time` on, up to the
        watermark of the checkpoint, are given to :meth:`process` once more, in one call, and its findings are
        thrown away, because they were written before. The state entries then only hold what the rows cannot tell
        again, such as how far the matches of a key have consumed its rows. Operators whose rows do not come in order
        keep them.
        """
        ...

    def oldest_time(self) -> int | None:
        """Event time of the oldest row still needed to give the same future; None if there is none.

        It never falls. Rows before the smallest one of all operators are not fed again.
        """
        ...


class Store(Protocol):
    """Values by key that an operator keeps, such as :class:`~anomaly_app.keyed.KeyedState`."""

    def attach(self, backing: Any, room: Any) -> None:
        """Let values stand elsewhere; arguments as of :meth:`~anomaly_app.keyed.KeyedState.attach`."""
        ...


class TaskOperator(Operator, Protocol):
    """What a factory makes: an operator that a task drives."""

    late_inside: list[InnerRow]
    """Rows of its own that came too late for a part of it since the last time somebody looked."""

    def questions(self) -> list[Any]:
        """What is to be asked since the last call, each a :class:`~anomaly_app.graph.asked.Question`."""
        ...

    @property
    def waiting(self) -> int | None:
        """How many rows wait for an answer; None if nothing waits."""
        ...

    def released(self) -> list[Finding]:
        """What comes of rows whose answers are there by now."""
        ...

    def drop_questions(self) -> None:
        """Nobody wants the answers any more."""
        ...

    def resume(self, watermark: int) -> None:
        """Behind :meth:`restore`, before anything else comes in: how far time was, so that late rows stay late."""
        ...

    @property
    def stores(self) -> Mapping[bytes, Store]:
        """Values by key, which need not all be in memory; by what the names of their entries begin with.

        Who keeps entries may attach what has them to each store, in front of :meth:`restore`, which is then given all
        entries but theirs.
        """
        ...


class OperatorFactory(Protocol):
    """What a bound query is: makes one operator per partition."""

    @property
    def reads(self) -> Sequence[str]:
        """Names of the source columns that the operator reads."""
        ...

    @property
    def partition_by(self) -> Sequence[str] | None:
        """Names of the columns that key the operator; () if all rows belong in one place, None if any will do."""
        ...

    @property
    def key(self) -> Sequence[Column]:
        """Columns of the findings' ``key``."""
        ...

    @property
    def output(self) -> Sequence[Column]:
        """Columns of the findings' ``values``."""
        ...

    @property
    def detects(self) -> bool:
        """Whether its rows tell of something found, so that they are alerts even where a table takes them."""
        ...

    @property
    def needs_order(self) -> bool:
        """Whether rows must come in order of event time, as patterns and detectors want them.

        Then they are held back until the watermark has passed them, and late ones are dropped before the operator. If
        not, rows come as they arrive, and the operator says which were too late for it.
        """
        ...

    def create(self, layout: Layout) -> TaskOperator:
        """A fresh operator for rows of that layout."""
        ...

    def order_key(self, layout: Layout) -> Callable[[Row], Any] | None:
        """Sort key (event time first) where rows of equal event time have a further order; None without."""
        ...

    def sort_key(self, layout: Layout) -> Callable[[Row], Any] | None:
        """Sort key of the whole input where it must be sorted before the first row is processed (bounded inputs only).

        None where rows are processed in event-time order as the watermark releases them.
        """
        ...


ColumnTypes: TypeAlias = Mapping[str, Column]
