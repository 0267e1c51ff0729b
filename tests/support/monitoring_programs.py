"""InfluxDB and Alertmanager as fixtures: conftest files import them. All tests share one: use names of your own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from anomaly_app.testing.alertmanager import Alertmanager
from anomaly_app.testing.influxdb import InfluxDB


@pytest.fixture(scope="session")
def influxdb() -> Iterator[InfluxDB]:
    """One without users: ``influxdb.execute('CREATE DATABASE "…"')`` makes a database."""
    problem = InfluxDB.missing()
    if problem:
        pytest.skip(problem)
    with InfluxDB() as program:
        yield program


@pytest.fixture(scope="session")
def alertmanager() -> Iterator[Alertmanager]:
    """One that tells nobody."""
    problem = Alertmanager.missing()
    if problem:
        pytest.skip(problem)
    with Alertmanager() as program:
        yield program
