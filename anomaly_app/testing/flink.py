"""Flink itself on this machine, fetched with Maven: runs job files on a mini cluster in one JVM.

A job file runs as it is: what belongs to the place where it runs (addresses, where to begin and to end) is set by
``ALTER TABLE … SET`` behind each of its CREATE TABLE statements, as a person would do it in Flink's SQL shell.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import ClassVar, NoReturn, Self

from anomaly_app.errors import AnomalyError
from anomaly_app.sql.parser import parse_statements
from anomaly_app.sql.statements import CreateTable, CreateView, Insert, SetOption
from anomaly_app.testing.maven import Artifact, fetch

VERSION = "2.3.0"
CONNECTOR = "5.0.0-2.2"
LOG4J = "2.25.1"
_FLINK = "org.apache.flink"
ARTIFACTS = (
    Artifact(_FLINK, "flink-table-planner_2.12", VERSION),
    Artifact(_FLINK, "flink-table-runtime", VERSION),
    Artifact(_FLINK, "flink-table-api-java-bridge", VERSION),
    Artifact(_FLINK, "flink-clients", VERSION),
    Artifact(_FLINK, "flink-connector-base", VERSION),
    Artifact(_FLINK, "flink-cep", VERSION),
    Artifact(_FLINK, "flink-csv", VERSION),
    Artifact(_FLINK, "flink-json", VERSION),
    Artifact(_FLINK, "flink-sql-avro-confluent-registry", VERSION),
    Artifact(_FLINK, "flink-statebackend-rocksdb", VERSION),
    Artifact(_FLINK, "flink-sql-connector-kafka", CONNECTOR),
    Artifact("org.apache.logging.log4j", "log4j-slf4j-impl", LOG4J),
    Artifact("org.apache.logging.log4j", "log4j-core", LOG4J),
)
HEAP = "-Xmx1g"
PROGRAM = Path(__file__).with_name("java") / "RunStatements.java"
MANY_ROWTIMES = {"table.exec.sink.rowtime-inserter": "DISABLED"}
"""Without it Flink refuses an INSERT of more than one event-time attribute, such as that of the sales tutorial."""

_SETTINGS = {
    "table.local-time-zone": "UTC",
    "execution.checkpointing.interval": "1 s",
    "execution.checkpointing.mode": "AT_LEAST_ONCE",
}
_LOGGING = """\
rootLogger.level=WARN
rootLogger.appenderRef.console.ref=CONSOLE
appender.console.type=Console
appender.console.name=CONSOLE
appender.console.target=SYSTEM_ERR
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %m (%c)%n
"""


class FlinkError(AnomalyError):
    """Flink refuses a statement, or a job fails."""

    code: ClassVar[str] = "flink"


def flink_jars() -> Path:
    """Directory with all that Flink needs, fetched once; raises ``MavenError``."""
    return fetch("flink", ARTIFACTS)


def statements_for_flink(
    text: str,
    *,
    servers: str,
    registry: str | None = None,
    bounded: bool = True,
    settings: Mapping[str, str] | None = None,
    options: Mapping[str, Mapping[str, str]] | None = None,
) -> list[str]:
    """The statements of a job file, unchanged, with those before and between them that they need here.

    Args:
        text: of the job file.
        servers: Kafka, host:port; for all tables.
        registry: URL in place of that of tables with ``avro-confluent``.
        bounded: Kafka sources end where their topics end now; all begin at the earliest record.
        settings: more of SET, before all else.
        options: more WITH options by the last part of a table's name; they come before those of this function.

    Returns:
        One statement each, to be run in this order.

    Raises:
        SqlError: the file cannot be read.
        FlinkError: it has a SELECT without INSERT INTO, whose rows would go nowhere in Flink.

    Example:
        >>> job = "CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = 't', 'format' = 'json')"
        >>> print(statements_for_flink(job, servers="localhost:9092", bounded=False)[-1])
        ALTER TABLE `t` SET ('properties.bootstrap.servers' = 'localhost:9092', 'scan.startup.mode' = 'earliest-offset')
    """
    found = [_set(key, value) for key, value in {**_SETTINGS, **(settings or {})}.items()]
    for statement in parse_statements(text):
        own = text[slice(*statement.span)]
        if isinstance(statement, CreateTable):
            given = {option.key: option.value for option in statement.options}
            wanted = _here(given, servers, registry, bounded) | dict((options or {}).get(statement.path[-1], {}))
            found += [*_namespaces(statement.path), own]
            if wanted:
                pairs = ", ".join(f"{_text(key)} = {_text(value)}" for key, value in wanted.items())
                found.append(f"ALTER TABLE {_path(statement.path)} SET ({pairs})")
        elif isinstance(statement, (CreateView, Insert, SetOption)):
            found.append(own)
        else:
            raise FlinkError(f"a SELECT without INSERT INTO has no place to write to in Flink: {own[:60]}…")
    return found


def _here(given: Mapping[str, str], servers: str, registry: str | None, bounded: bool) -> dict[str, str]:
    connector = given.get("connector")
    if connector not in ("kafka", "upsert-kafka"):
        return {}
    wanted = {"properties.bootstrap.servers": servers}
    if registry is not None:
        wanted |= {
            key: registry for key in given if key.endswith(("avro-confluent.url", "avro-confluent.schema-registry.url"))
        }
    if connector == "kafka":
        wanted["scan.startup.mode"] = "earliest-offset"
    if bounded:
        wanted["scan.bounded.mode"] = "latest-offset"
    return wanted


def _namespaces(path: tuple[str, ...]) -> list[str]:
    """What a table with a path of two or three parts is made in."""
    made = [f"CREATE CATALOG IF NOT EXISTS {_path(path[:1])} WITH ('type' = 'generic_in_memory')"] if path[2:] else []
    return [*made, f"CREATE DATABASE IF NOT EXISTS {_path(path[:-1])}"] if path[1:] else []


def _path(path: Iterable[str]) -> str:
    return ".".join("`" + part.replace("`", "``") + "`" for part in path)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _set(key: str, value: str) -> str:
    return f"SET {_text(key)} = {_text(value)}"


class FlinkRun:
    """Statements on a Flink of their own, in a process that ends with this one; use it as a context manager.

    All INSERTs run together, with one slot. Checkpoints are taken each second, at least once, state is on the heap.

    Args:
        statements: of :func:`statements_for_flink`.
        runs: how often, one after the other in the same JVM; the first one is slower.

    Raises:
        MavenError: Flink cannot be fetched.
    """

    def __init__(self, statements: Iterable[str], *, runs: int = 1) -> None:
        jars = flink_jars()
        self._directory = tempfile.TemporaryDirectory(prefix="anomaly-flink-")
        folder = Path(self._directory.name)
        (folder / "statements").write_text("\0".join(statements), "utf-8")
        (folder / "log4j2.properties").write_text(_LOGGING, "utf-8")
        self._out, self._log = folder / "out", folder / "log"
        opened = [f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in ("lang", "util", "net", "time")]
        command = [sys.executable, "-m", "anomaly_app.testing.guard", "java", HEAP, *opened, "-Duser.timezone=UTC"]
        command += [f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}", f"-Djava.io.tmpdir={folder}"]
        command += ["-cp", f"{jars}/*", str(PROGRAM), str(folder / "statements"), str(runs)]
        with self._out.open("wb") as out, self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=log)

    @property
    def pid(self) -> int:
        """Process id of the JVM's guard, whose only child it is."""
        return self.process.pid

    def wait_running(self, timeout_s: float = 60.0) -> None:
        """Wait until the job has been deployed.

        Raises:
            FlinkError: it ends or is not there in time.
        """
        deadline = time.monotonic() + timeout_s
        while not self._lines("RUNNING"):
            if self.process.poll() is not None:
                self._fail("ended")
            if time.monotonic() > deadline:
                self._fail(f"runs no job after {timeout_s:.0f} s")
            time.sleep(0.05)

    def wait(self, timeout_s: float = 120.0) -> list[float]:
        """Wait until all runs have ended.

        Returns:
            Seconds of each, from its deployment to its end.

        Raises:
            FlinkError: a statement is refused, a job fails, or it takes too long.
        """
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._fail(f"has not ended after {timeout_s:.0f} s")
        if status:
            self._fail(f"ended with status {status}")
        return [int(line) / 1000 for line in self._lines("FINISHED")]

    def close(self) -> None:
        """End it in any case and remove what it has written."""
        assert self.process.stdin is not None
        # The guard kills Flink when its input ends, and ends then too.
        self.process.stdin.close()
        self.process.wait()
        self._directory.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _lines(self, word: str) -> list[str]:
        lines = self._out.read_text("utf-8", "replace").splitlines()
        return [line.removeprefix(word).strip() for line in lines if line.startswith(word)]

    def _fail(self, problem: str) -> NoReturn:
        said = "\n".join(self._lines("ERROR")) or self._log.read_text("utf-8", "replace")[-2_000:]
        raise FlinkError(f"Flink {problem}:\n{said}")
