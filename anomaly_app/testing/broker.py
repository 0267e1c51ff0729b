"""A Kafka broker without Java: librdkafka's mock cluster, in a process of its own.

It keeps records in memory only, gives every topic four partitions, and knows a topic only once it was asked for
(:meth:`EmbeddedBroker.touch`). Create-topic requests fail. For anything beyond a demo or a fast test there is
:mod:`anomaly_app.testing.kafka`.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any, Self

from anomaly_app.errors import BrokerError

PARTITIONS = 4
"""Partitions of every topic of the mock cluster."""
START_S = 10.0
"""How long a start may take; it is under a second on an idle machine."""
REBALANCE_DELAY_MS = 3_000
"""How long a group without members waits for others behind the first one, unless told otherwise."""
ALONE_MS = 100
"""Enough for groups of one member."""
FAIL = "!"
"""Begins a line that asks for errors; no topic can be called that."""


class EmbeddedBroker:
    """The mock cluster as a child process; use it as a context manager.

    The child ends when this process does, in whatever way: it reads its standard input, which then ends. An
    interrupt from the terminal is left to this process, which closes the broker when nobody needs it any more.

    Args:
        topics: topics to create at once.
        rebalance_delay_ms: how long a group without members waits for others behind the first one: :data:`ALONE_MS`
            where members come one by one. Of members that come at the same moment, shortly after each other, the mock
            cluster may refuse one.

    Raises:
        BrokerError: ``confluent-kafka`` is not installed, or the child does not start.

    Example:
        >>> with EmbeddedBroker("sales") as broker:
        ...     print(broker.bootstrap_servers.partition(":")[0])
        127.0.0.1
    """

    bootstrap_servers: str
    """Where it listens, host:port."""

    def __init__(self, *topics: str, rebalance_delay_ms: int = REBALANCE_DELAY_MS) -> None:
        if importlib.util.find_spec("confluent_kafka") is None:
            raise BrokerError("the embedded broker needs confluent-kafka: install anomaly-app[demo]")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "anomaly_app.testing.broker", str(rebalance_delay_ms), *topics],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            # Out of the terminal's foreground group: Ctrl-C is for the parent.
            start_new_session=True,
        )
        try:
            self.bootstrap_servers = self._answer()
        except BaseException:
            self.close()
            raise

    def touch(self, *topics: str) -> None:
        """Create topics; those that exist stay as they are."""
        for topic in topics:
            if any(character.isspace() for character in topic):
                raise BrokerError(f"{topic!r} cannot be the name of a topic")
        self._ask(" ".join(topics))

    def fail(self, api: int, *errors: int) -> None:
        """Answer the next requests of one kind with errors, one each; those behind them are served again.

        Args:
            api: the kind of request, by its key in the Kafka protocol, such as 14 for SyncGroup.
            errors: their codes in the Kafka protocol, such as 42 for INVALID_REQUEST.
        """
        self._ask(" ".join(map(str, (FAIL, api, *errors))))

    def close(self) -> None:
        """End the broker; a second call does nothing."""
        for pipe in self._pipes():
            # A child that is gone already leaves a broken pipe behind.
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, line: str) -> None:
        if self._process.poll() is not None:
            raise BrokerError("the embedded broker is closed")
        stdin, _ = self._pipes()
        stdin.write(line + "\n")
        stdin.flush()
        self._answer()

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin is not None and self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def _answer(self) -> str:
        """The child's next line; it says "error …" in place of the answer if there is none."""
        line = self._pipes()[1].readline().strip()
        if not line or line.startswith("error "):
            raise BrokerError(f"the embedded broker failed: {line.removeprefix('error ') or 'it ended'}")
        return line


def serve(topics: list[str], rebalance_delay_ms: int = REBALANCE_DELAY_MS) -> None:
    """Run the mock cluster until standard input ends; each line there names topics to create, or asks for errors."""
    from confluent_kafka import KafkaException, Producer

    servers, fail = _mock_cluster(rebalance_delay_ms)
    producer: Any = Producer({"bootstrap.servers": servers, "log_level": 0, "error_cb": lambda error: None})
    try:
        for topic in topics:
            producer.list_topics(topic, timeout=START_S)
        print(servers, flush=True)
        for line in sys.stdin:
            asked = line.split()
            if asked[:1] == [FAIL]:
                fail(*map(int, asked[1:]))
            else:
                for topic in asked:
                    producer.list_topics(topic, timeout=START_S)
            print("ok", flush=True)
    except KafkaException as error:
        print(f"error {error.args[0]}", flush=True)


def _mock_cluster(rebalance_delay_ms: int) -> tuple[str, Callable[..., None]]:
    """Where it listens, in this process until that ends, and what makes it answer with errors.

    confluent-kafka starts one as well, but gives no access to it: librdkafka, which comes with it, is asked itself.
    """
    from confluent_kafka import cimpl

    library = ctypes.CDLL(cimpl.__file__)  # finds what that is linked to, too

    def of(name: str, result: Any, *arguments: Any) -> Any:
        function = getattr(library, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, arguments
        return function

    pointer, text, number, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t
    configuration = of("conf_new", pointer)()
    reason = ctypes.create_string_buffer(512)
    # Else it warns that it has no servers, which is so.
    of("conf_set", number, pointer, text, text, text, size)(configuration, b"log_level", b"0", reason, len(reason))
    handle = of("new", pointer, number, pointer, text, size)(0, configuration, reason, len(reason))
    cluster = of("mock_cluster_new", pointer, pointer, number)(handle, 1) if handle else None
    if not cluster:
        raise BrokerError(f"librdkafka makes no mock cluster: {reason.value.decode()}")
    of("mock_group_initial_rebalance_delay_ms", None, pointer, ctypes.c_int32)(cluster, rebalance_delay_ms)
    push = of("mock_push_request_errors_array", None, pointer, ctypes.c_int16, size, ctypes.POINTER(number))

    def fail(api: int, *errors: int) -> None:
        push(cluster, api, len(errors), (number * len(errors))(*errors))

    return of("mock_cluster_bootstraps", text, pointer)(cluster).decode(), fail


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        serve(sys.argv[2:], int(sys.argv[1]))
