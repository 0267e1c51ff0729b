"""``anomaly deliver --check`` and ``--explain``: the route tree, and where an alert goes."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import msgspec

from anomaly_app.alerts import Alert, encode
from anomaly_app.alerts.values import iso_time
from anomaly_app.cli.output import note, print_json
from anomaly_app.delivery.dispatcher import Dispatcher
from anomaly_app.delivery.explain import Explanation, describe, explain as explain_alert, steps_text
from anomaly_app.delivery.notification import Incoming
from anomaly_app.delivery.response_rules import compile_rules
from anomaly_app.delivery.routes import RouteTree
from anomaly_app.errors import BrokerError, SettingsError
from anomaly_app.runtime.delivery_look import Known, find_alert, look
from anomaly_app.runtime.delivery_ways import create_ways
from anomaly_app.settings import LoadedSettings
from anomaly_app.sinks.archive import check_archives
from anomaly_app.sinks.responses import ResponseCalls
from anomaly_app.words import duration


def check(loaded: LoadedSettings) -> None:
    """Check all settings of delivery, and print routes, receivers, rules, responses and archives.

    Args:
        loaded: the settings.

    Raises:
        SettingsError: something cannot be as it is set; names the place in the file.
    """
    tree = RouteTree.compile(loaded)
    create_ways(loaded, lambda name: lambda result, seconds: None, lambda name, what: None)
    check_archives(loaded)
    rules = compile_rules(loaded, tree.receivers)
    ResponseCalls(loaded)
    for line in describe(tree):
        print(line)
    for rule in rules:
        print(f"response {rule.name}: {', '.join(map(str, rule.matchers))}: {steps_text(rule)}")
    for archive in loaded.settings.delivery.archive:
        topics = ", ".join(archive.topics) or loaded.settings.alerts.topic
        print(
            f"archive {archive.name}: {topics} → {archive.format}, a file each {duration(archive.roll_after)} at most"
        )


def explain(loaded: LoadedSettings, given: str, as_json: bool) -> None:
    """Print where an alert would go now, and why.

    Args:
        loaded: the settings.
        given: path of a JSON file with the record of an alert, ``-`` for standard input, or the id of one that was
            raised.
        as_json: print JSON.

    Raises:
        SettingsError: there is no such alert, or something cannot be as it is set.
        BrokerError: an id is given, and no broker answers.
    """
    tree = RouteTree.compile(loaded)
    rules = compile_rules(loaded, tree.receivers)
    incoming = _read_file(loaded, given)
    known = Known({}, [])
    try:
        if incoming is None:
            incoming = asyncio.run(find_alert(loaded, given))
            if incoming is None:
                topic = loaded.settings.alerts.topic
                problem = f"there is neither a file {given!r} nor an alert of this id in topic {topic}"
                raise SettingsError("--explain", "command line", problem)
        known = asyncio.run(look(loaded))
    except BrokerError as error:
        if incoming is None:
            raise
        note(f"without what is silenced or was told: {error}")
    dispatcher = Dispatcher(tree, loaded.settings.delivery, known.entries)
    for silence in known.silences:
        dispatcher.put_silence(silence)
    found = explain_alert(dispatcher, incoming.alert, incoming.tenant, time.time_ns() // 1_000_000, rules)
    if as_json:
        print_json(_document(found))
        return
    for line in found.lines():
        print(line)


def _read_file(loaded: LoadedSettings, given: str) -> Incoming | None:
    """The alert of a file; None if there is no such file."""
    if given != "-" and not Path(given).is_file():
        return None
    try:
        text = sys.stdin.buffer.read() if given == "-" else Path(given).read_bytes()
        alert = msgspec.json.decode(text, type=Alert)
    except (OSError, msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise SettingsError("--explain", "command line", f"{given} is no alert: {error}") from None
    return Incoming(alert, encode(alert), 0, 0, loaded.settings.delivery.tenant)


def _document(found: Explanation) -> dict[str, object]:
    return {
        "labels": found.decision.labels,
        "routes": [
            {"place": step.route.place, "matches": not step.failed, "failed": step.failed, "ends": step.ends}
            for step in found.steps
        ],
        "destinations": [
            {
                "way": each.place.way.name,
                "group_labels": each.place.labels,
                "told_at": None if each.at_ms is None else iso_time(each.at_ms),
                "why": each.why,
                "hidden": each.hidden,
            }
            for each in found.destinations
        ],
        "streams": found.streams,
        "silences": [silence.id for silence in found.silences],
        "responses": [rule.name for rule in found.responses],
        "fate": found.decision.fate,
    }
