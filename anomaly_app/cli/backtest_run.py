"""A job over records of files or topics, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

    from anomaly_app.alerts.record import Alert
    from anomaly_app.jobs.model import Job
    from anomaly_app.settings import LoadedSettings


@dataclass(slots=True)
class Outcome:
    """What some jobs would have told.

    Attributes:
        name: of the job; of several their names.
        version: and their versions.
        parameters: names, and the literals that stand for them.
        text: of the jobs, with the values of their parameters.
        queries: their names.
        alerts: in order of event time, and of their ids.
        read: records.
        unreadable: of them that could not be read, or on which a rule failed.
        late: rows that came too late for a query.
        ahead: rows whose event time was too far in the future.
        seconds: that it took.
    """

    name: str = ""
    version: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    text: str = ""
    queries: tuple[str, ...] = ()
    alerts: list[Alert] = field(default_factory=list)
    read: int = 0
    unreadable: int = 0
    late: int = 0
    ahead: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Range:
    """Of topics.

    Args:
        begin: time in ms since 1970 of the first records; None for all.
        end: and behind the last; None for where the topics end now.
    """

    begin: int | None
    end: int | None


def bind(
    text: str, name: str, path: str, loaded: LoadedSettings, given: Mapping[str, str], counts: Mapping[str, int]
) -> Job:
    """A job file.

    Args:
        text: of it.
        name: of the job.
        path: of the file.
        loaded: the settings.
        given: parameters, before those of the settings.
        counts: partitions of its topics.

    Raises:
        SqlError: the text is wrong.
    """
    from anomaly_app.jobs.binder import bind_job
    from anomaly_app.limits import Limits

    settings = loaded.settings
    return bind_job(
        text, name=name, path=path, dialect=settings.worker.dialect, bounded=True, partitions=counts,
        limits=Limits(**settings.limits.model_dump()), modules=settings.functions.modules,
        parameters={**settings.parameters, **given},
    )  # fmt: skip


async def over_files(
    text: str, name: str, path: str, loaded: LoadedSettings, given: Mapping[str, str], paths: Mapping[str, Path],
    bar: Progress,
) -> Outcome:  # fmt: skip
    """A job over files; arguments as of :func:`bind`.

    Args:
        text: of it.
        name: of the job.
        path: of the file.
        loaded: the settings.
        given: parameters, before those of the settings.
        paths: a file for each table that it reads, by name; a beginning of the name will do.
        bar: shows how far it is.

    Raises:
        SqlError: the text is wrong.
        DataError: a file is missing or cannot be read.
    """
    from anomaly_app.cli.backtest_input import Files, over_files as as_files, stamps_of
    from anomaly_app.runtime.rehearsal import Rehearsal

    draft = bind(text, name, path, loaded, given, {})
    topics = _topics(draft)
    job = as_files(bind(text, name, path, loaded, given, dict.fromkeys(topics.values(), 1)))
    files = Files(_by_table(paths, topics), topics, stamps_of(job))
    outcome = _outcome(job)
    outcome.unreadable = files.unreadable
    began = time.monotonic()
    task = bar.add_task(name, total=files.rows)
    now_ms = time.time_ns() // 1_000_000
    rehearsal = Rehearsal(job, loaded, dict.fromkeys(topics.values(), 1), outcome.alerts.extend)
    await rehearsal.begin(topics=False)
    for batch in files.batches():
        await rehearsal.take(batch, now_ms)
        bar.advance(task, len(batch))
    await rehearsal.finish(now_ms)
    return _done(outcome, rehearsal, began)


async def over_topics(
    text: str, name: str, path: str, loaded: LoadedSettings, given: Mapping[str, str], between: Range, bar: Progress
) -> Outcome:
    """A job over a range of its topics; arguments and errors as of :func:`over_files`.

    Raises:
        BrokerError: Kafka cannot be reached, or a topic does not exist.
    """
    from anomaly_app.jobs.precedence import settle
    from anomaly_app.runtime.rehearsal import Rehearsal
    from anomaly_app.runtime.topic_range import TopicRange

    draft = bind(text, name, path, loaded, given, {})
    loaded = settle(loaded, [draft])[0]
    reader = TopicRange(list(_topics(draft).values()), loaded, between.begin, between.end)
    began = time.monotonic()
    async with reader.opened() as consumer:
        job = bind(text, name, path, loaded, given, reader.partitions)
        outcome = _outcome(job)
        rehearsal = Rehearsal(job, loaded, reader.partitions, outcome.alerts.extend)
        await rehearsal.begin(topics=True)
        task = bar.add_task(name, total=reader.rows)
        now_ms = time.time_ns() // 1_000_000
        async for batch in reader.batches(consumer):
            await rehearsal.take(batch, now_ms)
            bar.advance(task, len(batch))
        await rehearsal.finish(now_ms)
    return _done(outcome, rehearsal, began)


def _outcome(job: Job) -> Outcome:
    parameters = {one.name: one.literal for one in job.parameters}
    queries = tuple(query.name for plan in job.plans for query in plan.queries)
    return Outcome(job.name, job.version, parameters, job.text, queries)


def together(outcomes: Sequence[Outcome]) -> Outcome:
    """Outcomes of several jobs as one."""
    if len(outcomes) == 1:
        return outcomes[0]
    whole = Outcome(", ".join(one.name for one in outcomes), ", ".join(one.version for one in outcomes))
    for one in outcomes:
        whole.parameters |= one.parameters
        whole.text += one.text
        whole.queries += one.queries
        whole.read, whole.seconds = whole.read + one.read, whole.seconds + one.seconds
        whole.unreadable, whole.late = whole.unreadable + one.unreadable, whole.late + one.late
        whole.ahead += one.ahead
    whole.alerts = sorted((alert for one in outcomes for alert in one.alerts), key=lambda a: (a.event_time, a.id))
    return whole


def _done(outcome: Outcome, rehearsal: Any, began: float) -> Outcome:
    counts = rehearsal.counts
    outcome.alerts.sort(key=lambda alert: (alert.event_time, alert.id))
    outcome.read, outcome.late, outcome.ahead = counts.read, counts.late, counts.ahead
    outcome.unreadable += counts.unreadable
    outcome.seconds = time.monotonic() - began
    return outcome


def _topics(job: Job) -> dict[str, str]:
    """Topic of each table that a job reads."""
    return {source.name: source.topic for plan in job.plans for source in plan.tables}


def _by_table(paths: Mapping[str, Path], topics: Mapping[str, str]) -> dict[str, Path]:
    from anomaly_app.errors import DataError

    found: dict[str, Path] = {}
    for said, path in paths.items():
        names = [said] if said in topics else [name for name in topics if name.startswith(said)]
        if len(names) > 1:
            raise DataError(f"--table {said}: it begins the names of {' and '.join(names)}")
        if names:  # else the job against which is compared reads it
            found[names[0]] = path
    missing = [name for name in topics if name not in found]
    if missing:
        raise DataError(
            f"no rows are given for table {missing[0]}; give them with --table {missing[0]}=FILE, or --from"
        )
    return found


def only_in(these: Sequence[Alert], others: Sequence[Alert]) -> list[Alert]:
    """Alerts that have no counterpart: a row of a table that both tell of, as often, is the same finding."""
    from collections import Counter

    left = Counter((one.source.topic, one.source.partition, one.source.offset) for one in others)
    found = []
    for alert in these:
        place = alert.source.topic, alert.source.partition, alert.source.offset
        if left[place]:
            left[place] -= 1
        else:
            found.append(alert)
    return found
