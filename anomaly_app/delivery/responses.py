"""Responses to alerts: freeze an account, tell somebody, wait for an acknowledgement, escalate.

A rule is done about an alert once: a *run*, which goes through the steps of the rule. ``http`` ends when the call was
taken or given up; its run goes on in both cases, for a call that failed is the more a matter for people. ``notify`` and
``escalate`` are over at once for the run: what is to be sent is kept until it is, and somebody who cannot be reached
does not hold up the step that follows. ``wait_for_ack`` ends the response well if the alert is acknowledged, also if it
was before; else the next step follows when its time is over. Once acknowledged, no step behind a wait begins.

Pure: time is an argument, what is to be done is given out, and what is to be kept comes from :meth:`Responses.changes`.
The caller takes what there is, then in this order writes ``records()``, stores ``changes()``, and does what is in
``requests`` and ``outbox``. Killed between any two of these, it does the same again under the same ids.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from anomaly_app.alerts import Alert
from anomaly_app.alerts.values import iso_time
from anomaly_app.delivery.labels import fingerprint, labels_of
from anomaly_app.delivery.matchers import matches
from anomaly_app.delivery.notification import Incoming, Notification, Told
from anomaly_app.delivery.response_records import (
    Event,
    ResponseDelivery,
    ResponseRecord,
    ResponseRequest,
    Run,
    Telling,
    digest,
    run_id,
)
from anomaly_app.delivery.response_rules import Rule, Step, note_of
from anomaly_app.delivery.silences import Silences
from anomaly_app.words import duration

PREFIX = b"response/"
"""Of the keys of all entries of responses; others are of somebody else."""
_RUN, _POSITION = PREFIX + b"run/", PREFIX + b"position/"

HOUR_MS = 3_600_000
KEPT_MS = 24 * HOUR_MS
"""How long a run that has ended is remembered, so that its alert, should it come again, does not begin another."""
_NEVER = 1 << 62
_CHANGED = "its rule was changed or taken away"
EARLY_ACKS = 10_000
"""Acknowledgements that are remembered although there is no run of their alert: they may be read before it."""

_decoder = msgspec.msgpack.Decoder(Run)
_encoder = msgspec.msgpack.Encoder()
_alerts = msgspec.json.Decoder(Alert)


class Responses:
    """The runs of all rules.

    Args:
        rules: of the settings.
        entries: as they were stored; those of others are passed over.
        silences: as the dispatcher knows them; for rules that heed them.

    Attributes:
        positions: next offset, by partition of the topic of the alerts, behind what was taken.
        requests: calls that are to be made, by id.
        outbox: notifications that are to be sent, by id.
        fates: what became of alerts that a rule matches: ``started``, ``refused``, ``repeated``,
            ``silenced``.
    """

    def __init__(
        self, rules: Sequence[Rule], entries: Mapping[bytes, bytes] | None = None, silences: Silences | None = None
    ) -> None:
        self._silences = silences or Silences()
        self.positions: dict[int, int] = {}
        self.requests: dict[str, ResponseRequest] = {}
        self.outbox: dict[str, ResponseDelivery] = {}
        self.fates: Counter[str] = Counter()
        self._rules = {rule.name: rule for rule in rules}
        self._runs: dict[str, Run] = {}
        self._starts: dict[str, deque[int]] = {rule.name: deque() for rule in rules}
        self._of_alert: dict[str, list[str]] = {}
        self._deadlines: list[tuple[int, str]] = []
        self._ended: deque[tuple[int, str]] = deque()
        self._stale: dict[str, None] = {}
        self._early: OrderedDict[str, tuple[int, str]] = OrderedDict()
        self._tellings: dict[str, tuple[str, Telling]] = {}
        self._changed: dict[bytes, None] = {}
        self._records: list[ResponseRecord] = []
        self._restore(entries or {})

    def take(self, incoming: Sequence[Incoming], now_ms: int) -> None:
        """Begin runs. Alerts that were taken before are passed over.

        Args:
            incoming: of each partition in the order of offsets.
            now_ms: now, in ms since 1970.
        """
        for item in incoming:
            if item.offset < self.positions.get(item.partition, 0):
                continue
            self.positions[item.partition] = item.offset + 1
            self._changed[_POSITION + str(item.partition).encode()] = None
            labels = labels_of(item.alert, item.tenant)
            for rule in self._rules.values():
                if matches(rule.matchers, labels):
                    self._start(rule, item, labels, now_ms)

    def acknowledge(self, alert_id: str, by: str, now_ms: int) -> None:
        """Somebody has seen an alert; saying it again changes nothing.

        Args:
            alert_id: of the alert.
            by: who.
            now_ms: when, in ms since 1970.
        """
        if alert_id not in self._of_alert:
            self._early[alert_id] = (now_ms, by)
            self._early.move_to_end(alert_id)
            while len(self._early) > EARLY_ACKS:
                self._early.popitem(last=False)
        for id_ in list(self._of_alert.get(alert_id, ())):
            run = self._runs[id_]
            if run.acked_ms is None:
                self._acknowledge(run, by, now_ms)

    def settled(self, id_: str, taken: bool, now_ms: int, detail: str = "") -> None:
        """A call was made or a notification sent, or it was given up.

        Args:
            id_: of ``requests`` or ``outbox``; others are passed over.
            taken: by the other side; else it was given up.
            now_ms: when, in ms since 1970.
            detail: what the other side said, or why it was given up.
        """
        if id_ in self.requests:
            request = self.requests.pop(id_)
            run = self._runs[run_id(request.rule, request.alert.id)]
            step = self._rules[run.rule].steps[run.step]
            self._write(run, "done" if taken else "failed", now_ms, step, detail=detail)
            run.notes.append(f"{step.name}: " + ("done" if taken else f"failed ({detail})" if detail else "failed"))
            run.step += 1
            self._go_on(run, now_ms)
        elif id_ in self._tellings:
            run_, telling = self._tellings.pop(id_)
            del self.outbox[id_]
            self._settle_telling(self._runs[run_], telling, taken, now_ms, detail)

    def advance(self, now_ms: int) -> None:
        """End waits whose time is over, and forget what has long ended.

        Args:
            now_ms: now, in ms since 1970.
        """
        for id_ in list(self._stale):
            self._give_up(self._runs[id_], now_ms)
        self._stale.clear()
        while self._next_deadline() <= now_ms:
            run = self._runs[heapq.heappop(self._deadlines)[1]]
            step = self._rules[run.rule].steps[run.step]
            self._write(run, "timed_out", now_ms, step, detail=f"nobody acknowledged for {duration(step.wait_ms)}")
            run.step += 1
            self._go_on(run, now_ms)
        while self._ended and self._ended[0][0] + KEPT_MS <= now_ms:
            _, id_ = self._ended.popleft()
            if self._runs[id_].telling:
                self._ended.append((now_ms - KEPT_MS + HOUR_MS, id_))
                break
            self._forget(id_)

    def due_ms(self) -> int | None:
        """When :meth:`advance` has something to do next, in ms since 1970; None if nothing is awaited."""
        if self._stale:
            return 0
        forgets = self._ended[0][0] + KEPT_MS if self._ended else _NEVER
        due = min(self._next_deadline(), forgets)
        return None if due == _NEVER else due

    def records(self) -> list[ResponseRecord]:
        """What is to be written down since the last call."""
        records, self._records = self._records, []
        return records

    def changes(self) -> list[tuple[bytes, bytes | None]]:
        """Entries that changed since the last call, None for what is gone; positions are the last ones."""
        changes: list[tuple[bytes, bytes | None]] = []
        for key in sorted(self._changed, key=lambda key: key.startswith(_POSITION)):
            if key.startswith(_POSITION):
                changes.append((key, str(self.positions[int(key[len(_POSITION) :])]).encode()))
            else:
                run = self._runs.get(key[len(_RUN) :].decode())
                changes.append((key, None if run is None else _encoder.encode(run)))
        self._changed.clear()
        return changes

    # --- runs ---------------------------------------------------------------------------------------------

    def _start(self, rule: Rule, item: Incoming, labels: Mapping[str, str], now_ms: int) -> None:
        id_ = run_id(rule.name, item.alert.id)
        if id_ in self._runs:
            self.fates["repeated"] += 1
            return
        run = Run(
            rule.name, rule.shape, item.alert.id, item.alert.job, rule.dry_run, now_ms, item.raw, item.tenant
        )  # fmt: skip
        if rule.heed_silences:
            found = [silence for silence in self._silences.matching(labels) if silence.active(now_ms)]
            if found:
                self.fates["silenced"] += 1
                by = ", ".join(f"silence {silence.id} of {silence.created_by}" for silence in found)
                self._write(run, "silenced", now_ms, detail=by)
                return
        starts = self._starts[rule.name]
        while starts and starts[0] <= now_ms - HOUR_MS:
            starts.popleft()
        if len(starts) >= rule.max_per_hour:
            self.fates["refused"] += 1
            self._write(run, "refused", now_ms, detail=f"more than {rule.max_per_hour} runs in an hour")
            return
        starts.append(now_ms)
        self.fates["started"] += 1
        self._runs[id_] = run
        self._of_alert.setdefault(run.alert_id, []).append(id_)
        self._write(run, "started", now_ms)
        if run.alert_id in self._early:
            acked_ms, by = self._early[run.alert_id]
            run.acked_ms, run.acked_by = acked_ms, by
            self._write(run, "acknowledged", now_ms)
        self._go_on(run, now_ms)

    def _go_on(self, run: Run, now_ms: int) -> None:
        """Begin steps up to one that takes its time."""
        rule = self._rules[run.rule]
        run.phase, run.deadline_ms = "calling", None
        self._note_change(run)
        for number in range(run.step, len(rule.steps)):
            run.step, run.since_ms = number, now_ms
            step = rule.steps[number]
            if run.dry_run:
                self._write(run, "dry_run", now_ms, step)
                continue
            waited = any(other.kind == "wait_for_ack" for other in rule.steps[: number + 1])
            if run.acked_ms is not None and waited:
                self._end(run, now_ms, f"acknowledged by {run.acked_by}")
                return
            self._write(run, "begun", now_ms, step)
            if step.kind == "http":
                self._ask(run)
                return
            if step.kind == "wait_for_ack":
                run.phase, run.deadline_ms = "waiting", now_ms + step.wait_ms
                heapq.heappush(self._deadlines, (run.deadline_ms, run.id))
                return
            note = note_of(rule, number, run.notes)
            kind: Literal["notify", "escalate"] = "escalate" if step.kind == "escalate" else "notify"
            for way in step.ways:
                telling = Telling(number, kind, step.name, way, now_ms, note)
                run.telling.append(telling)
                self._tell(run, telling)
        self._end(run, now_ms, "dry run" if run.dry_run else "all steps done")

    def _acknowledge(self, run: Run, by: str, now_ms: int) -> None:
        run.acked_ms, run.acked_by = now_ms, by
        self._note_change(run)
        self._write(run, "acknowledged", now_ms)
        if run.phase == "waiting" and run.id not in self._stale:
            self._go_on(run, now_ms)

    def _give_up(self, run: Run, now_ms: int) -> None:
        """The rule is another one now, or not to be done any more."""
        for telling in list(run.telling):
            self._settle_telling(run, telling, False, now_ms, _CHANGED)
        if run.phase != "ended":
            self._end(run, now_ms, _CHANGED)

    def _end(self, run: Run, now_ms: int, why: str) -> None:
        run.phase, run.ended_ms, run.deadline_ms = "ended", now_ms, None
        self._write(run, "ended", now_ms, detail=why)
        self._ended.append((now_ms, run.id))
        self._lighten(run)
        self._note_change(run)

    def _lighten(self, run: Run) -> None:
        if run.phase == "ended" and not run.telling:
            run.raw, run.notes = b"", []

    def _forget(self, id_: str) -> None:
        run = self._runs.pop(id_)
        self._changed[_RUN + id_.encode()] = None
        others = self._of_alert[run.alert_id]
        others.remove(id_)
        if not others:
            del self._of_alert[run.alert_id]

    def _next_deadline(self) -> int:
        """Of what is still awaited; far away if nothing is."""
        while self._deadlines:
            deadline_ms, id_ = self._deadlines[0]
            run = self._runs.get(id_)
            if run is not None and run.phase == "waiting" and run.deadline_ms == deadline_ms:
                return deadline_ms
            heapq.heappop(self._deadlines)
        return _NEVER

    # --- what is given out ------------------------------------------------------------------------------

    def _ask(self, run: Run) -> None:
        id_ = self._request_id(run)
        alert = _alerts.decode(run.raw)
        self.requests[id_] = ResponseRequest(id_, run.rule, run.step, alert, run.raw, run.tenant, run.since_ms)

    def _tell(self, run: Run, telling: Telling) -> None:
        id_ = self._telling_id(run, telling)
        alert = _alerts.decode(run.raw)
        labels = labels_of(alert, run.tenant)
        told = Told(alert, labels, fingerprint(labels), "firing", _ms(alert.event_time, telling.since_ms),
                    telling.since_ms, 1)  # fmt: skip
        notification = Notification(
            id=id_, receiver=telling.way.partition("/")[0], group=run.id, group_labels=labels, status="firing",
            reason="escalation" if telling.kind == "escalate" else "response", alerts=[told], more=0,
            created_ms=telling.since_ms, note=telling.note,
        )  # fmt: skip
        self.outbox[id_] = ResponseDelivery(id_, telling.way, notification, telling.since_ms)
        self._tellings[id_] = (run.id, telling)

    def _settle_telling(self, run: Run, telling: Telling, taken: bool, now_ms: int, detail: str) -> None:
        run.telling.remove(telling)
        if taken and telling.step not in run.told:
            run.told.append(telling.step)
        if not any(other.step == telling.step for other in run.telling):
            event: Event = "done" if telling.step in run.told else "failed"
            step = Step(telling.kind, telling.name, telling.way.partition("/")[0])
            self._write(run, event, now_ms, step, number=telling.step, detail=detail)
        self._lighten(run)
        self._note_change(run)

    @staticmethod
    def _request_id(run: Run) -> str:
        return digest("request", run.id, run.shape, run.step)

    @staticmethod
    def _telling_id(run: Run, telling: Telling) -> str:
        return digest("telling", run.id, run.shape, telling.step, telling.way)

    def _write(
        self, run: Run, event: Event, now_ms: int, step: Step | None = None, *, number: int | None = None,
        detail: str = "",
    ) -> None:  # fmt: skip
        at = 0 if step is None else (run.step if number is None else number) + 1
        kind = "run" if step is None else step.kind
        self._records.append(
            ResponseRecord(
                id=digest("record", run.id, run.shape, at, event), at=iso_time(now_ms), rule=run.rule, run=run.id,
                alert=run.alert_id, job=run.job, tenant=run.tenant, step=at,
                kind=kind, event=event, name="" if step is None else step.name,
                receiver="" if step is None else step.receiver,
                by=run.acked_by if event == "acknowledged" else "", detail=detail,
                dry_run=run.dry_run,
            )
        )  # fmt: skip

    def _fits(self, run: Run) -> bool:
        """Whether a run that was stored may go on with the rules of now."""
        rule = self._rules.get(run.rule)
        if rule is None or rule.shape != run.shape or (rule.dry_run and not run.dry_run):
            return False
        return all(telling.way in rule.steps[telling.step].ways for telling in run.telling)

    # --- state --------------------------------------------------------------------------------------------

    def _note_change(self, run: Run) -> None:
        self._changed[_RUN + run.id.encode()] = None

    def _restore(self, entries: Mapping[bytes, bytes]) -> None:
        for key, value in entries.items():
            if key.startswith(_POSITION):
                self.positions[int(key[len(_POSITION) :])] = int(value)
            elif key.startswith(_RUN):
                run = _decoder.decode(value)
                self._runs[run.id] = run
                self._of_alert.setdefault(run.alert_id, []).append(run.id)
        for run in sorted(self._runs.values(), key=lambda run: run.started_ms):
            if run.rule in self._starts:
                self._starts[run.rule].append(run.started_ms)
            if not self._fits(run):
                if run.phase != "ended" or run.telling:
                    self._stale[run.id] = None
                continue
            for telling in run.telling:
                self._tell(run, telling)
            if run.phase == "calling":
                self._ask(run)
            elif run.phase == "waiting" and run.deadline_ms is not None:
                heapq.heappush(self._deadlines, (run.deadline_ms, run.id))
        ended = [(run.ended_ms, run.id) for run in self._runs.values() if run.ended_ms is not None]
        self._ended.extend(sorted(ended))


def _ms(text: str, otherwise: int) -> int:
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1_000)
    except (ValueError, OverflowError):  # beyond the calendar
        return otherwise
