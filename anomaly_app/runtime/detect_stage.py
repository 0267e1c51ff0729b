"""A partition whose rows go through the operators of its plan: findings, late rows and dead letters come of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from anomaly_app.alerts.encoding import MOST_BYTES, encode as encode_alert, shorten
from anomaly_app.errors import EvaluationError
from anomaly_app.graph.vertices import place_in_source, row_number
from anomaly_app.jobs.joint_task import JointTask
from anomaly_app.jobs.task import Output, PartitionTask
from anomaly_app.operators import (
    COLUMNS,
    MAX_WATERMARK,
    MIN_WATERMARK,
    POSITION,
    TIME,
    Finding,
    InnerRow,
    Layout,
    Problem,
    Row,
)
from anomaly_app.runtime.feed import Feed
from anomaly_app.runtime.outgoing import (
    MAX_RECORD_BYTES,
    NODE_HEADER,
    Headers,
    Outgoing,
    error_headers,
    raw,
    result,
    size,
    text_headers,
)
from anomaly_app.runtime.pipeline import Pipeline
from anomaly_app.runtime.stage import Flush, Stage, alert_key
from anomaly_app.status import PartitionStatus
from anomaly_app.upstreams import partition_of


class DetectStage(Stage):
    """A partition that is read as its plan's queries need it."""

    def __init__(
        self, pipeline: Pipeline, topic: str, partition: int, epoch: int, end: int | None,
        task: PartitionTask | JointTask,
    ) -> None:  # fmt: skip
        super().__init__(pipeline, pipeline.feeds[0], topic, partition, epoch, end)
        self.task = task
        self.queries = {slot: f"{pipeline.job.name}/{name}" for slot, name in pipeline.plan.slots.items()}
        self._findings: list[tuple[int, Finding]] = []
        self._releases = False
        self.failed: Exception | None = None

    async def prepare(self, records: Sequence[Any], now_ms: int) -> None:
        """Schemas of the records."""
        await self.feed.prepare(records, now_ms)

    def process(self, records: Sequence[Any], now_ms: int) -> None:
        """Decode a batch, sort out what is bad, and give the rest to the task."""
        feed, task = self.feed, self.task
        assert isinstance(task, PartitionTask), "several tables come through a repartition"
        decoded = feed.decode(records, now_ms)
        replay_end = task.replay_end
        self.ignored += decoded.ignored
        self.tombstones += decoded.tombstones
        for record, error in decoded.bad:
            if record.offset >= replay_end:
                self.dead_letters += 1
                self._records.append(raw(feed.dead_letter_topic, record, error_headers(error)))
        end = records[-1].offset + 1
        task.process(decoded.rows, end=end, latest_ms=now_ms + feed.max_ahead_ms)
        self.ask()
        output = task.take()
        if output.late or output.ahead:
            self._set_apart(records, output.late, output.ahead)
        self.keep(output)

    # --- rows that wait for answers ---------------------------------------------------------------

    @property
    def waiting(self) -> int | None:
        """How many rows wait for an answer of a model; None if nothing waits."""
        return self.task.waiting

    def ask(self) -> None:
        """Have asked what rows wait for."""
        for question in self.task.questions():
            question.owner = self
            self.pipeline.callers.ask(question)

    def begin(self) -> None:
        """Ask for the rows that waited when the state was written, and go on with those that were answered."""
        self._release()

    def answered(self) -> None:
        """An answer has come: go on soon, with all that come meanwhile."""
        if not self._releases:
            self._releases = True
            asyncio.get_running_loop().call_soon(self._release)

    def _release(self) -> None:
        self._releases = False
        if self.gone.is_set():
            return
        try:
            self.task.release()
            self.ask()
            self.keep(self.task.take())
        except Exception as error:
            self.failed = error  # the flusher tells
        self.moved.set()
        self.touch()

    def gather(self, now_ms: int) -> Flush:
        """Take out what gathered since the last flush."""
        if self.failed is not None:
            raise self.failed
        return super().gather(now_ms)

    def close(self) -> None:
        """The partition is gone."""
        super().close()
        for slot in self.task.slots:
            slot.operator.drop_questions()

    def _set_apart(self, records: Sequence[Any], late: Sequence[Row], ahead: Sequence[Row]) -> None:
        by_offset = {record.offset: record for record in records}
        feed = self.feed
        for row in late:
            self.late += 1
            self._records.append(raw(feed.late_topic, by_offset[row[POSITION]], []))
        for row in ahead:
            self.rejected += 1
            error = error_headers(feed.ahead_error(row))
            self._records.append(raw(feed.dead_letter_topic, by_offset[row[POSITION]], error))

    def keep(self, output: Output) -> None:
        """Hold findings for the flush, and make records of what a rule failed on and of its own rows that were late."""
        self._findings += output.findings
        for number, count in output.late_for.items():
            # By query: one may still take a row that is too late for another.
            self.pipeline.outputs[number].late += count
        for number, row in output.late_inside:
            self._late_inside(number, row)
        for number, problem in output.problems:
            self._dead_letter(number, problem)

    def _whose(self, number: int) -> list[tuple[str, str]]:
        return [("anomaly-job", self.pipeline.job.name), ("anomaly-query", self.pipeline.plan.queries[number].name)]

    def _late_inside(self, number: int, late: InnerRow) -> None:
        pipeline, query = self.pipeline, self.pipeline.plan.queries[number].name
        self.late += 1
        headers = text_headers([*self._whose(number), (NODE_HEADER, late.node)])
        about = f"{pipeline.job.name}-{query}-late-{late.number}"
        self._records.append(self.write_rows([late.row], headers, about, layout=late.layout, late=True))

    def _dead_letter(self, number: int, problem: Problem) -> None:
        pipeline, query = self.pipeline, self.pipeline.plan.queries[number].name
        self.dead_letters += 1
        headers = error_headers(problem.error, [*self._whose(number), (NODE_HEADER, problem.node)])
        about = f"{pipeline.job.name}-{query}-{len(problem.rows)}"
        if problem.layout is not None:
            about += f"-{row_number(problem.rows[-1], COLUMNS + len(problem.layout.columns))}"
        self._records.append(self.write_rows(problem.rows, headers, about, layout=problem.layout))

    def write_rows(
        self, rows: Sequence[Row], headers: Headers, about: str, *, layout: Layout | None = None, late: bool = False
    ) -> Outgoing:
        """Rows as a record for the topic of what is late, or of dead letters, of the table that the last one is of.

        Args:
            rows: of tables, or that a query has made.
            headers: of the record.
            about: tells problems of one row apart.
            layout: of rows that a query has made; None for those of tables.
            late: they are late; else something failed on them.
        """
        upstream, offset = self.place(rows[-1]) if layout is None else self._inner_place(rows[-1], layout)
        feed = self.pipeline.feed_of(upstream)
        if layout is None:
            writer, shown = feed.row_writer, [self.feed_of(row).show(row) for row in rows]
        else:
            writer = self.pipeline.writer_of(layout, feed)
            shown = [writer.shown(row) for row in rows]
        topic, place = feed.late_topic if late else feed.dead_letter_topic, (partition_of(upstream), offset)
        return writer.write(topic, shown, rows[-1][TIME], place, headers, about)

    def _inner_place(self, row: Row, layout: Layout) -> tuple[int, int]:
        """Upstream partition and offset of the last row of a source that a row of a query was made of."""
        offset, partition = place_in_source(row, COLUMNS + len(layout.columns))
        return self.feed.upstream(self.partition) if partition is None else partition, offset

    @property
    def is_quiet(self) -> bool:
        """Whether no rows come for now."""
        return self.idle

    def advance(self, watermark: int) -> None:
        """The partition is idle and others have gone on: time passes here too."""
        self.task.advance(watermark)
        self.ask()
        self.keep(self.task.take())
        self.touch()

    def place(self, row: Row) -> tuple[int, int]:
        """Upstream partition (of a table of one topic: its partition) and offset of a row in the source."""
        return self.feed.upstream(self.partition), row[POSITION]

    def feed_of(self, row: Row) -> Feed:
        """The table that a row is of."""
        return self.feed

    def behind(self, row: Row) -> Row:
        """What stands behind the columns of a row of a source."""
        return ()

    def fill(self, flush: Flush, now_ms: int) -> None:
        """Findings as results and alerts, and the checkpoint."""
        self._write_findings(flush, now_ms)
        flush.records += self._records  # of results that have no form in their format
        self._records = []
        flush.checkpoint, flush.changes = self.task.checkpoint()

    def _write_findings(self, flush: Flush, now_ms: int) -> None:
        findings, self._findings = self._findings, []
        outputs = self.pipeline.outputs
        changes: dict[int, list[Finding]] = {}
        for number, finding in findings:
            partition, offset = self.place(finding.last)
            output = outputs[number]
            if output.changes is not None:
                changes.setdefault(number, []).append(finding)
                continue
            if output.printer is not None:
                flush.lines.append((output.printer.to_stderr, output.printer.line(finding)))
            if output.encoder is not None:
                try:
                    key, value = output.encoder.encode(finding.values)
                    if size(key, value) > MAX_RECORD_BYTES:
                        raise EvaluationError(f"the result takes {size(key, value)} bytes: too many for a record")
                except EvaluationError as error:
                    self._refused(number, finding, error)
                else:
                    id_ = output.builder.id(finding, partition=partition, offset=offset)
                    flush.records.append(result(output.topic, key, value, id_))
            if not output.query.tells(finding):
                continue
            alert = output.builder.build(finding, partition=partition, offset=offset, detected_ms=now_ms)
            encoded = encode_alert(alert)
            if len(encoded) > MOST_BYTES:
                alert = shorten(alert)
                encoded = encode_alert(alert)
            flush.records.append(result(self.pipeline.alert_topic, alert_key(alert), encoded, alert.id))
            flush.alerts.append(alert)
            output.alerts += 1
        for number, found in changes.items():
            writer = outputs[number].changes
            assert writer is not None
            flush.records += writer.records(found, self.partition, partial(self._refused, number))

    def _refused(self, number: int, finding: Finding, error: EvaluationError) -> None:
        """A finding that has no form in the format of its table."""
        columns = Layout(tuple(self.pipeline.plan.queries[number].factory.output))
        row = (*finding.last[:COLUMNS], *finding.values, *self.behind(finding.last))
        self._dead_letter(number, Problem(error, [row], finding.key, "result", columns))

    def end_time(self) -> None:
        """Release every row, let every timer fire."""
        self.task.finish()
        self.ask()

    def finish(self, now_ms: int) -> Flush | None:
        """What comes of the end, without a checkpoint, so that the job can go on after more rows."""
        self.keep(self.task.take())
        flush = Flush()
        self._write_findings(flush, now_ms)
        flush.records += self._records
        self._records = []
        return flush

    def status(self, now: float) -> PartitionStatus:
        """For the page."""
        task = self.task
        return PartitionStatus(
            job=self.pipeline.job.name,
            queries=tuple(query.name for query in self.pipeline.plan.queries),
            source=self.pipeline.sources,
            topic=self.topic,
            partition=self.partition,
            rows=task.rows,
            rows_per_s=self.rate.at(now, task.rows),
            lag=max(0, self.highwater - self.position),
            watermark_ms=shown_watermark(task.watermark),
            buffered=task.buffered + (task.waiting or 0),
            late=self.late,
            rejected=self.rejected,
            dead_letters=self.dead_letters,
            duplicates=task.duplicates,
            repartitioned=self.pipeline.repartitioned,
        )


def shown_watermark(watermark: int) -> int | None:
    """A watermark for the page; None before the first row and behind the last one."""
    return watermark if MIN_WATERMARK < watermark < MAX_WATERMARK else None
