"""Grafana's dashboards as tests see them: their queries, as Grafana sends them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

GRAFANA = Path(__file__).parents[2] / "deploy/grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))


class Query(NamedTuple):
    """A query of a panel, or of a variable (then the title is its name)."""

    board: str
    title: str
    kind: str
    text: str
    instant: bool = True


def load(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return document


def panels(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All but the titles of rows."""
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def queries(file: Path) -> Iterator[Query]:
    document = load(file)
    for panel in panels(document):
        for target in panel["targets"]:
            kind = target["datasource"]["type"]
            if kind == "influxdb":
                yield Query(file.stem, panel["title"], kind, target["query"])
            else:
                yield Query(file.stem, panel["title"], kind, target["expr"], target["instant"])


def variables(document: Mapping[str, Any]) -> dict[str, str]:
    """Queries of the variables that have one."""
    return {one["name"]: one["definition"] for one in document["templating"]["list"] if one["type"] == "query"}


def filled(text: str, values: Mapping[str, str], *, time_filter: str = "", interval: str = "", span: str = "") -> str:
    """A query with its variables and macros replaced.

    Args:
        text: of the query.
        values: of variables; others are All.
        time_filter: of InfluxQL.
        interval: for ``$__interval`` and ``$__rate_interval``.
        span: for ``$__range``.
    """
    macros = {"timeFilter": time_filter, "__interval": interval, "__rate_interval": interval, "__range": span}
    return re.sub(r"\$(\w+)", lambda found: {**macros, **values}.get(found[1], ".*"), text)
