"""Prometheus itself on this machine, alone on loopback, from Debian's package ``prometheus``."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from anomaly_app.testing.program import START_S, Program, ProgramError


class Prometheus(Program):
    """One Prometheus; use it as a context manager.

    Args:
        configuration: in YAML (or JSON, which is YAML too).
        port: where it listens; 0 for a free one.

    Raises:
        ProgramError: it is not installed, or does not start, such as for a wrong configuration.
    """

    executable: ClassVar[str] = "prometheus"
    package: ClassVar[str] = "prometheus"
    ready_path: ClassVar[str] = "/-/ready"

    def __init__(self, configuration: str, port: int = 0) -> None:
        self._configuration = configuration
        super().__init__(port)

    @classmethod
    def of(
        cls, targets: Mapping[str, str], *, interval: str = "1s", rules: Sequence[Path] = (), alertmanager: str = ""
    ) -> Prometheus:
        """One that scrapes some targets.

        Args:
            targets: name of the job, and host:port.
            interval: between two scrapes, and two evaluations of the rules.
            rules: files of rules.
            alertmanager: host:port of where alerts go.
        """
        settings: dict[str, Any] = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "rule_files": [str(file) for file in rules],
            "scrape_configs": [
                {"job_name": name, "static_configs": [{"targets": [target]}]} for name, target in targets.items()
            ],
        }
        if alertmanager:
            settings["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
        return cls(json.dumps(settings))

    def command(self) -> Sequence[str]:
        """Its settings, and its data in the temporary directory."""
        file = self.directory / "prometheus.yml"
        file.write_text(self._configuration, "utf-8")
        return [
            self.executable,
            f"--config.file={file}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]

    def query(self, expression: str, *, at: float | None = None) -> list[dict[str, Any]]:
        """Value of an expression now, or at a time.

        Args:
            expression: in PromQL.
            at: seconds since 1970.

        Returns:
            Series, each with ``metric`` (its labels) and ``value`` (time, and value as text).

        Raises:
            ProgramError: it is no expression.
        """
        when = {} if at is None else {"time": str(at)}
        result: list[dict[str, Any]] = self.ask("/api/v1/query", query=expression, **when)["data"]["result"]
        return result

    def query_range(self, expression: str, *, seconds: int = 60, step: int = 1) -> list[dict[str, Any]]:
        """Values of an expression over the last seconds, as a graph shows them.

        Returns:
            Series, each with ``metric`` (its labels) and ``values`` (pairs of time, and value as text).
        """
        now = time.time()
        span = {"start": str(now - seconds), "end": str(now), "step": str(step)}
        result: list[dict[str, Any]] = self.ask("/api/v1/query_range", query=expression, **span)["data"]["result"]
        return result

    def wait_for(self, expression: str, seconds: float = START_S) -> list[dict[str, Any]]:
        """Series of an expression as soon as there is one.

        Raises:
            ProgramError: there is none after this time.
        """
        deadline = time.monotonic() + seconds
        while not (found := self.query(expression)):
            if time.monotonic() > deadline:
                raise ProgramError(f"Prometheus has nothing for {expression} after {seconds:.0f} s")
            time.sleep(0.2)
        return found

    def alerts(self) -> list[dict[str, Any]]:
        """Alerts of the rules: ``labels``, ``annotations``, ``state`` (``pending`` or ``firing``) and more."""
        alerts: list[dict[str, Any]] = self.ask("/api/v1/alerts")["data"]["alerts"]
        return alerts
