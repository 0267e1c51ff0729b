"""docs/sinks.md: its settings load, and what it shows is what is sent."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from notifications import a_notification, an_alert

from anomaly_app.runtime.delivery_ways import sinks_of
from anomaly_app.settings import load_settings
from anomaly_app.settings.delivery import Receiver, WebhookSink
from anomaly_app.sinks.line_protocol import Lines, parse_picked
from anomaly_app.sinks.messages import Messages

PAGE = (Path(__file__).parents[2] / "docs" / "sinks.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
TEXTS = re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # apprise imports it


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
async def test_an_example_makes_sinks(example: str, tmp_path: Path) -> None:
    (tmp_path / "slack").write_text("https://hooks.slack.com/services/T000/B000/XXXX\n")
    (tmp_path / "centre").write_text("of north\n")
    file = tmp_path / "anomaly.toml"
    file.write_text(example.replace("/run/secrets", str(tmp_path)))
    loaded = load_settings(config_file=file, environ={})
    [receiver] = loaded.settings.delivery.receivers
    counted: list[str] = []
    [(key, _, sink)] = sinks_of(loaded, receiver, lambda key, what: counted.append(what))
    name, kind, _ = key.split("/")
    assert name == receiver.name and f"[[delivery.receivers.{kind}]]" in example
    if "title" in example:
        messages: Messages = sink._messages  # type: ignore[union-attr]
        said = messages.message(a_notification(more=3))
        assert (
            not counted
            and said.title.startswith("HIGH User user001: max_amount 12,345.67 is")
            and "and 3 more" in said.text
        )
    await sink.close()


def test_every_sink_has_an_example() -> None:
    kinds = set(re.findall(r"\[\[delivery\.receivers\.(\w+)\]\]", "".join(EXAMPLES)))
    assert kinds == set(Receiver.model_fields) - {"name"}


def test_what_is_shown_is_what_is_sent() -> None:
    message, line = TEXTS
    settings = WebhookSink.model_validate({"url": "http://x"})
    made = Messages(settings, link="http://127.0.0.1:6067/").message(a_notification())
    assert made.text + "\n" == message
    assert f"`{made.title}`" in PAGE
    picked = [parse_picked(entry, "tags") for entry in ("storeId", "kind=payload.type")]
    assert f"{Lines('anomaly_alerts', picked, []).line(an_alert(), 'eu')}\n" == line


def test_names_of_templates() -> None:
    [table] = re.findall(r"^\| name \| is \|\n\|---\|---\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    names = [name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    of_alert = re.findall(r"`(\w+)`", table.partition("record in `anomaly.alerts`")[2].partition("|")[0])
    assert len(names) == 15 and len(of_alert) == 8
    for name in [*names, *(f"alert.{name}" for name in of_alert)]:
        counted: list[str] = []
        settings = WebhookSink.model_validate({"url": "http://x", "text": f"{{{{ {name} }}}}"})
        Messages(settings, count=counted.append).message(a_notification())
        assert not counted, name
