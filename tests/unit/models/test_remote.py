"""What is sent to remote models, and what their answers mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from anomaly_app import Session
from anomaly_app.errors import DataError, SqlValidationError
from anomaly_app.models.model import RemoteModel
from anomaly_app.models.remote import AnswerError

ENDPOINT = "https://models.example.com/v1"


def remote(columns: str, options: str, connection: str = "") -> RemoteModel:
    session = Session(connections={"c": {"endpoint": ENDPOINT, "api_key": "k-1"}})
    provider = options.split("'")[3]
    session.execute(f"CREATE MODEL m {columns} WITH ({options}, '{provider}.connection' = 'c'{connection})")
    model = session.catalog.model(("m",))
    assert model is not None
    assert model.remote is not None
    return model.remote


def asked(model: RemoteModel, body: bytes, rows: int) -> list[Any]:
    """What an answer says; raises what is wrong with one of its rows."""
    found = model.answer(body, rows)
    for one in found:
        if isinstance(one, DataError):
            raise one
    return found


def sent(model: RemoteModel, *rows: tuple[Any, ...]) -> Any:
    return json.loads(model.request(rows).body)


def test_azure_ml() -> None:
    model = remote("INPUT (amount FLOAT, code STRING) OUTPUT (fraud INT)", "'provider' = 'azureml'")
    request = model.request([(1.5, "W"), (None, None), (float("nan"), "x")])
    assert json.loads(request.body) == {
        "input_data": {"columns": ["amount", "code"], "data": [[1.5, "W"], [None, None], [None, "x"]]}
    }
    assert (request.url, request.headers["Authorization"]) == (ENDPOINT, "Bearer k-1")
    assert model.answer(b"[0, 1, 1]", 3) == [(0,), (1,), (1,)]
    assert model.answer(b'"[0, 1]"', 2) == [(0,), (1,)], "some scripts give JSON within JSON"
    assert model.answer(b'[{"fraud": 1}]', 1) == [(1,)]
    assert model.answer(b"[[1]]", 1) == [(1,)]


def test_azure_ml_with_several_outputs() -> None:
    columns = "INPUT (a INT) OUTPUT (fraud INT, score DOUBLE)"
    model = remote(columns, "'provider' = 'azureml'")
    assert model.answer(b"[[1, 0.75], [0, 0.25]]", 2) == [(1, 0.75), (0, 0.25)]
    assert model.answer(b"[1, 0.75]", 1) == [(1, 0.75)]
    assert model.answer(b'[{"score": 0.75, "fraud": true}]', 1) == [(1, 0.75)]


@pytest.mark.parametrize(
    ("body", "rows", "problem"),
    [
        (b"<html><body>Sign in</body></html>", 1, "no JSON; the answer begins '<html><body>Sign in</body></html>'"),
        (b'["fraud"]', 1, "'fraud' is no INT; the answer begins"),
        (b"[0, 1]", 3, "gives 2 results for 3 rows"),
        (b"[]", 1, "gives 0 results for 1 row;"),
        (b'{"error": "key k-1 is too old"}', 1, r"no list of results; the answer begins .*key \*\*\*\*\*\* is too old"),
        (b"[1.5]", 1, "1.5 is no INT"),
        (b"[3000000000]", 1, "3000000000 is no INT"),
        (b'[{"other": 1}]', 1, "is no INT"),
        (b"\xff\xfe", 1, "no JSON"),
    ],
)
def test_answers_that_are_none_show_their_beginning(body: bytes, rows: int, problem: str) -> None:
    model = remote("INPUT (a INT) OUTPUT (fraud INT)", "'provider' = 'azureml'")
    with pytest.raises(AnswerError, match=problem):
        asked(model, body, rows)


def test_one_wrong_row_leaves_the_others() -> None:
    model = remote("INPUT (a INT) OUTPUT (fraud INT)", "'provider' = 'azureml'")
    first, second, third = model.answer(b'[0, "fraud", 1]', 3)
    assert (first, third) == ((0,), (1,))
    assert isinstance(second, AnswerError)


def test_a_long_answer_is_cut() -> None:
    model = remote("INPUT (a INT) OUTPUT (fraud INT)", "'provider' = 'azureml'")
    with pytest.raises(DataError) as failed:
        model.answer(b"x" * 100_000, 1)
    assert len(str(failed.value)) < 500


def test_openai_chat() -> None:
    model = remote(
        "INPUT (text STRING) OUTPUT (mood STRING)",
        "'provider' = 'openai', 'openai.model' = 'small', 'openai.system_prompt' = 'One word.', "
        "'openai.params' = '{\"temperature\": 0}'",
    )
    assert sent(model, ("fine",)) == {
        "model": "small", "temperature": 0,
        "messages": [{"role": "system", "content": "One word."}, {"role": "user", "content": "fine"}],
    }  # fmt: skip
    assert model.batch_rows == 1
    answer = {"choices": [{"message": {"role": "assistant", "content": " good\n"}}]}
    assert model.answer(json.dumps(answer).encode(), 1) == [("good",)]
    with pytest.raises(AnswerError, match=r"the answer has no choices\[0\]\.message\.content"):
        model.answer(b'{"choices": []}', 1)


def test_openai_with_several_columns_speaks_json() -> None:
    model = remote(
        "INPUT (a STRING, n INT) OUTPUT (mood STRING, score DOUBLE)", "'provider' = 'openai', 'openai.model' = 'small'"
    )
    body = sent(model, ("fine", 3))
    assert body["response_format"] == {"type": "json_object"}
    assert json.loads(body["messages"][-1]["content"]) == {"a": "fine", "n": 3}
    assert "mood (STRING), score (DOUBLE)" in body["messages"][0]["content"]

    def answer(text: str) -> bytes:
        return json.dumps({"choices": [{"message": {"content": text}}]}).encode()

    assert model.answer(answer('{"mood": "good", "score": "0.5"}'), 1) == [("good", 0.5)]
    for fenced in ('```json\n{"mood": "good", "score": 1}\n```', '\n```\n{"mood": "good", "score": 1}```\n'):
        assert model.answer(answer(fenced), 1) == [("good", 1.0)]
    for text in ("sorry", "[1]", '{"mood": "good"}', '{"mood": "good", "score": "high"}'):
        with pytest.raises(AnswerError):
            asked(model, answer(text), 1)


def test_embeddings() -> None:
    model = remote(
        "INPUT (text STRING) OUTPUT (v ARRAY<FLOAT>)",
        "'provider' = 'openai', 'openai.model' = 'e', 'task' = 'embedding'",
    )
    assert sent(model, ("fine",)) == {"model": "e", "input": "fine"}
    assert model.answer(b'{"data": [{"embedding": [0.5, 1]}]}', 1) == [([0.5, 1.0],)]
    with pytest.raises(SqlValidationError, match="has one OUTPUT column, an ARRAY<FLOAT>"):
        remote(
            "INPUT (t STRING) OUTPUT (v STRING)", "'provider' = 'openai', 'openai.model' = 'e', 'task' = 'embedding'"
        )


def test_rest_one_row_at_a_time() -> None:
    model = remote(
        "INPUT (a INT, b STRING) OUTPUT (score DOUBLE)",
        "'provider' = 'rest', 'rest.request_path' = '$.row', 'rest.response_path' = '$.result[0].score', "
        "'rest.params' = '{\"version\": 3}'",
    )
    assert sent(model, (1, "x")) == {"version": 3, "row": {"a": 1, "b": "x"}}
    assert model.answer(b'{"result": [{"score": 0.5}]}', 1) == [(0.5,)]
    with pytest.raises(AnswerError, match=r"the answer has no result\.0\.score"):
        model.answer(b'{"result": []}', 1)


@pytest.mark.parametrize("path", ["r..[", "$.a.", "a b", "$[*].score", "a[x]", "$..score", "a['b"])
@pytest.mark.parametrize("option", ["rest.request_path", "rest.response_path"])
def test_what_is_no_path_is_told_at_once(option: str, path: str) -> None:
    with pytest.raises(SqlValidationError, match=f"'{option}' must be a path of names and numbers, such as"):
        remote(
            "INPUT (a INT) OUTPUT (s DOUBLE)",
            f"'provider' = 'rest', '{option}' = '{path.replace(chr(39), chr(39) * 2)}'",
        )


def test_rest_in_batches() -> None:
    model = remote(
        "INPUT (a INT) OUTPUT (score DOUBLE, label STRING)",
        "'provider' = 'rest', 'rest.batch_size' = '50', 'rest.request_path' = 'instances', "
        "'rest.response_path' = 'predictions'",
    )
    assert model.batch_rows == 50
    assert sent(model, (1,), (2,)) == {"instances": [{"a": 1}, {"a": 2}]}
    body = b'{"predictions": [{"score": 1, "label": "x"}, {"score": 2, "label": 7}]}'
    assert model.answer(body, 2) == [(1.0, "x"), (2.0, "7")]


def test_providers_that_need_more_than_a_key_say_what_and_work_with_one() -> None:
    for provider, missing in (("sagemaker", "Signature V4"), ("bedrock", "API key"), ("vertexai", "short-lived")):
        session = Session(connections={"c": {"endpoint": ENDPOINT}})
        with pytest.raises(SqlValidationError, match=f"the provider '{provider}' lacks a key: .*{missing}"):
            session.execute(
                f"CREATE MODEL m INPUT (a INT) OUTPUT (b INT) WITH ('provider' = '{provider}', 'connection' = 'c')"
            )
        model = remote("INPUT (a INT) OUTPUT (b INT)", f"'provider' = '{provider}'")
        assert model.request([(1,)]).headers["Authorization"] == "Bearer k-1"


def test_azure_openai_has_a_header_of_its_own() -> None:
    model = remote("INPUT (t STRING) OUTPUT (b STRING)", "'provider' = 'azureopenai'")
    assert model.request([("x",)]).headers["api-key"] == "k-1"


def test_flinks_open_form_without_connection() -> None:
    session = Session()
    session.execute(
        f"CREATE MODEL m INPUT (t STRING) OUTPUT (b STRING) WITH ('provider' = 'openai', 'endpoint' = '{ENDPOINT}', "
        "'api-key' = '${env:HOME}', 'model' = 'small', 'system-prompt' = 'Short.', 'task' = 'text_generation')"
    )
    model = session.catalog.model(("m",))
    assert model is not None
    assert model.remote is not None
    assert sent(model.remote, ("x",))["messages"][0] == {"role": "system", "content": "Short."}
