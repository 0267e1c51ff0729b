"""Answers of a registry: which are refusals, and which can be better a moment later."""

from __future__ import annotations

import json

import pytest

from anomaly_app.errors import RegistryError
from anomaly_app.formats.registry import RegistryRefusal, _answer


@pytest.mark.parametrize("status", [401, 403, 407, 409, 422])
def test_refusals(status: int) -> None:
    with pytest.raises(RegistryRefusal) as caught:
        _answer("GET /x", status, "")
    assert not caught.value.retriable


def test_a_schema_that_is_not_there_is_a_refusal_with_its_code() -> None:
    with pytest.raises(RegistryRefusal) as caught:
        _answer("GET /x", 404, json.dumps({"error_code": 40403, "message": "no such schema"}))
    assert caught.value.error_code == 40403


@pytest.mark.parametrize(
    ("status", "text"),
    [(404, "404 page not found"), (200, "<html>maintenance</html>"), (429, ""), (500, ""), (503, "")],
)
def test_pages_of_a_proxy_whose_registry_is_away_can_heal(status: int, text: str) -> None:
    with pytest.raises(RegistryError) as caught:
        _answer("GET /x", status, text)
    assert caught.value.retriable
