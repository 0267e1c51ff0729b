"""What a backtest tells: as a document, and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from anomaly_app.cli.output import note, print_table

if TYPE_CHECKING:
    from anomaly_app.alerts.record import Alert
    from anomaly_app.alerts.truth import Score
    from anomaly_app.cli.backtest_run import Outcome

SAMPLES = 5
"""Alerts of each rule that are shown."""


def document(
    outcome: Outcome, other: Outcome | None, scores: Mapping[str, Score] | None, by: str | None,
    untold: Mapping[str, int] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """All that is told.

    Args:
        outcome: of the job.
        other: of the one against which it is compared.
        scores: by what is true; None where nobody knows.
        by: output column to count by; None for ``storeId``, if there is one, else the first column of the key.
        untold: types of incidents that no rule of the job is about, and how many there are.
    """
    from anomaly_app.alerts.truth import kind_of

    alerts = outcome.alerts
    days = Counter((alert.event_time[:10], kind_of(alert)) for alert in alerts)
    name, groups = grouped(alerts, by)
    told: dict[str, Any] = {
        "job": outcome.name,
        "version": outcome.version,
        "parameters": outcome.parameters,
        "records": {
            "read": outcome.read, "unreadable": outcome.unreadable, "late": outcome.late, "ahead": outcome.ahead
        },
        "seconds": round(outcome.seconds, 3),
        "total": len(alerts),
        "days": [{"day": day, "rule": rule, "alerts": count} for (day, rule), count in sorted(days.items())],
        "by": name,
        "groups": [
            {"value": value, "rule": rule, "alerts": count} for (value, rule), count in sorted(groups.items(), key=str)
        ],
        "alerts": [msgspec.to_builtins(alert) for alert in alerts],
    }  # fmt: skip
    if other is not None:
        from anomaly_app.cli.backtest_run import only_in

        told["against"] = {
            "job": other.name,
            "version": other.version,
            "parameters": other.parameters,
            "total": len(other.alerts),
            "only_here": [msgspec.to_builtins(alert) for alert in only_in(alerts, other.alerts)],
            "only_there": [msgspec.to_builtins(alert) for alert in only_in(other.alerts, alerts)],
        }
    if scores is not None:
        told["truth"] = {rule or "any": _score(score) for rule, score in scores.items()}
        told["truth_of_others"] = dict(untold or {})
    return told


def _score(score: Score) -> dict[str, Any]:
    return {
        "precision": score.precision, "recall": score.recall, "alerts": score.alerts, "right": score.right,
        "incidents": score.incidents, "found": score.found,
        "missed": [msgspec.to_builtins(one) for one in score.missed],
        "wrong": [alert.id for alert in score.wrong],
    }  # fmt: skip


def grouped(alerts: Sequence[Alert], by: str | None) -> tuple[str, Counter[tuple[str, str]]]:
    """Name of the column that is counted by, and how many alerts each of its values and rules have."""
    from anomaly_app.alerts.truth import kind_of

    def value(alert: Alert) -> tuple[str, Any]:
        if by is not None or "storeId" in alert.payload:
            return by or "storeId", alert.payload.get(by or "storeId", alert.key.get(by or ""))
        return next(iter(alert.key.items()), ("key", ""))

    found: Counter[tuple[str, str]] = Counter()
    names: Counter[str] = Counter()
    for alert in alerts:
        name, one = value(alert)
        names[name] += 1
        found["" if one is None else str(one), kind_of(alert)] += 1
    return (names.most_common(1)[0][0] if names else by or "key"), found


def show(told: Mapping[str, Any], samples: int = SAMPLES) -> None:
    """Print it for people.

    Args:
        told: of :func:`document`.
        samples: alerts of each rule that are shown.
    """
    records = told["records"]
    print(f"{told['job']} (version {told['version']}): {told['total']:,} alerts")
    for name, literal in told["parameters"].items():
        print(f"  {name} = {literal}")
    if told["days"]:
        print()
        _pivot("day", told["days"], "day")
        print()
        _pivot(told["by"], told["groups"], "value")
    _samples(told["alerts"], samples)
    if "against" in told:
        other = told["against"]
        changed = {k: v for k, v in other["parameters"].items() if told["parameters"].get(k) != v}
        said = f" with {', '.join(f'{k} = {v}' for k, v in changed.items())}" if changed else ""
        print(f"\nAgainst {other['job']} (version {other['version']}){said}: {other['total']:,} alerts")
        for title, alerts in (("only here", other["only_here"]), ("only there", other["only_there"])):
            print(f"{title}: {len(alerts):,}")
            for alert in alerts[:samples]:
                print(f"  {_line(alert)}")
    if "truth" in told:
        print()
        rows = []
        for rule, score in told["truth"].items():
            rows.append([rule, share(score["precision"]), share(score["recall"]), f"{score['right']:,}",
                         f"{score['alerts']:,}", f"{score['found']:,}", f"{score['incidents']:,}"])  # fmt: skip
        print_table(["rule", "precision", "recall", "right", "of alerts", "found", "of incidents"], rows)
        others = ", ".join(f"{rule} ({count:,})" for rule, count in told["truth_of_others"].items())
        if others:
            print(f"incidents of which no rule here tells: {others}")
    note(
        f"{records['read']:,} records in {told['seconds']:.1f} s"
        + "".join(f"; {what}: {records[what]:,}" for what in ("unreadable", "late", "ahead") if records[what])
    )


def share(value: float | None) -> str:
    """A share in words."""
    return "–" if value is None else f"{value:.1%}"


def table_of(entries: Sequence[Mapping[str, Any]], row: str) -> tuple[list[str], list[tuple[str, list[int]]]]:
    """Rules, and for each value of a column how many alerts of each rule there are."""
    rules = sorted({entry["rule"] for entry in entries})
    values = list(dict.fromkeys(entry[row] for entry in entries))
    counts = {(entry[row], entry["rule"]): entry["alerts"] for entry in entries}
    return rules, [(value, [counts.get((value, rule), 0) for rule in rules]) for value in values]


def _pivot(name: str, entries: Sequence[Mapping[str, Any]], row: str) -> None:
    rules, rows = table_of(entries, row)
    print_table([name, *rules], [[value, *(f"{count:,}" for count in counts)] for value, counts in rows])


def samples_of(alerts: Sequence[Mapping[str, Any]], most: int) -> dict[str, list[Mapping[str, Any]]]:
    """The first alerts of each rule."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for alert in alerts:
        said = alert["payload"].get("type")
        own = found.setdefault(said if isinstance(said, str) else alert["query"], [])
        if len(own) < most:
            own.append(alert)
    return found


def _samples(alerts: Sequence[Mapping[str, Any]], most: int) -> None:
    for rule, own in samples_of(alerts, most).items():
        print(f"\n{rule}")
        for alert in own:
            print(f"  {_line(alert)}")


def _line(alert: Mapping[str, Any]) -> str:
    message = alert["payload"].get("message")
    return f"{alert['event_time']} {alert['severity']} {message if isinstance(message, str) else alert['explanation']}"
