"""Grafana's dashboards: of its published schema, laid out without overlaps, and of what is provisioned."""

from __future__ import annotations

import json
import re
import warnings
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import pytest
import yaml
from dashboards import FILES, GRAFANA, load, panels, queries, variables
from grafana_foundation_sdk import models
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from pydantic import ConfigDict, TypeAdapter, ValidationError

with warnings.catch_warnings():
    # It would have the new form, which Grafana itself does not yet take from files.
    warnings.filterwarnings("ignore", "Prefer using dashboardv2", DeprecationWarning)
    from grafana_foundation_sdk.models.dashboard import Dashboard, DataTransformerConfig, Panel

register_default_plugins()
each_dashboard = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def typed(document: dict[str, Any]) -> Dashboard:
    """A dashboard in Grafana's types."""
    read = Dashboard.from_json(document)
    for panel in read.panels or ():
        if isinstance(panel, Panel) and panel.transformations:
            raw: list[Any] = panel.transformations  # their types leave these as they are
            panel.transformations = [DataTransformerConfig.from_json(one) for one in raw]
    return read


def lost(ours: Any, theirs: Any, place: str = "") -> list[str]:
    """Places of what does not come back from Grafana's types: they do not know it."""
    if isinstance(ours, dict):
        if not isinstance(theirs, dict):
            return [place]
        return [
            problem
            for key, value in ours.items()
            for problem in (lost(value, theirs[key], f"{place}.{key}") if key in theirs else [f"{place}.{key}"])
        ]
    if isinstance(ours, list):
        if not isinstance(theirs, list) or len(ours) != len(theirs):
            return [place]
        return [p for n, pair in enumerate(zip(ours, theirs, strict=True)) for p in lost(*pair, f"{place}[{n}]")]
    return [] if ours == theirs else [place]


def mistyped(value: Any, place: str = "") -> list[str]:
    """Places of values that are not of the type that Grafana's schema gives them."""
    if isinstance(value, list):
        return [problem for n, one in enumerate(value) for problem in mistyped(one, f"{place}[{n}]")]
    if not type(value).__module__.startswith(models.__name__):
        return []
    problems = []
    modules = {name: part for name, part in vars(models).items() if isinstance(part, ModuleType)}
    for name, hint in get_type_hints(type(value), localns=modules).items():
        held = getattr(value, name)
        problems += mistyped(held, f"{place}.{name}")
        try:
            text = json.dumps(held)
        except TypeError:
            continue  # holds objects: each is looked at by itself
        try:
            TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_json(text, strict=True)
        except ValidationError as error:
            problems.append(f"{place}.{name}: {error.errors()[0]['msg']}")
    return problems


@each_dashboard
def test_it_is_of_grafanas_schema(file: Path) -> None:
    document = load(file)
    read = typed(document)
    assert lost(document, json.loads(json.dumps(read, cls=JSONEncoder))) == []
    assert mistyped(read) == []


@each_dashboard
def test_the_schema_is_a_check(file: Path) -> None:
    document = load(file)
    panel = panels(document)[0]
    panel["gridpos"] = panel["gridPos"]
    panel["options"]["colourMode"] = "value"
    document["graphTooltip"] = 7
    document["title"] = 3
    read = typed(document)
    number = document["panels"].index(panel)
    back = json.loads(json.dumps(read, cls=JSONEncoder))
    assert lost(document, back) == [f".panels[{number}].options.colourMode", f".panels[{number}].gridpos"]
    assert [problem.partition(":")[0] for problem in mistyped(read)] == [".title", ".graph_tooltip"]


@each_dashboard
def test_panels_do_not_overlap_and_have_ids_and_titles_of_their_own(file: Path) -> None:
    document = load(file)
    everything = document["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    assert all(panel["title"] for panel in everything)
    places = [panel["gridPos"] for panel in everything]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for a, b in combinations(places, 2):
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]


@each_dashboard
def test_it_finds_its_data_sources_wherever_it_is_imported(file: Path) -> None:
    document = load(file)
    sources = {one["name"]: one["query"] for one in document["templating"]["list"] if one["type"] == "datasource"}
    provisioned = yaml.safe_load((GRAFANA / "provisioning/datasources/anomaly.yml").read_text("utf-8"))["datasources"]
    assert set(sources.values()) <= {source["type"] for source in provisioned}
    used = [one["datasource"] for panel in panels(document) for one in (panel, *panel["targets"])]
    used += [one["datasource"] for one in document["templating"]["list"] if one["type"] == "query"]
    assert used
    for source in used:
        assert source["type"] == sources[source["uid"].removeprefix("${").removesuffix("}")]


@each_dashboard
def test_queries_use_variables_that_are_there_and_every_variable_is_used(file: Path) -> None:
    document = load(file)
    macros = {"timeFilter", "__interval", "__rate_interval", "__range"}
    named = {name for query in queries(file) for name in re.findall(r"\$(\w+)", query.text)}
    assert named - macros == set(variables(document))


@each_dashboard
def test_a_click_leads_to_a_dashboard_that_is_there_and_sets_a_variable_of_it(file: Path) -> None:
    boards = {document["uid"]: set(variables(document)) for document in map(load, FILES)}
    assert len(boards) == len(FILES)
    urls = re.findall(r"/d/([\w-]+)\?var-(\w+)=", file.read_text("utf-8"))
    assert urls or "influxdb" not in file.read_text("utf-8")
    assert all(variable in boards[board] for board, variable in urls)


def test_they_refresh_and_show_a_range_of_time() -> None:
    for document in map(load, FILES):
        assert document["refresh"] == "30s" and document["time"]["to"] == "now"
        assert "anomaly-app" in document["tags"]


def test_the_anomalies_have_three_rows_of_a_total_and_a_table() -> None:
    rows = {
        "anomalies": ["By type", "By risk", "By store"],
        "retail": ["Refunds", "Shrinkage", "Security"],
    }
    for name, titles in rows.items():
        everything = load(GRAFANA / f"dashboards/{name}.json")["panels"]
        assert [panel["title"] for panel in everything if panel["type"] == "row"][:3] == titles
        for title in titles:
            start = next(n for n, panel in enumerate(everything) if panel["title"] == title and panel["type"] == "row")
            gauge, table = everything[start + 1 : start + 3]
            assert (gauge["type"], table["type"]) == ("gauge", "table")
            steps = gauge["fieldConfig"]["defaults"]["thresholds"]["steps"]
            assert steps[-1] == {"color": "red", "value": 80}


def test_the_provider_looks_where_compose_mounts_the_files() -> None:
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/anomaly.yml").read_text("utf-8"))["providers"]
    assert provider["options"]["path"] == "/etc/grafana/dashboards"
