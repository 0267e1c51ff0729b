"""Apache Kafka itself on this machine, one node in KRaft mode on loopback, fetched with Maven.

``python -m anomaly_app.testing.kafka start|status|stop`` runs one that stays; :class:`ApacheKafka` one for tests.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from anomaly_app.errors import AnomalyError, BrokerError
from anomaly_app.testing.maven import Artifact, cache_directory, fetch
from anomaly_app.testing.ports import free_port

LOG4J = "2.25.1"
ARTIFACTS = (
    Artifact("org.apache.kafka", "kafka_2.13", "4.1.0"),
    Artifact("org.apache.logging.log4j", "log4j-slf4j-impl", LOG4J),
    Artifact("org.apache.logging.log4j", "log4j-core", LOG4J),
)
CLUSTER_ID = "4L6g3nShT-eMCtK--X86sw"
READY = "Kafka Server started"
START_S = 60.0
STOP_S = 15.0
HEAP = "-Xmx1g"

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=CLIENT://127.0.0.1:{client},INTERNAL://127.0.0.1:{internal},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=CLIENT:{protocol},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INTERNAL
log.dirs={directory}/data
num.partitions={partitions}
auto.create.topics.enable=false
# Records with old timestamps are deleted under a running reader otherwise: retention goes by record time.
log.retention.ms=-1
# Tests write absurd timestamps on purpose; the default refuses those more than an hour ahead.
log.message.timestamp.after.max.ms=9223372036854775807
group.initial.rebalance.delay.ms=0
# After a kill the node is let in again only when its old session has run out; the default is 9 s.
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=1000
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""

_LOGGING = """\
rootLogger.level=INFO
rootLogger.appenderRef.console.ref=CONSOLE
appender.console.type=Console
appender.console.name=CONSOLE
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %m (%c)%n
"""


class ApacheKafka:
    """One Kafka node with a temporary log directory; use it as a context manager.

    Records outlive :meth:`stop` and :meth:`kill`, so that an outage can be tested, but not the context manager.
    The node ends when this process does, unless it is ``detached``.

    Args:
        port: where clients connect; 0 for a free one.
        partitions: of a topic that is created without a number.
        sasl: user names and passwords; clients then need SASL_PLAINTEXT with PLAIN.
        detached: it outlives this process.
        properties: more settings of the broker; they come before those of this class.

    Raises:
        MavenError: Kafka cannot be fetched.
        BrokerError: it does not start.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        partitions: int = 8,
        sasl: Mapping[str, str] | None = None,
        detached: bool = False,
        properties: Mapping[str, object] | None = None,
    ) -> None:
        self._jars = fetch("kafka", ARTIFACTS)
        self._detached = detached
        self._process: subprocess.Popen[bytes] | None = None
        free = [free_port() for _ in range(3)]
        self.port = port or free[0]
        self._internal = f"127.0.0.1:{free[1]}"
        self.directory = Path(tempfile.mkdtemp(prefix="anomaly-kafka-"))
        lines = _PROPERTIES.format(
            client=self.port,
            internal=free[1],
            controller=free[2],
            protocol="SASL_PLAINTEXT" if sasl else "PLAINTEXT",
            directory=self.directory,
            partitions=partitions,
        )
        if sasl:
            users = " ".join(f'user_{name}="{password}"' for name, password in sasl.items())
            module = "org.apache.kafka.common.security.plain.PlainLoginModule"
            lines += "sasl.enabled.mechanisms=PLAIN\n"
            lines += f"listener.name.client.plain.sasl.jaas.config={module} required {users};\n"
        lines += "".join(f"{key}={value}\n" for key, value in (properties or {}).items())
        (self.directory / "server.properties").write_text(lines, "utf-8")
        (self.directory / "log4j2.properties").write_text(_LOGGING, "utf-8")
        self._log = self.directory / "server.log"
        try:
            self._format_storage()
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect, host:port."""
        return f"127.0.0.1:{self.port}"

    @property
    def internal_servers(self) -> str:
        """Where it can be reached without login, host:port: as the user ``ANONYMOUS``."""
        return self._internal

    @property
    def pid(self) -> int | None:
        """Process id while it runs; of the guard unless detached."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it (again) and wait until it is ready."""
        if self._process is not None:
            return
        already = self._log.stat().st_size if self._log.exists() else 0
        command = self._java("kafka.Kafka", str(self.directory / "server.properties"))
        if not self._detached:
            command = [sys.executable, "-m", "anomaly_app.testing.guard", *command]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if self._detached else subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S
        while READY.encode() not in self._log.read_bytes()[already:]:
            if self._process.poll() is not None:
                self._fail("ended while starting")
            if time.monotonic() > deadline:
                self._fail(f"is not ready after {START_S:.0f} s")
            time.sleep(0.05)

    def stop(self) -> None:
        """Shut it down in an orderly way; records are kept."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()
            self._reap()

    def kill(self) -> None:
        """End it as a crash would; records are kept as far as they were written."""
        if self._process is not None:
            if self._process.stdin is not None:
                # The guard kills the node when its input ends, and ends then too.
                self._process.stdin.close()
            else:
                self._process.kill()
            self._reap()

    def close(self) -> None:
        """End it and remove its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def create_topics(self, topics: Mapping[str, int], **config: Any) -> None:
        """Create topics with their number of partitions, and wait until they are known.

        Args:
            topics: name and number of partitions.
            config: settings of the topics, with ``_`` for ``.``, such as ``cleanup_policy="compact"``.
        """
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": self._internal})
        settings = {key.replace("_", "."): str(value) for key, value in config.items()}
        wanted = [NewTopic(name, partitions, 1, config=settings) for name, partitions in topics.items()]
        for topic, created in admin.create_topics(wanted, request_timeout=START_S).items():
            try:
                created.result()
            except KafkaException as error:
                raise BrokerError(f"topic {topic} cannot be created: {error.args[0].str()}") from error
        deadline = time.monotonic() + START_S
        while any(
            len(metadata.partitions) < topics[name] or any(p.leader < 0 for p in metadata.partitions.values())
            for name in topics
            for metadata in [admin.list_topics(name, timeout=START_S).topics[name]]
        ):
            if time.monotonic() > deadline:
                raise BrokerError(f"topics {', '.join(topics)} are not known after {START_S:.0f} s")
            time.sleep(0.02)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _java(self, *arguments: str) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self.directory / 'log4j2.properties'}"
        return ["java", HEAP, logging, "-cp", f"{self._jars}/*", *arguments]

    def _format_storage(self) -> None:
        command = self._java("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID)
        command += ["-c", str(self.directory / "server.properties")]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=START_S)
        if done.returncode:
            raise BrokerError(f"Kafka cannot format its storage:\n{(done.stdout + done.stderr)[-2_000:]}")

    def _reap(self) -> None:
        assert self._process is not None
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None

    def _fail(self, problem: str) -> NoReturn:
        raise BrokerError(f"Kafka {problem}:\n{self._log.read_text('utf-8', 'replace')[-2_000:]}")


