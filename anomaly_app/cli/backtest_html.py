"""A backtest as one HTML file: it opens without a network, and has no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from anomaly_app.cli.backtest_report import samples_of, share, table_of

COLOURS = ("#3b6fb6", "#c4622d", "#4d8f57", "#8a5fa8", "#a88a2d", "#5f6a75")
SAMPLES = 20
BAR_WIDTH, BAR_HEIGHT, LABEL = 560, 20, 170

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1c2733; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; }
th { border-bottom: 1px solid #9aa7b4; } .n { text-align: right; font-variant-numeric: tabular-nums; }
details { margin: .2rem 0; } summary { cursor: pointer; } .quiet { color: #5b6b7a; }
svg text { font: 13px system-ui, sans-serif; fill: #1c2733; }
@media (prefers-color-scheme: dark) { body, svg text { color: #dfe6ee; fill: #dfe6ee; background: #141a21; } }
"""


def page(told: Mapping[str, Any]) -> str:
    """The page.

    Args:
        told: of :func:`anomaly_app.cli.backtest_report.document`.
    """
    records = told["records"]
    title = f"Backtest of {escape(told['job'])}"
    counts = ", ".join(f"{what}: {records[what]:,}" for what in ("unreadable", "late", "ahead"))
    parts = [
        "<!DOCTYPE html>", '<html lang="en"><head><meta charset="utf-8">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{title}</h1>",
        f"<p>{told['total']:,} alerts of {records['read']:,} records ({counts}).</p>",
        _parameters(told["parameters"]),
    ]  # fmt: skip
    if told["days"]:
        parts += ["<h2>By day</h2>", _bars(told["days"], "day"), f"<h2>By {escape(told['by'])}</h2>"]
        parts.append(_bars(told["groups"], "value"))
    if "truth" in told:
        parts += ["<h2>Against what is true</h2>", _truth(told["truth"])]
    if "against" in told:
        parts += _against(told)
    for rule, alerts in samples_of(told["alerts"], SAMPLES).items():
        parts += [f"<h2>{escape(rule)}</h2>", *map(_alert, alerts)]
    return "\n".join([*parts, "</body></html>"])


def _parameters(parameters: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in parameters.items())
    return f"<table><tr><th>Parameter</th><th>Value</th></tr>{rows}</table>" if rows else ""


def _bars(entries: Sequence[Mapping[str, Any]], row: str) -> str:
    """A bar for each value, with a piece for each rule."""
    rules, rows = table_of(entries, row)
    most = max(sum(counts) for _, counts in rows)
    height = (len(rows) + 1) * (BAR_HEIGHT + 6)
    pieces = []
    for place, rule in enumerate(rules):
        left = LABEL + place * 190
        pieces.append(f'<rect x="{left}" y="3" width="12" height="12" fill="{_colour(place)}"/>')
        pieces.append(f'<text x="{left + 18}" y="14">{escape(rule)}</text>')
    for number, (value, counts) in enumerate(rows, 1):
        y, x = number * (BAR_HEIGHT + 6), float(LABEL)
        pieces.append(f'<text x="0" y="{y + 14}">{escape(value or "–")}</text>')
        for place, count in enumerate(counts):
            length = count / most * BAR_WIDTH
            told = f"{escape(value)}, {escape(rules[place])}: {count:,}"
            pieces.append(
                f'<rect x="{x:.1f}" y="{y}" width="{length:.1f}" height="{BAR_HEIGHT}" fill="{_colour(place)}">'
                f"<title>{told}</title></rect>"
            )
            x += length
        pieces.append(f'<text x="{x + 6:.1f}" y="{y + 14}">{sum(counts):,}</text>')
    width = max(LABEL + BAR_WIDTH + 70, LABEL + len(rules) * 190)
    return f'<svg role="img" width="{width}" height="{height}" viewBox="0 0 {width} {height}">{"".join(pieces)}</svg>'


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def _truth(truth: Mapping[str, Mapping[str, Any]]) -> str:
    head = "".join(
        f"<th>{name}</th>" for name in ("Rule", "Precision", "Recall", "Right", "Alerts", "Found", "Incidents")
    )
    rows = "".join(
        f"<tr><td>{escape(rule)}</td>"
        + "".join(f'<td class="n">{share(score[name])}</td>' for name in ("precision", "recall"))
        + "".join(f'<td class="n">{score[name]:,}</td>' for name in ("right", "alerts", "found", "incidents"))
        + "</tr>"
        for rule, score in truth.items()
    )
    return f"<table><tr>{head}</tr>{rows}</table>"


def _against(told: Mapping[str, Any]) -> list[str]:
    other = told["against"]
    changed = {name: value for name, value in other["parameters"].items() if told["parameters"].get(name) != value}
    parts = [
        f"<h2>Against {escape(other['job'])}, version {escape(other['version'])}</h2>",
        f"<p>{other['total']:,} alerts there.</p>", _parameters(changed),
    ]  # fmt: skip
    for title, alerts in (("Only here", other["only_here"]), ("Only there", other["only_there"])):
        parts += [f"<h3>{title}: {len(alerts):,}</h3>", *map(_alert, alerts[:SAMPLES])]
    return parts


def _alert(alert: Mapping[str, Any]) -> str:
    message = alert["payload"].get("message")
    line = message if isinstance(message, str) else alert["explanation"]
    cells = "".join(
        f"<tr><td>{escape(str(name))}</td><td>{escape(str(value))}</td></tr>"
        for name, value in alert["payload"].items()
    )
    return (
        f"<details><summary>{escape(alert['event_time'])} {escape(alert['severity'])}: {escape(line)}</summary>"
        f'<p class="quiet">{escape(alert["explanation"])}</p><table>{cells}</table></details>'
    )
