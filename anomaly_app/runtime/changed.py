"""What a query that takes rows back writes: changes by key, or each with its kind; and rows that are printed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from anomaly_app.alerts.values import to_text
from anomaly_app.changes import Change
from anomaly_app.errors import EvaluationError
from anomaly_app.formats.records import RecordEncoder
from anomaly_app.jobs.topic_tables import Sink
from anomaly_app.operators import Finding
from anomaly_app.runtime.outgoing import MAX_RECORD_BYTES, Outgoing, size


@dataclass(frozen=True, slots=True)
class ChangeWriter:
    """Makes records of the changes of a query.

    They carry no ids: how many changes a row makes hangs on how its batch was cut, so that a replay after a crash may
    go another way to the same end. By key that is harmless; events are there at least once.

    Args:
        sink: the table.
        encoder: of its records.
    """

    sink: Sink
    encoder: RecordEncoder

    def records(
        self, findings: Sequence[Finding], partition: int, refuse: Callable[[Finding, EvaluationError], None]
    ) -> list[Outgoing]:
        """Records of the findings of one flush.

        Args:
            findings: in order. What an update takes back and what it puts in its place are both there.
            partition: that the findings are of.
            refuse: takes a finding that has no form in the format of the table.
        """
        return (self._upserts if self.sink.upsert else self._events)(findings, partition, refuse)

    def _upserts(
        self, findings: Sequence[Finding], partition: int, refuse: Callable[[Finding, EvaluationError], None]
    ) -> list[Outgoing]:
        """The last change of each key: a row that is taken back, and not replaced, is deleted."""
        last: dict[bytes | None, Outgoing] = {}
        for finding in findings:
            made = self._record(finding, None, refuse)
            if made is not None:
                last.pop(made.key, None)
                last[made.key] = made
        return list(last.values())

    def _events(
        self, findings: Sequence[Finding], partition: int, refuse: Callable[[Finding, EvaluationError], None]
    ) -> list[Outgoing]:
        """Each change; what has no key stays in order in one partition."""
        place = None if self.sink.key_fields else partition
        made = (self._record(finding, place, refuse) for finding in findings)
        return [record for record in made if record is not None]

    def _record(
        self, finding: Finding, place: int | None, refuse: Callable[[Finding, EvaluationError], None]
    ) -> Outgoing | None:
        try:
            key, value = self.encoder.encode(finding.values, finding.change)
            if size(key, value) > MAX_RECORD_BYTES:
                raise EvaluationError(f"the result takes {size(key, value)} bytes: too many for a record")
        except EvaluationError as error:
            refuse(finding, error)
            return None
        return Outgoing(self.sink.topic, key, value, [], partition=place)


class Printer:
    """Lines of a table of the connector ``print``.

    Args:
        sink: the table.

    Example:
        >>> from anomaly_app.jobs.topic_tables import Format
        >>> from anomaly_app.schema import INT, STRING, Column
        >>> sink = Sink("t", (Column("user", STRING), Column("qty", INT)), "", Format(""), connector="print", label="x")
        >>> Printer(sink).line(Finding((), 0, ("ann", None), (), change=3))
        'x> -D[ann, null]'
    """

    def __init__(self, sink: Sink) -> None:
        self.to_stderr = sink.to_stderr
        self._begin = f"{sink.label}> " if sink.label else ""
        self._texts = [to_text(column.type) for column in sink.columns]

    def line(self, finding: Finding) -> str:
        """A finding as a line."""
        cells = [
            "null" if value is None else text(value) for text, value in zip(self._texts, finding.values, strict=True)
        ]
        return f"{self._begin}{Change(finding.change).symbol}[{', '.join(cells)}]"
