"""Settings and jobs: which of them says where Kafka is and how it is read.

A worker has one connection, one group and one isolation level. The settings come first; where they say nothing, the
tables of the jobs do, if they agree; else the defaults. What a table says and does not count is told in one sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from anomaly_app.errors import SettingsError
from anomaly_app.jobs.model import Job
from anomaly_app.jobs.topic_tables import Sink, Source
from anomaly_app.settings import LOCAL_BROKER, LoadedSettings, split_servers

SERVERS, GROUP, ISOLATION = "bootstrap.servers", "group.id", "isolation.level"


class Settled(NamedTuple):
    """Settings with what the jobs add.

    Args:
        loaded: with brokers and isolation level filled in, and where they came from.
        warning: which properties of tables do not count and what is used instead; "" if all agree.
    """

    loaded: LoadedSettings
    warning: str


class _Said(NamedTuple):
    value: str
    table: str


def settle(loaded: LoadedSettings, jobs: Sequence[Job]) -> Settled:
    """Fill in what the settings leave to the jobs.

    Args:
        loaded: the settings.
        jobs: that run together.

    Raises:
        SettingsError: the settings say nothing and tables say different things, or what they say is no address.

    Example:
        >>> from anomaly_app.jobs.binder import bind_job
        >>> text = '''CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = 't', 'format' = 'json',
        ...     'properties.bootstrap.servers' = 'broker:9092'); SELECT a FROM t'''
        >>> from anomaly_app.settings import load_settings
        >>> job = bind_job(text, name="job")
        >>> settle(load_settings(environ={}), [job]).loaded.settings.kafka.bootstrap_servers
        'broker:9092'
        >>> print(settle(load_settings({"kafka.bootstrap_servers": "other:9092"}, environ={}), [job]).warning)
        of table t (job job), 'properties.bootstrap.servers' = 'broker:9092' is not used: kafka.bootstrap_servers \
(from command line) is 'other:9092'
    """
    return _settle(loaded, _said(_tables(jobs)), groups=True)


def settle_tables(loaded: LoadedSettings, tables: Iterable[Source | Sink]) -> Settled:
    """The same for tables that are read or written without a job and without a group.

    Example:
        >>> from anomaly_app.settings import load_settings
        >>> settle_tables(load_settings(environ={}), []).loaded.settings.kafka.bootstrap_servers
        'localhost:9092'
    """
    return _settle(loaded, _said((table.name, table) for table in tables), groups=False)


def _settle(loaded: LoadedSettings, said: Mapping[str, Sequence[_Said]], *, groups: bool) -> Settled:
    kafka = loaded.settings.kafka
    servers, servers_from = _choose(
        loaded, "kafka.bootstrap_servers", kafka.bootstrap_servers, said.get(SERVERS, ()), LOCAL_BROKER
    )
    isolation, isolation_from = _choose(
        loaded, "kafka.isolation_level", kafka.isolation_level, said.get(ISOLATION, ()), "read_uncommitted"
    )
    group = kafka.group_id or loaded.settings.worker.app_id
    group_key = "kafka.group_id" if kafka.group_id else "worker.app_id"
    ignored = [
        *_ignored(said.get(SERVERS, ()), SERVERS, servers, f"kafka.bootstrap_servers (from {servers_from})"),
        *_ignored(
            said.get(GROUP, ()) if groups else (),
            GROUP,
            group,
            f"{group_key} (from {loaded.origins.get(group_key, 'default')})",
        ),
        *_ignored(said.get(ISOLATION, ()), ISOLATION, isolation, f"kafka.isolation_level (from {isolation_from})"),
    ]
    settings = loaded.settings.model_copy(
        update={"kafka": kafka.model_copy(update={"bootstrap_servers": servers, "isolation_level": isolation})}
    )
    origins = {
        **loaded.origins,
        "kafka.bootstrap_servers": servers_from,
        "kafka.isolation_level": isolation_from,
    }
    return Settled(LoadedSettings(settings, origins), "; ".join(ignored))


def _tables(jobs: Sequence[Job]) -> Iterator[tuple[str, Source | Sink]]:
    """What the jobs read and write, and what to call it."""
    for job in jobs:
        for plan in job.plans:
            sinks = [query.sink for query in plan.queries if query.sink is not None]
            looked_up = [lookup.source for lookup in job.lookups if isinstance(lookup.source, Source)]
            tables: list[Source | Sink] = [*plan.tables, *looked_up, *sinks]
            yield from ((f"{table.name} (job {job.name})", table) for table in tables)


def _said(tables: Iterable[tuple[str, Source | Sink]]) -> Mapping[str, Sequence[_Said]]:
    """What the tables say, by property, each table once."""
    found: dict[str, dict[_Said, None]] = {}
    for called, table in tables:
        for name, value in table.client.items():
            found.setdefault(name, {})[_Said(value, called)] = None
    return {name: tuple(values) for name, values in found.items()}


def _choose(loaded: LoadedSettings, key: str, given: str, said: Sequence[_Said], default: str) -> tuple[str, str]:
    """The value that counts, and where it comes from."""
    if given:
        return given, loaded.origins.get(key, "default")
    if not said:
        return default, "default"
    first = said[0]
    for other in said:
        if _comparable(other.value) != _comparable(first.value):
            problem = (
                f"is not set, and the tables do not agree: {first.value!r} in {first.table}, {other.value!r} in "
                f"{other.table}; a worker has one: set {key}"
            )
            raise SettingsError(key, "default", problem)
    origin = f"table {first.table}"
    if key == "kafka.bootstrap_servers":
        try:
            split_servers(first.value)
        except ValueError as error:
            raise SettingsError(key, origin, str(error)) from None
    return first.value, origin


def _ignored(said: Sequence[_Said], name: str, used: str, where: str) -> Iterator[str]:
    by_value: dict[str, list[str]] = {}
    for value, table in said:
        if _comparable(value) != _comparable(used):
            by_value.setdefault(value, []).append(table)
    for value, tables in by_value.items():
        of = f"table{'s' if len(tables) > 1 else ''} {', '.join(tables)}"
        yield f"of {of}, 'properties.{name}' = {value!r} is not used: {where} is {used!r}"


def _comparable(value: str) -> tuple[str, ...]:
    """Lists of brokers are the same in any order."""
    return tuple(sorted(part.strip() for part in value.split(",")))