def _running(file: Path) -> dict[str, Any] | None:
    """What is known of the node that stays, None if there is none."""
    try:
        state: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return None
    # The id alone may belong to another process by now; the command names the directory.
    shown = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(state["pid"])], capture_output=True, text=True)
    return state if state["directory"] in shown.stdout else None


def _start(file: Path, port: int, partitions: int) -> None:
    state = _running(file)
    if state is None:
        node = ApacheKafka(port=port, partitions=partitions, detached=True)
        state = {"pid": node.pid, "port": node.port, "directory": str(node.directory)}
        file.write_text(json.dumps(state), "utf-8")
    print(f"Apache Kafka runs on 127.0.0.1:{state['port']} (process {state['pid']})")


def _stop(file: Path) -> None:
    state = _running(file)
    if state is None:
        print("Apache Kafka does not run")
        return
    # Its records are thrown away, so there is nothing to shut down in order.
    os.kill(state["pid"], signal.SIGKILL)
    deadline = time.monotonic() + STOP_S
    while _running(file) is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    shutil.rmtree(state["directory"], ignore_errors=True)
    file.unlink()
    print("Apache Kafka stopped")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: ``start``, ``status`` (exit status 1 if it does not run) and ``stop``."""
    parser = argparse.ArgumentParser(prog="scripts/kafka", description="Apache Kafka on this machine, for tests.")
    remembered = cache_directory("kafka") / "state.json"
    parser.add_argument("--state", type=Path, default=remembered, help="file that remembers the node that runs")
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start", help="start it and wait until it is ready")
    start.add_argument("--port", type=int, default=9092, help="where clients connect (default 9092; 0: a free port)")
    start.add_argument("--partitions", type=int, default=8, help="of new topics (default 8)")
    commands.add_parser("status", help="say whether it runs, and where")
    commands.add_parser("stop", help="end it and throw its records away")
    options = parser.parse_args(arguments)
    try:
        if options.command == "start":
            _start(options.state, options.port, options.partitions)
        elif options.command == "stop":
            _stop(options.state)
        else:
            state = _running(options.state)
            print(f"Apache Kafka runs on 127.0.0.1:{state['port']}" if state else "Apache Kafka does not run")
            return 0 if state else 1
    except AnomalyError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
