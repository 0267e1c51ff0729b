"""The Faust application: settings and jobs to agents, tables and services."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import gc
import importlib.resources
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import faust
from mode import Service

from anomaly_app.agents.lane import declare
from anomaly_app.errors import AnomalyError, SettingsError, SqlError, StateError
from anomaly_app.jobs.binder import bind_job
from anomaly_app.jobs.model import Job
from anomaly_app.jobs.planning import with_roots
from anomaly_app.jobs.precedence import settle
from anomaly_app.jobs.topic_tables import Source
from anomaly_app.limits import Limits
from anomaly_app.runtime.cancel import cancel
from anomaly_app.runtime.connection import bootstrap_servers, faust_credentials
from anomaly_app.runtime.feed import TableReader
from anomaly_app.runtime.lane import LaneApp
from anomaly_app.runtime.lookups import Lookups, topics_of
from anomaly_app.runtime.overview import Overview
from anomaly_app.runtime.pipeline import Pipeline
from anomaly_app.runtime.refusals import STATUS, end, refusal
from anomaly_app.runtime.registries import Registries
from anomaly_app.runtime.repeats import drop_repeats
from anomaly_app.runtime.topics import CHANGELOG, FOREVER, NeededTopic, TopicAdmin
from anomaly_app.runtime.watch import Watch
from anomaly_app.runtime.worker import Worker
from anomaly_app.runtime.writer import OutputWriter
from anomaly_app.settings import LoadedSettings, load_settings
from anomaly_app.tables.lock import DataDirLock
from anomaly_app.tables.state import StateTable
from anomaly_app.web.http import WebServer
from anomaly_app.web.server import serve

REPARTITION_RETENTION = {"retention.ms": "604800000", "cleanup.policy": "delete"}
"""A week: frames are deleted as soon as no restart needs them; this is for a worker that never comes back."""
GC_THRESHOLDS = (100_000, 50, 100)
PRODUCER_TIMEOUT_S = 300.0
"""How long a flush waits for a broker that is away before the worker gives up and stops."""

STOP_S = 10.0
"""How long a stop may take: then the process ends as it is, which loses nothing."""


log = logging.getLogger(__name__)


class AnomalyApp(LaneApp):
    """The application of a worker.

    Args:
        loaded: the settings.
    """

    def __init__(self, loaded: LoadedSettings) -> None:
        settings = loaded.settings
        self.loaded = loaded
        self.warning = ""
        self.worker: Worker | None = None
        self._web: WebServer | None = None
        self._lock: DataDirLock | None = None
        self._side_tasks: list[asyncio.Task[None]] = []
        self._deadline = threading.Timer(STOP_S, _give_up)
        self._deadline.daemon = True
        super().__init__(
            settings.worker.app_id,
            batch_rows=settings.worker.batch_rows,
            group_id=settings.kafka.group_id or settings.worker.app_id,
            broker=_urls(loaded),
            broker_credentials=faust_credentials(loaded),
            store="rocksdb://?driver=rocksdict",
            datadir=str(settings.worker.data_dir),
            topic_replication_factor=settings.kafka.replication_factor,
            topic_allow_declare=False,
            topic_disable_leader=True,
            table_standby_replicas=0,
            consumer_auto_offset_reset="earliest",
            broker_commit_interval=1.0,
            broker_session_timeout=settings.kafka.session_timeout_s,
            broker_heartbeat_interval=settings.kafka.session_timeout_s / 3,
            producer_request_timeout=PRODUCER_TIMEOUT_S,
            producer_max_batch_size=900_000,
            producer_linger=0.0,
            web_enabled=settings.web.enabled,
            web_bind=settings.web.bind,
            web_port=settings.web.port or 6066,
            web_tables_enabled=False,
            web_router_enabled=False,
            web_stats_enabled=False,
            web_graph_enabled=False,
            worker_redirect_stdouts=False,
        )
        # The page is served from the first second, to say that the worker is recovering: not by Faust's own server.
        self.web_server(_Page)
        if "--help" not in sys.argv:  # which needs no broker
            self.on_worker_init.connect(lambda *_, **__: self.prepare())

    # --- before the loop ----------------------------------------------------------------------------

    def prepare(self) -> None:
        """Ask Kafka for the topics, bind the jobs, declare agents and tables; ends the process if that fails."""
        if self.worker is not None:
            return
        try:
            self._make_data_dir()
            _run(self._prepare)
        except AnomalyError as error:
            print(f"anomaly: {error}", file=sys.stderr)
            raise SystemExit(STATUS) from None

    def _make_data_dir(self) -> None:
        folder = self.loaded.settings.worker.data_dir
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = DataDirLock(folder)
        except OSError as error:
            raise self.loaded.error("worker.data_dir", f"nothing can be written to {folder}: {error}") from error
        except StateError as error:
            raise self.loaded.error("worker.data_dir", f"{error}: each worker needs one of its own") from None

    async def _prepare(self) -> None:
        drafts = bind_jobs(self.loaded, {})
        self.loaded, self.warning = settle(self.loaded, drafts)
        loaded, settings = self.loaded, self.loaded.settings
        self.conf.broker = _urls(loaded)
        self.isolation_level = settings.kafka.isolation_level
        async with TopicAdmin(loaded) as admin:
            topics = {
                job.name: {one.name: await admin.meant(one) for one in _sources(job) if one.topics.several}
                for job in drafts
            }
            read = {
                name for job in drafts for one in _sources(job) for name in topics[job.name].get(one.name, [one.topic])
            }
            read |= topics_of(lookup for job in drafts for lookup in job.lookups)
            await admin.ensure(await _written_and_read(drafts, read, admin))
            sources = await admin.sources(sorted(read))
            jobs = [_over_topics(job, topics[job.name]) for job in bind_jobs(loaded, sources)]
            registries = Registries(loaded)
            existing = await admin.names() if any(topics.values()) else {}
            pipelines: list[Pipeline] = []
            for job in jobs:
                readers: dict[tuple[str, str], TableReader] = {}
                fragments: dict[str, tuple[Pipeline, int]] = {}
                for plan in job.plans:
                    pipeline = Pipeline(
                        job, plan, settings, sources, registries, sized=admin.makes_topics, readers=readers,
                        existing=existing, fragments=fragments,
                    )  # fmt: skip
                    pipelines.append(pipeline)
            tables = {job.name: job.lookups for job in jobs}
            paths = {job.name: job.path or job.name for job in jobs}
            lookups = Lookups(loaded, tables, registries, sources, paths)
            needed = list(_needed(pipelines, settings.worker.app_id))
            partitions = {**await admin.ensure(needed), **sources}
        try:
            await registries.check()
            for pipeline in pipelines:
                await pipeline.prepare()
        finally:
            await registries.close()
        recognised = {topic.name for topic in needed if topic.recognised}
        await lookups.read_files()
        worker = Worker(loaded, jobs, pipelines, OutputWriter(partitions, recognised), lookups)
        worker.app = self
        for pipeline in pipelines:
            for name, count in _tables(pipeline).items():
                worker.tables[name] = StateTable(self, name, count)
        declare(self, worker, partitions)
        self.worker = worker

    # --- while it runs ------------------------------------------------------------------------------

    async def on_first_start(self) -> None:
        """The page first, then everything else."""
        drop_repeats()
        await super().on_first_start()
        assert self.worker is not None
        if self.warning:
            log.warning("%s", self.warning)
        for job in self.worker.bound_jobs:
            for warning in job.warnings:
                log.warning("job %s: %s", job.name, warning)
        if self.conf.web_enabled:
            # faust worker --web-port and --web-bind come before the settings.
            web = self.loaded.settings.web
            port = web.port if self.conf.web_port in (web.port, 6066) else self.conf.web_port
            try:
                self._web = await serve(
                    Overview(self.worker), self.conf.web_bind, port, origin=self.loaded.origins["web.port"]
                )
            except SettingsError as error:
                end(error)  # nothing has been started yet that would have to be stopped
        self.worker.state = (False, "reading the tables that are looked up in")
        try:
            await self.worker.lookups.read_topics()
        except AnomalyError as error:
            end(error)
        self.worker.state = (False, "starting")

    async def on_started(self) -> None:
        """The producer is there: watch the broker, tick, and end a bounded run."""
        worker = self.worker
        assert worker is not None
        worker.writer.producer = self.producer._ensure_producer()
        # Rows are tuples without cycles: looking for cycles among those that are held costs a third of the time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        watch = Watch(worker)
        looks = (watch.watch_broker, watch.watch_progress, watch.watch_silence, watch.watch_topics)
        watches = (watch.tick_for_ever, *looks, watch.clear_up)
        works = [work() for work in (*watches, self._stop_when_finished)]
        for running in (*works, *worker.lookups.works()):
            self._side_tasks.append(asyncio.create_task(self._or_crash(running)))
        await super().on_started()

    def end_if_refused(self, error: Exception) -> None:
        """End the process with one line and status 2, if this is a refusal that no retry heals."""
        final = refusal(error, self.loaded.settings.kafka.sasl_username)
        if final is not None:
            end(final)

    async def _or_crash(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            with self.ending_if_refused():
                await work
        except Exception as error:
            await self.crash(error)
            raise

    async def _stop_when_finished(self) -> None:
        assert self.worker is not None
        await self.worker.finished.wait()
        os.kill(os.getpid(), signal.SIGTERM)

    async def on_stop(self) -> None:
        """Flush and commit, then the page goes."""
        self._deadline.start()
        await super().on_stop()
        await cancel(self._side_tasks)
        if self.worker is not None:
            await self.worker.close()
            await self.worker.lookups.close()
        if self._web is not None:
            await self._web.cleanup()

    async def on_shutdown(self) -> None:
        """Everything has stopped."""
        await super().on_shutdown()
        self._deadline.cancel()

    async def restore_positions(self, committed: Mapping[Any, int | None], epoch: int) -> Mapping[Any, int]:
        """Make the stages of the assigned partitions."""
        assert self.worker is not None
        with self.ending_if_refused():
            return await self.worker.restore(committed, epoch)

    async def before_revoke(self, revoked: set[Any]) -> None:
        """Write out what is done."""
        assert self.worker is not None
        await self.worker.before_revoke()


def _give_up() -> None:
    """End the process: aiokafka waits for minutes for a broker that is away."""
    problem = f"not stopped within {STOP_S:.0f} s; what is not written is read again"
    print(f"anomaly: {problem}", file=sys.__stderr__, flush=True)
    os._exit(1)


class _Page(Service):  # type: ignore[misc]  # mode has no types
    """Stands for the web server, so that Faust starts none of its own."""


def create_app(loaded: LoadedSettings | None = None) -> AnomalyApp:
    """The application of a worker.

    Args:
        loaded: the settings; by default from the environment and ``anomaly.toml``.
    """
    if loaded is None:
        try:
            loaded = load_settings()
        except SettingsError as error:
            print(f"anomaly: {error}", file=sys.stderr)
            raise SystemExit(2) from None
    try:
        return AnomalyApp(loaded)
    except SettingsError as error:
        print(f"anomaly: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def run_worker(loaded: LoadedSettings, log_level: str = "warning") -> int:
    """Run a worker in this process until it is stopped or its bounded run ends; the exit status.

    Args:
        loaded: the settings.
        log_level: ``debug``, ``info``, ``warning`` or ``error``.
    """
    app = create_app(loaded)
    app.finalize()
    app.prepare()
    worker: Any = faust.Worker(app, loglevel=log_level, redirect_stdouts=False)
    worker.spinner = None
    try:
        worker.execute_from_commandline()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def job_files(loaded: LoadedSettings) -> Sequence[Path]:
    """Paths of the job files of the settings; the packaged job if there are none."""
    if loaded.settings.worker.jobs:
        return loaded.settings.worker.jobs
    return [Path(str(importlib.resources.files("anomaly_app.jobs").joinpath("unusual_sales.sql")))]


def bind_jobs(loaded: LoadedSettings, partitions: Mapping[str, int]) -> list[Job]:
    """Bind the job files of the settings.

    Args:
        loaded: the settings.
        partitions: of the source topics, as far as known.

    Raises:
        SettingsError: a file cannot be read, or two have the same name.
        SqlError: a file is wrong.
    """
    settings = loaded.settings
    limits = Limits(**settings.limits.model_dump())
    jobs: list[Job] = []
    for path in job_files(loaded):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise loaded.error("worker.jobs", f"{path} cannot be read: {error}") from error
        if any(job.name == path.stem for job in jobs):
            raise loaded.error("worker.jobs", f"two job files are named {path.stem}: names must differ")
        try:
            job = bind_job(
                text,
                name=path.stem,
                path=str(path),
                dialect=settings.worker.dialect,
                partitions=partitions,
                bounded=settings.worker.bounded,
                limits=limits,
                modules=settings.functions.modules,
                parameters=settings.parameters,
                connections=settings.connection_options,
            )
        except SqlError as error:
            raise error.in_file(path) from None
        jobs.append(job)
    used = sorted({parameter.name for job in jobs for parameter in job.parameters})
    for name in settings.parameters:
        if name not in used:
            near = difflib.get_close_matches(name, used, 1)
            hint = f"did you mean {near[0]}?" if near else f"they have {', '.join(used) or 'none'}"
            raise loaded.error(f"parameters.{name}", f"no job file has a parameter of this name; {hint}")
    return jobs


async def _written_and_read(jobs: Sequence[Job], read: Collection[str], admin: TopicAdmin) -> list[NeededTopic]:
    """Topics that one query writes and another reads, and that are not there yet: as wide as what the first one reads.

    Args:
        jobs: that run together.
        read: topics of their tables.
        admin: to ask what there is.
    """
    queries = [(plan, query.sink) for job in jobs for plan in job.plans for query in plan.queries]
    written = {sink.topic: plan for plan, sink in queries if sink is not None and sink.topic in read}
    if not written:
        return []
    found = await admin.partitions(sorted(read))
    needed: dict[str, NeededTopic] = {}
    for _ in written:  # one may be fed by another
        for topic, plan in written.items():
            widths = [found.get(one, 0) for one in plan.topics.values()]
            if topic not in found and all(widths):
                needed[topic] = NeededTopic(topic, max(widths, default=1), FOREVER, recognised=True)
                found[topic] = needed[topic].partitions
    return list(needed.values())


def _urls(loaded: LoadedSettings) -> list[str]:
    return [f"kafka://{server}" for server in bootstrap_servers(loaded)]


def _run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run before the worker's loop, in a loop of its own."""
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(work())
        loop.run_until_complete(loop.shutdown_asyncgens())


