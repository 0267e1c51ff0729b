"""Topics that come to be while a worker runs: patterns of tables are looked up again, and the worker starts anew."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Sequence

from anomaly_app.jobs.model import Job
from anomaly_app.jobs.topic_tables import Source
from anomaly_app.runtime.topics import TopicAdmin
from anomaly_app.settings import LoadedSettings


class Discovery:
    """Looks for topics of patterns that were not there when the worker started.

    Args:
        loaded: the settings.
        jobs: that run; their tables know their topics.
    """

    def __init__(self, loaded: LoadedSettings, jobs: Sequence[Job]) -> None:
        self._loaded = loaded
        self._sources: dict[tuple[str, str], Source] = {}
        self._known: dict[tuple[str, str], set[str]] = {}
        for job in jobs:
            for plan in job.plans:
                for one in plan.inputs:
                    source, key = one.source, (job.name, one.source.name)
                    if source.topics.pattern and source.topics.discovery_ms:
                        self._sources[key] = source
                        self._known.setdefault(key, set()).update(source.topic_names)

    @property
    def interval_s(self) -> float:
        """How often to look; 0 for never."""
        return min((source.topics.discovery_ms for source in self._sources.values()), default=0) / 1000

    def wait_s(self, now: float) -> float:
        """How long to wait for the next look: workers of one group look at the same moments.

        Args:
            now: seconds since 1970.

        Example:
            >>> from anomaly_app.settings import load_settings
            >>> from anomaly_app.jobs.binder import bind_job
            >>> with_ = "'connector' = 'kafka', 'topic-pattern' = 'a.*', 'format' = 'json'"
            >>> job = bind_job(f"CREATE TABLE t (a INT) WITH ({with_}); SELECT a FROM t", name="job")
            >>> Discovery(load_settings(environ={}), [job]).wait_s(1_000_000)
            200.0
        """
        return self.interval_s - now % self.interval_s

    async def look(self) -> list[str]:
        """New topics; raises BrokerError."""
        found: set[str] = set()
        async with TopicAdmin(self._loaded) as admin:
            for key, source in self._sources.items():
                found.update(set(await admin.meant(source)) - self._known[key])
        return sorted(found)


FOUND = "TOPICS_FOUND_BY_ANOMALY"
"""Name of the variable of the environment that tells the new process which topics are new."""


def found_while_running(topic: str) -> bool:
    """Whether a topic came to be while the process before this one ran: nothing of it was before that.

    Example:
        >>> found_while_running("sales.eu")
        False
    """
    return topic in os.environ.get(FOUND, "").split(",")


def start_anew(found: Sequence[str]) -> None:
    """End this process in order, and run the same command in its place: all that is bound to topics is bound again.

    Args:
        found: new topics.
    """
    os.environ[FOUND] = ",".join(found)
    atexit.register(_run_again)
    os.kill(os.getpid(), signal.SIGTERM)


def _run_again() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
