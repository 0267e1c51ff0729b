"""What ``anomaly demo`` does: broker, registry, generated records and a worker, and its alerts as readable lines."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from anomaly_app.alerts import Alert
from anomaly_app.cli.demo_delivery import start_delivery
from anomaly_app.cli.demo_scenes import Scene
from anomaly_app.errors import AnomalyError, BrokerError
from anomaly_app.generators import Generated
from anomaly_app.generators.encode import RegistryAccess
from anomaly_app.runtime.topics import FOREVER, NeededTopic, TopicAdmin
from anomaly_app.settings import PREFIX, load_settings
from anomaly_app.testing.broker import ALONE_MS, EmbeddedBroker
from anomaly_app.testing.registry import RegistryServer

ALERTS = "anomaly.alerts"
PARTITIONS = 4
DELIVERY_PORT = 6067
INTERRUPTED = 130
"""Exit status of a bounded run that was stopped before its end."""
STOP_S = 3.5
"""How long the worker may take to stop; then it is killed."""
TIMEOUT_MS = 3_000
"""How long a broker that does not answer any more is waited for."""
COLORS = {"low": "cyan", "medium": "yellow", "high": "dark_orange", "critical": "red"}


class DemoRun:
    """One run of a demo; the other arguments are the options of the command.

    Args:
        scene: what is shown.
    """

    def __init__(
        self, scene: Scene, records: int | None, rate: float, seed: int, broker: str | None, port: int
    ) -> None:
        self.scene = scene
        self.records, self.rate, self.seed, self.broker, self.port = records, rate, seed, broker, port
        self.console = Console(highlight=False, soft_wrap=True)
        self.app_id = f"anomaly-demo-{uuid.uuid4().hex[:8]}"
        self.sent = self.alerts = 0
        self._problem: BaseException | None = None
        self._link_shown = False

    async def run(self) -> int:
        """Everything, from the start to Ctrl-C or the end of the records; the exit status."""
        task = asyncio.current_task()
        assert task is not None
        self._on_signals(task.cancel)
        # Created topics answer with errors for a moment, which are retried; those that stay are raised.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        started = time.monotonic()
        async with contextlib.AsyncExitStack() as stack:
            try:
                await self._run(stack)
            except asyncio.CancelledError:
                self._on_signals(lambda: None)  # it takes a moment, and pressing it again does not help
                self.console.print("stopping …", style="dim")
                return INTERRUPTED if self.records is not None else 0
            except KafkaError as error:
                raise BrokerError(f"the broker does not answer any more: {error}") from error
        took = time.monotonic() - started
        summary = f"{self.sent:,} {self.scene.things}, {self.alerts:,} of them {self.scene.found}, in {took:.1f} s"
        self.console.print(summary, style="bold")
        return 0

    def _on_signals(self, react: Callable[[], object]) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, react)

    async def _run(self, stack: contextlib.AsyncExitStack) -> None:
        servers = self.broker
        if servers is None:
            topics = (*self.scene.topics, *self.scene.outputs, ALERTS)
            servers = stack.enter_context(EmbeddedBroker(*topics, rebalance_delay_ms=ALONE_MS)).bootstrap_servers
        settings = {"kafka.bootstrap_servers": servers}
        # Settings of the user, such as other jobs, are for other workers.
        async with TopicAdmin(load_settings(settings, config_file=os.devnull, environ={})) as admin:
            needed = [NeededTopic(topic, PARTITIONS, FOREVER) for topic in (*self.scene.topics, ALERTS)]
            partitions = await admin.ensure(needed)
        if self.broker is not None:
            stack.push_async_callback(self._clean_up, servers)
        registry = await stack.enter_async_context(RegistryServer())
        access = RegistryAccess(registry.url)
        producer = AIOKafkaProducer(bootstrap_servers=servers, request_timeout_ms=TIMEOUT_MS)
        consumer = AIOKafkaConsumer(bootstrap_servers=servers)
        for client in (producer, consumer):
            stack.push_async_callback(_close, client)
            await client.start()
        consumer.assign([TopicPartition(ALERTS, number) for number in range(partitions[ALERTS])])
        await consumer.seek_to_end()
        if self.records is not None:
            await self._begin_here(servers, partitions)
            await self._generate_all(producer, access, self.records)
        if self.scene.prepare is not None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="anomaly-demo-"))
            settings |= await asyncio.to_thread(self.scene.prepare, Path(folder))
        any_port = self.port == 0
        worker = await self._start_worker(stack, settings, registry.url)
        if self.records is None:
            delivery_port = _usable_port(0 if any_port or self.port == DELIVERY_PORT else DELIVERY_PORT)
            await start_delivery(
                stack, servers, ALERTS, f"{self.app_id}-delivery", self.scene.group_by, delivery_port, _stop, self._told
            )
        ended = asyncio.create_task(worker.wait())
        tasks: list[asyncio.Task[Any]] = [ended, asyncio.create_task(self._print_alerts(consumer))]
        try:
            if self.records is None:
                await self._until_ready(worker)
                pages = f"page: http://127.0.0.1:{self.port}/, of alert groups: http://127.0.0.1:{delivery_port}/"
                self.console.print(f"{pages} – Ctrl-C stops", style="dim")
                tasks.append(asyncio.create_task(self._generate(producer, access)))
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task is not ended and task.done():
                    task.result()  # neither printing nor generating ends unless it fails
            code = await ended
            if code or self.records is None:
                raise AnomalyError(f"the worker ended with status {code}")
            await self._printed(consumer)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _begin_here(self, servers: str, partitions: Mapping[str, int]) -> None:
        """Let the worker begin behind the records that are in the topics already, from another demo."""
        topics = self.scene.topics
        places = [TopicPartition(topic, number) for topic in topics for number in range(partitions[topic])]
        async with AIOKafkaConsumer(bootstrap_servers=servers, group_id=self.app_id) as consumer:
            consumer.assign(places)
            await consumer.commit(await consumer.end_offsets(places))

    async def _clean_up(self, servers: str) -> None:
        """Delete the topics that only this run's worker used."""
        admin = AIOKafkaAdminClient(bootstrap_servers=servers, request_timeout_ms=TIMEOUT_MS)
        with contextlib.suppress(KafkaError):  # a broker that has gone keeps them
            await admin.start()
            own = [topic for topic in await admin.list_topics() if topic.startswith(f"{self.app_id}-")]
            await admin.delete_topics(own)
        await admin.close()

    # --- records ----------------------------------------------------------------------------------

    async def _generate(self, producer: AIOKafkaProducer, registry: RegistryAccess) -> None:
        """Records as they happen."""
        # The registry is in this loop, and is asked for the schemas in front of the first record.
        start = int((time.time() - self.scene.past_s) * 1000)
        records = self.scene.records(self.seed, None, start, self.rate, registry)
        record = await asyncio.to_thread(next, records)
        while True:
            ahead = record.timestamp_ms / 1000 - time.time()
            if ahead > 0:
                await asyncio.sleep(ahead)
            elif self.sent % 1_000 == 0:
                await asyncio.sleep(0)  # of the past there are many at once
            await self._send(producer, record)
            record = next(records)

    async def _generate_all(self, producer: AIOKafkaProducer, registry: RegistryAccess, count: int) -> None:
        """Records of the recent past, all at once."""
        start = int((time.time() - count / self.rate) * 1000)
        records = self.scene.records(self.seed, count, start, self.rate, registry)
        with Progress(console=Console(stderr=True), transient=True) as progress:
            shown = progress.add_task(f"generating {self.scene.things}", total=count)
            record = await asyncio.to_thread(next, records, None)
            while record is not None:
                await self._send(producer, record)
                record = next(records, None)
                if self.sent % 1_000 == 0:
                    progress.update(shown, completed=self.sent)
        await producer.flush()

    async def _send(self, producer: AIOKafkaProducer, record: Generated) -> None:
        if self._problem is not None:
            raise self._problem
        sent = await producer.send(record.topic, record.value, record.key, timestamp_ms=record.timestamp_ms)
        sent.add_done_callback(self._note_problem)
        self.sent += 1

    def _note_problem(self, sent: asyncio.Future[Any]) -> None:
        if not sent.cancelled() and sent.exception() is not None:
            self._problem = sent.exception()

    # --- the worker -------------------------------------------------------------------------------

    async def _start_worker(
        self, stack: contextlib.AsyncExitStack, settings: dict[str, str], registry: str
    ) -> asyncio.subprocess.Process:
        data_dir = stack.enter_context(tempfile.TemporaryDirectory(prefix="anomaly-demo-", ignore_cleanup_errors=True))
        port = _usable_port(self.port)
        if self.port and port != self.port:
            self.console.print(f"port {self.port} is in use: the page is on {port}", style="yellow")
        self.port = port
        settings = settings | {
            "registry.url": registry,
            "worker.app_id": self.app_id,
            "worker.data_dir": data_dir,
            "worker.idle_timeout_s": "2",
            "alerts.topic": ALERTS,
            "web.port": str(self.port),
            "worker.jobs": ",".join(str(path) for path in self.scene.job_files),
            **self.scene.settings,
        }
        if self.records is not None:
            # Faust takes a position of 0 for none: an empty topic is then read from its beginning all the same.
            settings |= {"worker.bounded": "true", "worker.startup": "earliest-offset"}
        options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "anomaly_app.testing.guard"),
            *(sys.executable, "-m", "anomaly_app.cli", "run", "--log-level", "error", "--config", os.devnull, *options),
            stdin=asyncio.subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if not name.startswith(PREFIX)},
            start_new_session=True,  # Ctrl-C is for this process, which stops the worker in order
        )
        stack.push_async_callback(_stop, worker)
        return worker

    async def _until_ready(self, worker: asyncio.subprocess.Process) -> None:
        address = f"http://127.0.0.1:{self.port}/ready"
        async with aiohttp.ClientSession() as session:
            with self.console.status("starting the worker"):
                while worker.returncode is None:
                    with contextlib.suppress(aiohttp.ClientError):
                        async with session.get(address) as answer:
                            if answer.status == 200:
                                return
                    await asyncio.sleep(0.2)
        raise AnomalyError(f"the worker ended with status {worker.returncode}")

    # --- alerts -----------------------------------------------------------------------------------

    async def _print_alerts(self, consumer: AIOKafkaConsumer) -> None:
        """Each alert as a line, as it appears in the topic."""
        decoder = msgspec.json.Decoder(Alert)
        async for record in consumer:
            alert = decoder.decode(record.value)
            self.alerts += 1
            line = Text(f"{alert.severity} ", style=COLORS[alert.severity])
            line.append(self.scene.show(alert), style="default")
            self.console.print(line)

    def _told(self, title: str, link: str) -> None:
        """A line for each notification; the link to acknowledge, which is long, once."""
        self.console.print(Text(f"told: {title}", style="bold"))
        if link and not self._link_shown:
            self._link_shown = True
            self.console.print(Text(f"acknowledge this one: {link}", style="dim"))

    async def _printed(self, consumer: AIOKafkaConsumer) -> None:
        """Wait until every alert is printed."""
        for place, end in (await consumer.end_offsets(consumer.assignment())).items():
            while await consumer.position(place) < end:  # noqa: ASYNC110 (it tells its position only when asked)
                await asyncio.sleep(0.05)


async def _close(client: AIOKafkaProducer | AIOKafkaConsumer) -> None:
    """End a client; its own tasks are cancelled, which it lets through if they wait for a broker that has gone."""
    with contextlib.suppress(asyncio.CancelledError, KafkaError):
        await client.stop()


async def _stop(worker: asyncio.subprocess.Process) -> None:
    """End the worker in order, or by force if it takes too long."""
    if worker.returncode is not None:
        return
    worker.terminate()
    try:
        await asyncio.wait_for(worker.wait(), STOP_S)
    except TimeoutError:
        assert worker.stdin is not None
        worker.stdin.close()  # the guard kills it
        await worker.wait()


def _usable_port(wanted: int) -> int:
    """The port if it is free, else any that is."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise AnomalyError("no port is free")
