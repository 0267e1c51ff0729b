"""Apache Kafka as a fixture: conftest files import it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.maven import missing_tools


@pytest.fixture(scope="session")
def kafka() -> Iterator[ApacheKafka]:
    """A node that all tests share: give topics names of your own."""
    problem = missing_tools()
    if problem:
        pytest.skip(problem)
    with ApacheKafka() as node:
        yield node