def _sources(job: Job) -> list[Source]:
    """Tables that its queries read, each once."""
    return list({table.name: table for plan in job.plans for table in plan.tables}.values())


def _over_topics(job: Job, topics: Mapping[str, Sequence[str]]) -> Job:
    """A job over the topics that its tables mean now."""
    return replace(job, plans=with_roots([one for plan in job.plans for one in plan.looked_up(topics)]))


def _tables(pipeline: Pipeline) -> dict[str, int]:
    """Its state tables, and how many partitions each has."""
    shuffles = pipeline.tables if pipeline.repartitioned else []
    tables = {pipeline.state_table(feed): feed.partitions for feed in shuffles}
    return {**tables, pipeline.state_table(None): pipeline.detect_partitions}


def _needed(pipelines: Sequence[Pipeline], app_id: str) -> list[NeededTopic]:
    topics: dict[str, NeededTopic] = {}

    def need(name: str, partitions: int, config: Mapping[str, str], *, exact: bool = False, ids: bool = False) -> None:
        known = topics.setdefault(name, NeededTopic(name, partitions, config, exact, ids))
        if ids and not known.recognised:  # of several queries that write it
            topics[name] = replace(known, recognised=True)

    for pipeline in pipelines:
        if pipeline.repartitioned:
            need(pipeline.repartition_topic, pipeline.downstream, REPARTITION_RETENTION, exact=True)
        for table, count in _tables(pipeline).items():
            need(f"{app_id}-{table}-changelog", count, CHANGELOG, exact=True)
        need(pipeline.alert_topic, pipeline.partitions, FOREVER, ids=True)
        for feed in pipeline.tables:
            need(feed.late_topic, feed.partitions, FOREVER, ids=True)
            need(feed.dead_letter_topic, feed.partitions, FOREVER, ids=True)
        for output in pipeline.outputs:
            if output.topic:
                upsert = output.query.sink is not None and output.query.sink.upsert
                ids = output.changes is None
                need(output.topic, pipeline.partitions, CHANGELOG if upsert else FOREVER, ids=ids)
    return list(topics.values())
