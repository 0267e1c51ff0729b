"""docs/alerting.md: every settings file on it is right, and what it shows is what is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from delivering import START, Play, alert, load

from anomaly_app.delivery.explain import describe, explain
from anomaly_app.delivery.routes import RouteTree
from anomaly_app.errors import SettingsError
from anomaly_app.settings.delivery import DeliverySettings

PAGE = (Path(__file__).parents[2] / "docs" / "alerting.md").read_text("utf-8")
FILES = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
TEXTS = re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
RECEIVERS = "".join(f'[[delivery.receivers]]\nname = "{name}"\n' for name in ("team", "pager"))


def whole(example: str, folder: Path) -> str:
    """An example, with the receivers that it takes for granted."""
    (folder / "centre").write_text("secret")
    names = [name for name in ("team", "pager") if f'name = "{name}"' not in example]
    receivers = "".join(f'[[delivery.receivers]]\nname = "{name}"\n' for name in names)
    root = "" if "[delivery.route]" in example else '[delivery.route]\nreceiver = "team"\n'
    return example.replace("/run/secrets", str(folder)) + root + receivers


@pytest.mark.parametrize("example", FILES, ids=range(len(FILES)))
def test_a_settings_file_is_right(example: str, tmp_path: Path) -> None:
    loaded = load(whole(example, tmp_path), tmp_path)
    tree = RouteTree.compile(loaded)
    assert tree.root.receiver is tree.receivers["team"]
    assert len(list(tree.root.walk())) == 1 + example.count("[[delivery.route.routes]]")


def test_there_are_examples() -> None:
    assert len(FILES) >= 8


def test_check_and_explain_say_what_the_page_shows(tmp_path: Path) -> None:
    play = Play(load(FILES[0], tmp_path))
    assert "\n".join(describe(play.tree)) + "\n" == TEXTS[2]
    found = explain(play.dispatcher, alert(0, severity="critical"), "eu-1", START)
    assert "\n".join(found.lines()) + "\n" == TEXTS[3]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            '[delivery.route]\nreceiver = "team"\n\n[[delivery.route.routes]]\nreceiver = "paper"\n' + RECEIVERS,
            TEXTS[1],
        ),
        (
            '[delivery.route]\nreceiver = "team"\n[[delivery.inhibit_rules]]\nsource_matchers = "severity=critical"\n'
            'target_matchers = "severity=low"\n[[delivery.inhibit_rules]]\nsource_matchers = "severity=low"\n'
            'target_matchers = "severity=critical"\n' + RECEIVERS,
            TEXTS[4],
        ),
    ],
)
def test_a_refusal_reads_as_the_page_says(
    text: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError) as found:
        RouteTree.compile(load(text, Path()))
    assert str(found.value) + "\n" == shown


def test_every_setting_is_on_the_page_with_its_default() -> None:
    table = PAGE.partition("## All of `[delivery]`")[2].partition("\n## ")[0]
    cells = [row.split("|")[1:3] for row in table.splitlines() if row.startswith("| `")]
    named = [re.findall(r"`(\w+)`", keys) for keys, _ in cells]
    assert sorted(name for names in named for name in names) == sorted(DeliverySettings.model_fields)
    for (_, default), names in zip(cells, named, strict=True):
        for name, value in zip(names, re.findall(r"`([^`]+)`", default), strict=False):
            set_ = getattr(DeliverySettings(), name)
            assert str(DeliverySettings.model_validate({name: value}).__getattribute__(name)) == str(set_)
