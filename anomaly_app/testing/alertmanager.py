"""Alertmanager itself on this machine, alone on loopback, from Debian's package ``prometheus-alertmanager``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import quote

from anomaly_app.testing.program import Program

CONFIGURATION = """\
route:
  receiver: nobody
receivers:
  - name: nobody
"""


class Alertmanager(Program):
    """One Alertmanager that is no part of a cluster; use it as a context manager.

    Args:
        port: where it listens; 0 for a free one.
        configuration: in YAML; the default tells nobody.

    Raises:
        ProgramError: it is not installed, or does not start, such as for a wrong configuration.
    """

    executable: ClassVar[str] = "prometheus-alertmanager"
    package: ClassVar[str] = "prometheus-alertmanager"
    ready_path: ClassVar[str] = "/-/ready"

    def __init__(self, port: int = 0, *, configuration: str = CONFIGURATION) -> None:
        self._configuration = configuration
        super().__init__(port)

    def command(self) -> Sequence[str]:
        """Its settings, and its data in the temporary directory."""
        file = self.directory / "alertmanager.yml"
        file.write_text(self._configuration, "utf-8")
        return [
            self.executable,
            f"--config.file={file}",
            f"--storage.path={self.directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
        ]

    def alerts(self, *matchers: str, **states: bool) -> list[dict[str, Any]]:
        """Alerts that it knows; one that has ended is no longer among them.

        Args:
            matchers: such as ``severity="high"``; all must hold.
            states: ``active``, ``silenced``, ``inhibited``, ``unprocessed``: False leaves those out.

        Returns:
            As its API gives them: ``labels``, ``annotations``, ``startsAt``, ``endsAt``, ``status`` …
        """
        filters = [f"filter={quote(matcher, safe='')}" for matcher in matchers]
        filters += [f"{state}={str(wanted).lower()}" for state, wanted in states.items()]
        found: list[dict[str, Any]] = json.loads(self.request(f"/api/v2/alerts?{'&'.join(filters)}"))
        return found

    def post(self, *alerts: Mapping[str, Any]) -> None:
        """Hand over alerts in the form of its API: ``labels``, ``annotations``, ``startsAt``, ``endsAt``."""
        self._post("/api/v2/alerts", list(alerts))

    def silence(self, *, seconds: float = 3_600, comment: str = "of a test", **labels: str) -> str:
        """Silence alerts that have these labels, beginning now.

        Returns:
            The id of the silence.
        """
        now = datetime.now(UTC)
        matchers = [{"name": name, "value": value, "isRegex": False, "isEqual": True} for name, value in labels.items()]
        silence = {
            "matchers": matchers,
            "startsAt": now.isoformat(),
            "endsAt": (now + timedelta(seconds=seconds)).isoformat(),
            "createdBy": "test",
            "comment": comment,
        }
        return str(json.loads(self._post("/api/v2/silences", silence))["silenceID"])

    def expire(self, silence: str) -> None:
        """End a silence."""
        self.request(f"/api/v2/silence/{silence}", method="DELETE")

    def _post(self, path: str, content: object) -> bytes:
        return self.request(path, body=json.dumps(content).encode(), headers={"Content-Type": "application/json"})
