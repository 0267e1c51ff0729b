from __future__ import annotations

from pathlib import Path

import pytest
from notifications import a_notification

from anomaly_app.errors import SettingsError
from anomaly_app.settings import load_settings
from anomaly_app.sinks.registry import create_sinks

BEFORE = """\
[[delivery.receivers]]
name = "other"

[[delivery.receivers]]
name = "ops"
"""


def create(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "anomaly.toml"
    file.write_text(BEFORE + text)
    loaded = load_settings(config_file=file, environ={})
    return [key for key, _ in create_sinks(loaded.settings.delivery.receivers[1], loaded)]


def test_a_receiver_has_all_of_its_sinks(tmp_path: Path) -> None:
    text = '[[delivery.receivers.webhook]]\nurl = "http://a/"\n[[delivery.receivers.webhook]]\nurl = "http://b/"\n'
    assert create(tmp_path, text) == ["ops/webhook/0", "ops/webhook/1"]


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ("", "url", "is needed"),
        ('url = "ftp://hidden-host/x"', "url", "should be an address that begins with http:// or https://"),
        ('url = "http://"', "url", "should be an address"),
        ('url = "http://hidden host/"', "url", "should be an address"),
        ('url = "http://h:99999/"', "url", "should be an address"),
        ('url = "http://h/"\nheaders = { "X Y" = "a" }', "headers", "'X Y' has characters"),
        ('url = "http://h/"\nheaders = { X = "hidden\\r\\nY: b" }', "headers", "'X' has characters"),
        ('url = "http://h/"\ntoken = "hidden\\n"', "headers", "'Authorization' has characters"),
        (
            'url = "http://h/"\nheaders = { Content-Length = "3" }',
            "headers",
            "Content-Length is made with each request",
        ),
        ('url = "http://h/"\ntitle = "{{ alert"', "title", "line 1 of the template: "),
        ('url = "http://h/"\ntext = """a\n{% if %}"""', "text", "line 2 of the template: "),
    ],
)
def test_a_wrong_setting_is_named_with_its_place(tmp_path: Path, text: str, key: str, problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        create(tmp_path, f"[[delivery.receivers.webhook]]\n{text}\n")
    assert caught.value.key == f"delivery.receivers[1].webhook[0].{key}"
    assert f"{tmp_path / 'anomaly.toml'}, line " in str(caught.value)
    assert problem in str(caught.value) and "hidden" not in str(caught.value)


def test_a_file_of_certificates_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(SettingsError, match="cannot be read as certificates in PEM form"):
        create(tmp_path, f'[[delivery.receivers.webhook]]\nurl = "https://h/"\nca_file = "{tmp_path}/ca.pem"\n')


async def test_what_happens_beside_is_counted_by_sink(tmp_path: Path) -> None:
    file = tmp_path / "anomaly.toml"
    file.write_text(
        '[[delivery.receivers]]\nname = "ops"\n'
        '[[delivery.receivers.webhook]]\nurl = "http://127.0.0.1:9/"\ntext = "{{ x }}"'
    )
    loaded = load_settings(config_file=file, environ={})
    counted: list[tuple[str, str]] = []
    [(_, sink)] = create_sinks(
        loaded.settings.delivery.receivers[0], loaded, count=lambda key, what: counted.append((key, what))
    )
    with pytest.raises(Exception, match="cannot be reached"):
        await sink.send(a_notification())  # type: ignore[union-attr]
    await sink.close()
    assert counted == [("ops/webhook/0", "template_failed")]


@pytest.mark.parametrize(
    ("kind", "text", "option"),
    [
        ("influxdb", 'title = "x"', "title"),
        ("influxdb", "send_resolved = true", "send_resolved"),
        ("alertmanager", "max_per_minute = 3", "max_per_minute"),
        ("alertmanager", 'text = "x"', "text"),
    ],
)
def test_settings_that_mean_nothing_are_refused(tmp_path: Path, kind: str, text: str, option: str) -> None:
    with pytest.raises(SettingsError, match=f"means nothing to {kind}, which gets every alert singly") as caught:
        create(tmp_path, f"[[delivery.receivers.{kind}]]\n{text}\n")
    assert caught.value.key == f"delivery.receivers[1].{kind}[0].{option}"
