"""A backtest as one HTML file: it opens without a network, and has no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from anomaly_app.cli.backtest_report import samples_of, share, table_of

COLOURS = ("#3b6fb6", "#c4622d", "#4d8f57", "#8a5fa8", "#a88a2d", "#5f6a75")
"""Of the bars of the rules: each is told apart from the ground of both schemes."""
SAMPLES = 20

_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --ink: #1c2733; --soft: #566572; --line: #c9d1d8; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #141a21; --ink: #dfe6ee; --soft: #9aa8b5; --line: #3a4550; }
}
body {
  font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
  background: var(--ground); color: var(--ink); overflow-wrap: anywhere;
}
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.scroll { overflow-x: auto; overflow-wrap: normal; }
table { border-collapse: collapse; }
td, th { padding: .25rem 1.2rem .25rem 0; text-align: left; vertical-align: top; }
th { border-bottom: 1px solid var(--line); color: var(--soft); font-weight: 500; white-space: nowrap; }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
details { border-top: 1px solid var(--line); padding: .3rem 0; } summary { cursor: pointer; }
details table { margin: .3rem 0 .6rem; } details td:first-child { color: var(--soft); }
.quiet { color: var(--soft); }
.severity { font-weight: 600; }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; margin-bottom: .5rem; }
.key i { display: inline-block; width: .8rem; height: .8rem; margin-right: .4rem; border-radius: 2px; }
.bars { display: grid; grid-template-columns: fit-content(40%) 1fr; gap: .35rem 1rem; align-items: center; }
.bar { display: flex; align-items: center; padding-right: 4rem; } /* of the number behind the longest */
.bar i { flex: none; height: 1.2rem; }
.bar span { margin-left: .5rem; white-space: nowrap; font-variant-numeric: tabular-nums; }
summary:focus-visible, .scroll:focus-visible { outline: 2px solid #3b6fb6; outline-offset: 2px; }
@media (max-width: 40rem) { body { margin: 1rem auto; } }
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
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{title}</h1>",
        f"<p>{told['total']:,} alerts of {records['read']:,} records ({counts}).</p>",
    ]  # fmt: skip
    if told["days"]:
        parts += ["<h2>By day</h2>", _bars(told["days"], "day"), f"<h2>By {escape(told['by'])}</h2>"]
        parts.append(_bars(told["groups"], "value"))
    if "truth" in told:
        parts += ["<h2>Against what is true</h2>", _truth(told["truth"])]
    if told["parameters"]:
        parts += ["<h2>Parameters</h2>", _parameters(told["parameters"])]
    if "against" in told:
        parts += _against(told)
    for rule, alerts in samples_of(told["alerts"], SAMPLES).items():
        parts += [f"<h2>{escape(rule)}</h2>", *map(_alert, alerts)]
    return "\n".join([*parts, "</body></html>"])


def _parameters(parameters: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in parameters.items())
    return _table("<th>Parameter</th><th>Value</th>", rows) if rows else ""


def _table(head: str, rows: str) -> str:
    """One that scrolls by itself where it is too wide, also by the keyboard."""
    return f'<div class="scroll" tabindex="0"><table><tr>{head}</tr>{rows}</table></div>'


def _bars(entries: Sequence[Mapping[str, Any]], row: str) -> str:
    """A bar for each value, with a piece for each rule."""
    rules, rows = table_of(entries, row)
    most = max(sum(counts) for _, counts in rows)
    key = "".join(
        f'<span><i style="background: {_colour(place)}"></i>{escape(rule)}</span>' for place, rule in enumerate(rules)
    )
    bars = []
    for value, counts in rows:
        name = escape(value or "–")
        pieces = "".join(
            f'<i style="width: {count / most:.2%}; background: {_colour(place)}" '
            f'title="{name}, {escape(rules[place])}: {count:,}"></i>'
            for place, count in enumerate(counts)
            if count
        )
        bars.append(f'<div>{name}</div><div class="bar">{pieces}<span>{sum(counts):,}</span></div>')
    return f'<div class="key">{key}</div><div class="bars">{"".join(bars)}</div>'


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def _truth(truth: Mapping[str, Mapping[str, Any]]) -> str:
    head = "<th>Rule</th>" + "".join(
        f'<th class="n">{name}</th>' for name in ("Precision", "Recall", "Right", "Alerts", "Found", "Incidents")
    )
    rows = "".join(
        f"<tr><td>{escape(rule)}</td>"
        + "".join(f'<td class="n">{share(score[name])}</td>' for name in ("precision", "recall"))
        + "".join(f'<td class="n">{score[name]:,}</td>' for name in ("right", "alerts", "found", "incidents"))
        + "</tr>"
        for rule, score in truth.items()
    )
    return _table(head, rows)


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
        f"<details><summary>{escape(alert['event_time'])} "
        f'<span class="severity">{escape(alert["severity"])}</span>: {escape(line)}</summary>'
        f'<p class="quiet">{escape(alert["explanation"])}</p><table>{cells}</table></details>'
    )
