"""Settings: where values come from, which wins, and what wrong ones say."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from anomaly_app.errors import SettingsError
from anomaly_app.settings import KEYS, SECRETS, LoadedSettings, Settings, load_settings

SECRET = "hunter2-do-not-print"


@pytest.fixture(autouse=True)
def empty_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = "anomaly.toml") -> str:
    Path(name).write_text(text)
    return name


def test_without_anything_every_value_is_its_default() -> None:
    loaded = load_settings(environ={})
    assert loaded.settings == Settings()
    assert set(loaded.origins) == set(KEYS)
    assert set(loaded.origins.values()) == {"default"}


def test_command_line_beats_environment_beats_file_beats_default() -> None:
    write('[web]\nport = 1001\nbind = "0.0.0.0"\n[worker]\napp_id = "file"\nbatch_rows = 7\n')
    environ = {"ANOMALY_WEB__PORT": "1002", "ANOMALY_WORKER__APP_ID": "env"}
    loaded = load_settings({"web.port": "1003"}, environ=environ)
    assert (loaded.settings.web.port, loaded.origins["web.port"]) == (1003, "command line")
    assert (loaded.settings.worker.app_id, loaded.origins["worker.app_id"]) == (
        "env",
        "environment ANOMALY_WORKER__APP_ID",
    )
    assert (loaded.settings.worker.batch_rows, loaded.origins["worker.batch_rows"]) == (7, "anomaly.toml")
    assert (loaded.settings.web.enabled, loaded.origins["web.enabled"]) == (True, "default")


def test_the_file_named_in_the_environment_is_read_in_place_of_the_one_here() -> None:
    write("[web]\nport = 1\n")
    other = write("[web]\nport = 2\n", "other.toml")
    loaded = load_settings(environ={"ANOMALY_CONFIG": other})
    assert (loaded.settings.web.port, loaded.origins["web.port"]) == (2, "other.toml")
    assert load_settings(config_file="anomaly.toml", environ={"ANOMALY_CONFIG": other}).settings.web.port == 1


def test_lists_are_arrays_in_the_file_and_comma_separated_elsewhere() -> None:
    write('[worker]\njobs = ["a.sql", "b.sql"]\n')
    assert load_settings(environ={}).settings.worker.jobs == (Path("a.sql"), Path("b.sql"))
    loaded = load_settings(environ={"ANOMALY_WORKER__JOBS": "c.sql, d.sql"})
    assert loaded.settings.worker.jobs == (Path("c.sql"), Path("d.sql"))


@pytest.mark.parametrize(
    ("environ", "nearest"),
    [
        ({"ANOMALY_KAFKA__BOOTSTRAP_SERVER": "x:1"}, "ANOMALY_KAFKA__BOOTSTRAP_SERVERS"),
        ({"ANOMALY_KAFKA_BOOTSTRAP_SERVERS": "x:1"}, "ANOMALY_KAFKA__BOOTSTRAP_SERVERS"),
        ({"ANOMALY_WEB__PROT": "1"}, "ANOMALY_WEB__PORT"),
        ({"ANOMALY_WBE__PORT": "1"}, "ANOMALY_WEB__PORT"),
    ],
)
def test_an_unknown_variable_names_the_nearest_one(environ: dict[str, str], nearest: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ=environ)
    assert caught.value.origin == f"environment {next(iter(environ))}"
    assert caught.value.problem.endswith(f"did you mean {nearest}?")


def test_variables_of_other_tools_are_left_alone() -> None:
    environ = {"ANOMALY_GOLDEN": "x", "ANOMALYX": "x", "PATH": "x"}
    assert load_settings(environ=environ).settings == Settings()


def test_unknown_keys_of_the_file_and_the_command_line_are_errors() -> None:
    with pytest.raises(SettingsError, match=r"web\.prot \(from command line\).*did you mean web\.port\?"):
        load_settings({"web.prot": "1"}, environ={})
    write("[wbe]\nport = 1\n")
    with pytest.raises(SettingsError, match=r"wbe\.port \(from anomaly\.toml\).*did you mean web\.port\?"):
        load_settings(environ={})


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("web.port", "70000", "65535"),
        ("web.port", "http", "integer"),
        ("kafka.bootstrap_servers", "localhost", "host:port"),
        ("kafka.security_protocol", "TLS", "'PLAINTEXT'"),
        ("worker.startup", "earliest", "'earliest-offset'"),
        ("worker.batch_rows", "0", "greater than or equal to 1"),
        ("kafka.ssl_ca_file", "/no/such/file", "file"),
        ("registry.url", "localhost:8080", "should begin with http:// or https://"),
        ("worker.app_id", "a b", "should be a name of letters"),
    ],
)
def test_a_wrong_value_names_its_key_origin_and_what_is_right(key: str, value: str, problem: str) -> None:
    variable = "ANOMALY_" + key.upper().replace(".", "__")
    with pytest.raises(SettingsError) as caught:
        load_settings(environ={variable: value})
    assert (caught.value.key, caught.value.origin) == (key, f"environment {variable}")
    assert problem in caught.value.problem
    assert value in caught.value.problem


@pytest.mark.parametrize("text", ["[web\n", "web = 1\n"])
def test_a_broken_file_is_named(text: str) -> None:
    write(text)
    with pytest.raises(SettingsError, match=r"anomaly\.toml"):
        load_settings(environ={})


def test_a_missing_named_file_is_an_error() -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml.*cannot be read: No such file"):
        load_settings(environ={"ANOMALY_CONFIG": "nowhere.toml"})


def test_a_section_is_not_a_value() -> None:
    with pytest.raises(SettingsError, match="is a section"):
        load_settings(environ={"ANOMALY_WEB": "1"})


def printed(loaded: LoadedSettings) -> str:
    return f"{loaded!r} {loaded} {loaded.settings!r} {loaded.settings} {list(loaded.shown())}"


def test_secrets_are_masked_wherever_settings_are_printed() -> None:
    loaded = load_settings({key: SECRET for key in SECRETS}, environ={})
    assert loaded.settings.kafka.sasl_password.get_secret_value() == SECRET
    assert SECRET not in printed(loaded)
    masked = {shown.key for shown in loaded.shown() if shown.value == "********"}
    assert masked == SECRETS


@pytest.mark.parametrize("other", [{"web.port": "x"}, {"web.prot": "x"}, {"kafka.security_protocol": "SASL_SSL"}])
def test_secrets_are_in_no_error(other: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"kafka.sasl_password": SECRET, **other}, environ={})
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_secret_of_the_wrong_type_is_not_quoted() -> None:
    write("[registry]\npassword = 12345678\n")
    with pytest.raises(SettingsError, match=r"registry\.password \(from anomaly\.toml\)") as caught:
        load_settings(environ={})
    assert "12345678" not in "".join(traceback.format_exception(caught.value))


def test_a_secret_may_stand_in_a_file() -> None:
    write(SECRET + "\n", "password")
    write('[kafka]\nsasl_password = "from the settings file"\n')
    loaded = load_settings(environ={"ANOMALY_KAFKA__SASL_PASSWORD_FILE": "password"})
    assert loaded.settings.kafka.sasl_password.get_secret_value() == SECRET
    assert loaded.origins["kafka.sasl_password"] == "environment ANOMALY_KAFKA__SASL_PASSWORD_FILE, file password"
    assert SECRET not in printed(loaded)


def test_a_missing_secret_file_and_a_secret_given_twice_are_errors() -> None:
    with pytest.raises(SettingsError, match=r"kafka\.sasl_password_file.*No such file"):
        load_settings({"kafka.sasl_password_file": "nowhere"}, environ={})
    with pytest.raises(SettingsError, match="one of them"):
        load_settings({"kafka.sasl_password_file": "x", "kafka.sasl_password": SECRET}, environ={})


def test_settings_that_need_each_other() -> None:
    with pytest.raises(SettingsError, match=r"kafka\.sasl_username .*SASL_SSL"):
        load_settings({"kafka.security_protocol": "SASL_SSL"}, environ={})
    write("-", "cert.pem")
    with pytest.raises(SettingsError, match=r"kafka\.ssl_key_file .*both"):
        load_settings({"kafka.ssl_cert_file": "cert.pem"}, environ={})


def test_how_long_sources_may_be_silent() -> None:
    assert load_settings(environ={}).settings.alerts.silences == {}
    environ = {"ANOMALY_ALERTS__SILENCE_AFTER": "5 min, sales = 30 s, db.archive=off"}
    expected = {"": 300_000, "sales": 30_000, "db.archive": 0}
    assert load_settings(environ=environ).settings.alerts.silences == expected
    write('[alerts]\nsilence_after = ["5 min", "sales = 30 s", "db.archive = off"]\n')
    assert load_settings(environ={}).settings.alerts.silences == expected


@pytest.mark.parametrize("value", ["soon", "sales=", "= 5 s", "5 s, 6 s", "sales = 5 s, sales = 6 s"])
def test_what_is_no_length_of_silence(value: str) -> None:
    with pytest.raises(SettingsError, match=r"alerts\.silence_after \(from command line\)"):
        load_settings({"alerts.silence_after": value}, environ={})


DELIVERY = """\
[delivery]
tenant = "north"
[delivery.route]
receiver = "ops"
[[delivery.route.routes]]
matchers = ['severity="critical"']
continue = true
group_wait = "1m30s"
[[delivery.receivers]]
name = "ops"
[[delivery.receivers.slack]]
url_file = "slack.url"
"""


def test_delivery_is_read_from_the_file_with_its_secrets_masked() -> None:
    write("https://hooks.example/" + SECRET, "slack.url")
    write(DELIVERY)
    loaded = load_settings(environ={})
    delivery = loaded.settings.delivery
    assert (delivery.route.routes[0].continue_, delivery.route.routes[0].group_wait) == (True, 90_000)
    assert delivery.receivers[0].slack[0].url.get_secret_value() == "https://hooks.example/" + SECRET
    assert SECRET not in repr(loaded) and SECRET not in str(list(loaded.shown()))
    assert loaded.origins["delivery.receivers"] == "anomaly.toml"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            '"1m30s"',
            '"soon"',
            "delivery.route.routes[0].group_wait (from anomaly.toml, line 8): 'soon' should be a dura",
        ),
        ("continue", "continues", "delivery.route.routes[0].continues (from anomaly.toml, line 7): there is no such"),
        ('name = "ops"', 'name = "the ops"', "should be a name of letters, digits, '.', '_' and '-'"),
        ("url_file", "url_fil", "line 12): there is no such setting; did you mean url_file?"),
        (
            "slack.url",
            "gone.url",
            "delivery.receivers[0].slack[0] (from anomaly.toml, line 11): url_file: gone.url cannot",
        ),
        ("= true", "= 7", "7 should be a valid boolean"),
        ('tenant = "north"', "hold = -5", "delivery.hold (from anomaly.toml): -5 should be greater"),
    ],
)
def test_a_fault_within_a_table_names_its_place(old: str, new: str, said: str) -> None:
    write("x", "slack.url")
    write(DELIVERY.replace(old, new))
    with pytest.raises(SettingsError) as caught:
        load_settings(environ={})
    assert said in str(caught.value)


def test_a_wrong_secret_in_a_table_is_not_told() -> None:
    write(DELIVERY.replace('url_file = "slack.url"', f'url = ["{SECRET}"]'))
    with pytest.raises(SettingsError) as caught:
        load_settings(environ={})
    assert SECRET not in str(caught.value) and "slack[0].url" in str(caught.value)


def test_tables_are_given_in_the_file_only() -> None:
    with pytest.raises(SettingsError, match=r"delivery.route .from command line.: is a table"):
        load_settings({"delivery.route": "x"}, environ={})
    assert load_settings({"delivery.port": "7000"}, environ={}).settings.delivery.port == 7000


def test_what_turns_out_wrong_in_use_names_its_place_too() -> None:
    write("x", "slack.url")
    write(DELIVERY)
    error = load_settings(environ={}).error("delivery.route.routes[0].matchers[0]", "no")
    assert str(error) == "delivery.route.routes[0].matchers[0] (from anomaly.toml, line 6): no"


def test_parameters_of_job_files_have_any_name() -> None:
    Path("anomaly.toml").write_text(
        '[parameters]\nretail.refund.amount = 120\n"retail.gate.window" = "5 min"\nx = true\n'
    )
    loaded = load_settings({"parameters.x": "no"}, environ={"ANOMALY_PARAMETERS__RETAIL__REFUND__COUNT": "4"})
    assert loaded.settings.parameters == {
        "retail.refund.amount": "120", "retail.gate.window": "5 min", "retail.refund.count": "4", "x": "no",
    }  # fmt: skip
    assert [one for one in loaded.shown() if one.key == "parameters.x"] == [("parameters.x", "no", "command line")]
    given = load_settings({"parameters.retail.refund.count": "4"}, environ={})
    told = str(given.error("parameters.retail.refund.count", "is wrong"))
    assert told == "parameters.retail.refund.count (from command line): is wrong"
    assert loaded.origins["parameters.retail.refund.amount"] == "anomaly.toml"
    assert load_settings(environ={}).settings.parameters["x"] == "TRUE"


def test_a_parameter_without_its_section_is_told_where_it_belongs() -> None:
    with pytest.raises(SettingsError, match=r"say parameters\.retail\.refund\.count"):
        load_settings({"retail.refund.count": "4"}, environ={})
    Path("anomaly.toml").write_text("[parameters]\nlist = [1]\n")
    with pytest.raises(SettingsError, match=r"parameters\.list"):
        load_settings(environ={})
