"""InfluxDB 1.x itself on this machine, alone on loopback, from Debian's package ``influxdb``."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from anomaly_app.testing.ports import free_port
from anomaly_app.testing.program import Program, ProgramError


class InfluxDB(Program):
    """One InfluxDB 1.x; use it as a context manager.

    Args:
        port: where it listens; 0 for a free one.
        databases: that it has.
        user: name and password of its only user, an administrator; then it answers nobody else. None: anybody.

    Raises:
        ProgramError: it is not installed, or does not start.

    Example::

        with InfluxDB(databases=["alerts"]) as influxdb:
            influxdb.write("alerts", ["anomaly_alerts,job=sales score=4.5 1700000000000"])
            influxdb.query("alerts", "SELECT * FROM anomaly_alerts")
            # [{"time": 1700000000000, "job": "sales", "score": 4.5}]
    """

    executable: ClassVar[str] = "influxd"
    package: ClassVar[str] = "influxdb"
    ready_path: ClassVar[str] = "/ping"

    def __init__(self, port: int = 0, *, databases: Sequence[str] = (), user: tuple[str, str] | None = None) -> None:
        self._user = user
        self._internal = free_port()
        super().__init__(port)
        try:
            if user is not None:
                self.execute(f"CREATE USER \"{user[0]}\" WITH PASSWORD '{user[1]}' WITH ALL PRIVILEGES")
            for database in databases:
                self.execute(f'CREATE DATABASE "{database}"')
        except BaseException:
            self.close()
            raise

    def command(self) -> Sequence[str]:
        """No file of settings; those of the environment stand above its defaults."""
        return [self.executable, "run", "-config", "/dev/null"]

    def environment(self) -> Mapping[str, str]:
        """Everything in the temporary directory, nothing but its HTTP interface, no report to its makers."""
        return {
            **super().environment(),
            "INFLUXDB_REPORTING_DISABLED": "true",
            "INFLUXDB_BIND_ADDRESS": f"127.0.0.1:{self._internal}",
            "INFLUXDB_META_DIR": str(self.directory / "meta"),
            "INFLUXDB_DATA_DIR": str(self.directory / "data"),
            "INFLUXDB_DATA_WAL_DIR": str(self.directory / "wal"),
            "INFLUXDB_MONITOR_STORE_ENABLED": "false",
            "INFLUXDB_HTTP_BIND_ADDRESS": f"127.0.0.1:{self.port}",
            "INFLUXDB_HTTP_AUTH_ENABLED": "false" if self._user is None else "true",
        }

    def execute(self, statement: str, database: str = "") -> list[dict[str, Any]]:
        """Run statements of InfluxQL, reading or writing ones.

        Args:
            statement: one, or several with ``;`` between them.
            database: that it is about; some need none.

        Returns:
            The series of all statements: ``name``, ``tags`` where it is grouped, ``columns`` and ``values``; times in
            milliseconds.

        Raises:
            ProgramError: one of them fails.
        """
        parameters = {"q": statement, "epoch": "ms", **({"db": database} if database else {})}
        answer = json.loads(self.request("/query", parameters=parameters, method="POST", headers=self._headers()))
        found: list[dict[str, Any]] = []
        for result in answer["results"]:
            if "error" in result:
                raise ProgramError(f"InfluxDB refuses {statement}: {result['error']}")
            found.extend(result.get("series", ()))
        return found

    def query(self, database: str, statement: str) -> list[dict[str, Any]]:
        """Rows of a query, each by the names of its columns and tags; what is NULL is left out."""
        return [
            {**series.get("tags", {}), **{name: value for name, value in row if value is not None}}
            for series in self.execute(statement, database)
            for row in (zip(series["columns"], values, strict=True) for values in series["values"])
        ]

    def write(self, database: str, lines: Iterable[str]) -> None:
        """Write points in line protocol, times in milliseconds."""
        self.request(
            "/write",
            parameters={"db": database, "precision": "ms"},
            body="\n".join(lines).encode(),
            headers=self._headers(),
        )

    def _headers(self) -> dict[str, str]:
        if self._user is None:
            return {}
        return {"Authorization": "Basic " + base64.b64encode(":".join(self._user).encode()).decode()}
