"""CREATE, ALTER, DROP, SHOW and DESCRIBE of models and connections; secrets; versions."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from anomaly_app import Rows, Session
from anomaly_app.errors import SqlError, SqlValidationError
from anomaly_app.jobs.binder import bind_job
from anomaly_app.settings import load_settings

ENDPOINT = "https://fraud.example.com/score"
CONNECTION = f"CREATE CONNECTION azure WITH ('type' = 'azureml', 'endpoint' = '{ENDPOINT}', 'api-key' = '${{env:KEY}}')"
MODEL = """CREATE MODEL fraud INPUT (amount FLOAT, code STRING) OUTPUT (is_fraud INT) COMMENT 'it''s new' WITH (
    'provider' = 'azureml', 'task' = 'classification', 'azureml.connection' = 'azure')"""


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setenv("KEY", "k-secret")
    session = Session({"t": Rows(columns=[("a", "INT")], rows=[])})
    session.execute(CONNECTION)
    return session


def test_a_model_is_described_with_its_version_and_without_secrets(session: Session) -> None:
    session.execute(MODEL)
    told = session.execute("DESCRIBE MODEL fraud")
    assert [name for name, _ in told.columns][:2] == ["version", "default"]
    assert told.rows == [
        (1, True, "amount FLOAT, code STRING", "is_fraud INT", "azureml", "classification",
         "azureml.connection = azure", "it's new"),
    ]  # fmt: skip
    assert session.execute("SHOW MODELS").rows == [("fraud",)]
    assert session.execute("SHOW MODELS LIKE 'x%'").rows == []
    assert session.execute("SHOW CONNECTIONS").rows == [("azure",)]


def test_creating_a_model_again_makes_a_version_and_the_first_stays_the_default(session: Session) -> None:
    session.execute(MODEL)
    session.execute(MODEL.replace("is_fraud INT", "is_fraud INT, score DOUBLE"))
    session.execute(MODEL.replace("CREATE MODEL", "CREATE MODEL IF NOT EXISTS"))
    every = session.execute("DESCRIBE MODEL `fraud$all`").rows
    assert [(row[0], row[1]) for row in every] == [(1, True), (2, False)]
    session.execute("ALTER MODEL fraud SET ('default_version' = '2')")
    assert session.execute("DESCRIBE MODEL fraud").rows[0][3] == "is_fraud INT, score DOUBLE"
    assert session.execute("DESCRIBE MODEL fraud$1").rows[0][3] == "is_fraud INT"
    session.execute("DROP MODEL fraud$2")
    assert [(row[0], row[1]) for row in session.execute("DESC MODEL fraud$all").rows] == [(1, True)]
    session.execute(MODEL)
    assert [row[0] for row in session.execute("DESCRIBE MODEL fraud$all").rows] == [1, 3], "a number is used once"


def test_a_model_has_ten_versions_at_most(session: Session) -> None:
    for _ in range(10):
        session.execute(MODEL)
    with pytest.raises(SqlValidationError, match=r"has 10 versions, which is the most: DROP MODEL fraud\$1"):
        session.execute(MODEL)


def test_a_model_is_renamed_changed_and_dropped(session: Session) -> None:
    session.execute(MODEL)
    session.execute("ALTER MODEL fraud RENAME TO risk")
    session.execute("ALTER MODEL risk SET ('max_parallelism' = '7')")
    assert "max_parallelism = 7" in session.execute("DESCRIBE MODEL risk").rows[0][6]
    with pytest.raises(SqlValidationError, match="'max_parallelism' must be a whole number from 1 to 10,000, not 'x'"):
        session.execute("ALTER MODEL risk SET ('max_parallelism' = 'x')")
    session.execute("ALTER MODEL risk RESET ('max_parallelism')")
    assert "max_parallelism" not in session.execute("DESCRIBE MODEL risk").rows[0][6]
    session.execute("DROP MODEL risk")
    session.execute("DROP MODEL IF EXISTS risk")
    with pytest.raises(SqlValidationError, match="unknown model 'risk'"):
        session.execute("DROP MODEL risk")
    session.execute("DROP CONNECTION azure")
    assert session.execute("SHOW CONNECTIONS").rows == []


def test_show_create_can_be_carried_out_again(session: Session) -> None:
    session.execute(MODEL)
    text = session.execute("SHOW CREATE MODEL fraud").rows[0][0]
    session.execute("DROP MODEL fraud")
    session.execute(text)
    assert session.execute("SHOW CREATE MODEL fraud").rows[0][0] == text
    assert "${env:KEY}" in session.execute("SHOW CREATE CONNECTION azure").rows[0][0]


# --- secrets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["api-key", "api_key"])
def test_a_secret_in_sql_works_and_warns_and_is_masked(key: str, caplog: pytest.LogCaptureFixture) -> None:
    session = Session()
    text = f"CREATE CONNECTION c WITH ('type' = 'rest', 'endpoint' = '{ENDPOINT}', '{key}' = 'sk-123')"
    with caplog.at_level(logging.WARNING):
        session.execute(text)
    assert f"'{key}' of c is written in the SQL" in caplog.text
    assert "sk-123" not in caplog.text
    for told in ("DESCRIBE CONNECTION c", "SHOW CREATE CONNECTION c"):
        shown = str(session.execute(told).rows)
        assert "sk-123" not in shown
        assert "******" in shown
    session.execute("CREATE MODEL m INPUT (a INT) OUTPUT (b INT) WITH ('provider' = 'rest', 'rest.connection' = 'c')")
    assert "sk-123" not in str(session.execute("DESCRIBE MODEL m").rows)


def test_errors_do_not_quote_a_secret() -> None:
    with pytest.raises(SqlValidationError) as failed:
        Session().execute(
            "CREATE MODEL m INPUT (a INT) OUTPUT (b INT) WITH ('provider' = 'rest', 'api-key' = 'sk-123', 'x' = '')"
        )
    assert "sk-123" not in str(failed.value)
    assert "has no option 'x'" in str(failed.value)


def test_secrets_are_read_from_files_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("from-file\n")
    monkeypatch.setenv("KEY", "from-env")
    for value, wanted in ((f"${{file:{tmp_path}/key}}", "from-file"), ("${env:KEY}", "from-env")):
        session = Session()
        session.execute(f"CREATE CONNECTION c WITH ('type' = 'rest', 'endpoint' = '{ENDPOINT}', 'api-key' = '{value}')")
        session.execute("CREATE MODEL m INPUT (a INT) OUTPUT (b INT) WITH ('provider' = 'rest', 'connection' = 'c')")
        model = session.catalog.model(("m",))
        assert model is not None
        request = model.asked.request([(1,)])  # type: ignore[union-attr]  # it is a remote one
        assert request.headers["Authorization"] == f"Bearer {wanted}"
        assert wanted not in repr(request)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("${env:NO_SUCH_VARIABLE}", "the environment has no variable 'NO_SUCH_VARIABLE'"),
        ("${file:/no/such/file}", "file '/no/such/file' cannot be read"),
    ],
)
def test_a_secret_that_is_not_there_is_an_error_at_the_start(value: str, problem: str) -> None:
    session = Session()
    session.execute(f"CREATE CONNECTION c WITH ('type' = 'rest', 'endpoint' = '{ENDPOINT}', 'api-key' = '{value}')")
    with pytest.raises(SqlValidationError, match=problem):
        session.execute("CREATE MODEL m INPUT (a INT) OUTPUT (b INT) WITH ('provider' = 'rest', 'connection' = 'c')")


def test_connections_of_the_settings_come_first(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k-file\n")
    config = tmp_path / "anomaly.toml"
    config.write_text(
        f'[connections.azureml-fraud]\ntype = "azureml"\nendpoint = "{ENDPOINT}"\napi_key_file = "{tmp_path}/key"\n'
    )
    loaded = load_settings(config_file=config, environ={"ANOMALY_CONNECTIONS__OTHER__API_KEY": "k-env"})
    shown = {one.key: one.value for one in loaded.shown()}
    assert shown["connections.azureml-fraud.api_key"] == "********"
    assert shown["connections.azureml-fraud.endpoint"] == ENDPOINT
    assert loaded.settings.connection_options["other"] == {"api_key": "k-env"}
    session = Session(connections=loaded.settings.connection_options)
    session.execute(
        "CREATE MODEL m INPUT (a INT) OUTPUT (b INT) WITH ('provider' = 'azureml', "
        "'azureml.connection' = 'azureml-fraud')"
    )
    model = session.catalog.model(("m",))
    assert model is not None
    assert model.asked.request([(1,)]).headers["Authorization"] == "Bearer k-file"  # type: ignore[union-attr]
    assert ("api_key", "******") in session.execute("DESCRIBE CONNECTION `azureml-fraud`").rows


# --- what is wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "problem", "marked"),
    [
        ("CREATE MODEL m INPUT (a INT) OUTPUT (b INT) WITH ('task' = 'regression')", "has no option 'provider'", ""),
        ("CREATE MODEL m INPUT (a INT) OUTPUT (b INT) WITH ('provider' = 'onyx')", "did you mean 'onnx'", "'provider'"),
        (
            "CREATE MODEL m INPUT (a INT) OUTPUT (b INT) WITH ('provider' = 'rest', 'endpoint' = 'http://x', "
            "'task' = 'guess')",
            "'task' must be one of classification, regression",
            "'task'",
        ),
        (
            "CREATE MODEL m INPUT (a INT, a INT) OUTPUT (b INT) WITH ('provider' = 'rest')",
            "column 'a' is there twice",
            "a INT",
        ),
        ("CREATE MODEL m OUTPUT (b INT) WITH ('provider' = 'rest', 'endpoint' = 'http://x')", "has no INPUT", ""),
        ("CREATE MODEL m INPUT (a INT) WITH ('provider' = 'rest', 'endpoint' = 'http://x')", "has no OUTPUT", ""),
        ("CREATE MODEL m INPUT (a INT) OUTPUT (b INT) WITH ('provider' = 'rest')", "has no 'endpoint'", ""),
        (
            "CREATE MODEL m INPUT (a INT) OUTPUT (b INT) WITH ('provider' = 'rest', 'endpoint' = 'ftp://x')",
            "must begin with http",
            "'endpoint'",
        ),
        (
            "CREATE MODEL m INPUT (a INT) OUTPUT (b INT) WITH ('provider' = 'azureml', 'azureml.connection' = 'no')",
            "unknown connection 'no': CREATE CONNECTION it first, or set \\[connections.no\\]",
            "'azureml.connection'",
        ),
        (
            "CREATE MODEL m INPUT (a INT) OUTPUT (b INT) WITH ('provider' = 'sagemaker', 'endpoint' = 'https://x')",
            "AWS signs requests",
            "'provider'",
        ),
        (
            "CREATE MODEL m INPUT (a STRING) OUTPUT (b STRING) WITH ('provider' = 'openai', 'endpoint' = 'https://x')",
            "'openai.model' is missing",
            "",
        ),
        ("DESCRIBE MODEL m", "unknown model 'm'", "m"),
        ("DROP CONNECTION c", "unknown connection 'c'", "c"),
        ("ALTER MODEL m SET ('default_version' = '2')", "unknown model 'm'", "m"),
        ("SHOW CREATE MODEL m", "unknown model 'm'", "m"),
    ],
)
def test_what_is_wrong_is_told_and_pointed_at(sql: str, problem: str, marked: str) -> None:
    with pytest.raises(SqlError, match=problem) as failed:
        Session().execute(sql)
    assert sql[failed.value.start :].startswith(marked)


def test_a_connection_of_another_type_is_refused(session: Session) -> None:
    with pytest.raises(SqlValidationError, match="connection azure has the type 'azureml', and the provider"):
        session.execute(
            "CREATE MODEL m INPUT (a INT) OUTPUT (b INT) WITH ('provider' = 'rest', 'connection' = 'azure')"
        )


def test_connections_are_created_once_unless_replaced(session: Session) -> None:
    with pytest.raises(SqlValidationError, match="created twice: write CREATE OR REPLACE CONNECTION"):
        session.execute(CONNECTION)
    session.execute(CONNECTION.replace("CONNECTION", "CONNECTION IF NOT EXISTS"))
    session.execute(CONNECTION.replace("CREATE", "CREATE OR REPLACE").replace("/score", "/other"))
    assert ("endpoint", ENDPOINT.replace("/score", "/other")) in session.execute("DESCRIBE CONNECTION azure").rows
    session.execute("ALTER CONNECTION azure SET ('endpoint' = 'https://third.example.com')")
    assert ("endpoint", "https://third.example.com") in session.execute("DESCRIBE CONNECTION azure").rows


def test_state_of_a_query_is_not_taken_over_when_the_model_gives_something_else() -> None:
    def fingerprint(columns: str) -> str:
        job = bind_job(
            "CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = 't', 'format' = 'json');"
            f"CREATE MODEL m {columns} WITH ('provider' = 'rest', 'endpoint' = '{ENDPOINT}');"
            "SELECT b FROM t, LATERAL TABLE(ML_PREDICT('m', a))",
            name="job",
        )
        return job.plans[0].queries[0].fingerprint

    same = fingerprint("INPUT (a INT) OUTPUT (b INT)")
    assert fingerprint("INPUT (a INT) OUTPUT (b INT)") == same
    assert fingerprint("INPUT (a INT) OUTPUT (b STRING)") != same
    assert fingerprint("INPUT (a BIGINT) OUTPUT (b INT)") != same


def test_a_job_with_a_literal_secret_is_warned_of() -> None:
    job = bind_job(
        "CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = 't', 'format' = 'json');"
        f"CREATE CONNECTION c WITH ('type' = 'rest', 'endpoint' = '{ENDPOINT}', 'api-key' = 'sk-1'); SELECT a FROM t",
        name="job",
    )
    assert any("'api-key' of c is written in the SQL" in warning for warning in job.warnings)
    assert "sk-1" not in str(job.warnings)
