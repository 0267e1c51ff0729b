"""Calls of remote models: order, batches, failures, time-outs, the circuit, and what is counted."""

from __future__ import annotations

import time
from typing import Any

import pytest
from model_thread import ModelThread

from anomaly_app import Rows, Session
from anomaly_app.errors import DataError
from anomaly_app.models.client import LOOP, CallError, Callers
from anomaly_app.models.model import Model

COLUMNS = [("a", "INT"), ("b", "DOUBLE"), ("c", "STRING")]
ASK = "SELECT a, total FROM t, LATERAL TABLE(ML_PREDICT('m', a, b, c{}))"


def asking(url: str, rows: list[tuple[Any, ...]], options: str = "", key: str = "k-1") -> Session:
    session = Session({"t": Rows(columns=COLUMNS, rows=rows)}, connections={"c": {"endpoint": url, "api_key": key}})
    session.execute(
        "CREATE MODEL m INPUT (a INT, b DOUBLE, c STRING) OUTPUT (total DOUBLE) "
        f"WITH ('provider' = 'azureml', 'azureml.connection' = 'c'{options})"
    )
    return session


def some(count: int) -> list[tuple[Any, ...]]:
    return [(number, number / 4, "x" if number % 3 else None) for number in range(count)]


def expected(count: int) -> list[tuple[int, float]]:
    return [(number, number * 1.25) for number in range(count)]


def model_of(session: Session) -> Model:
    model = session.catalog.model(("m",))
    assert model is not None
    return model


def test_rows_come_in_their_order_in_batches() -> None:
    with ModelThread(key="k-1", latency_ms=1) as server:
        session = asking(server.url, some(3_000))
        assert session.execute(ASK.format("")).rows == expected(3_000)
        stats = server.server.stats()
        assert (stats["rows"], stats["again"]) == (3_000, 0)
        assert stats["calls"] == 94
        counted = model_of(session).stats
        assert (counted.rows, counted.calls, counted.errors, counted.retries) == (3_000, 94, 0, 0)
        assert sum(counted.latencies) == 94
        assert counted.latency_s >= 0.094


def test_no_more_calls_at_a_time_than_wanted() -> None:
    most = now = 0

    def score(columns: Any, rows: Any) -> list[float]:
        nonlocal most, now
        now += 1
        most = max(most, now)
        time.sleep(0.002)
        now -= 1
        return [0.0] * len(rows)

    with ModelThread(score, latency_ms=5) as server:
        session = asking(server.url, some(40), ", 'batch_size' = '1', 'max_parallelism' = '4'")
        begun = time.monotonic()
        session.execute(ASK.format(""))
        assert time.monotonic() - begun >= 40 / 4 * 0.005
        assert server.server.calls == 40


def test_a_server_that_takes_one_row_at_a_time_is_found_out() -> None:
    with ModelThread(one_row=True) as server:
        session = asking(server.url, some(100), ", 'max_parallelism' = '1'")
        assert session.execute(ASK.format("")).rows == expected(100)
        assert server.server.stats()["sizes"] == {1: 100}
        assert server.server.calls == 101, "one call had too many rows"


def test_failures_that_pass_are_tried_again() -> None:
    with ModelThread(fail=0.4, status=503) as server:
        session = asking(server.url, some(300), ", 'retry_count' = '30', 'breaker_failures' = '0'")
        assert session.execute(ASK.format("")).rows == expected(300)
        counted = model_of(session).stats
        assert counted.retries == counted.refused > 0
        assert server.server.stats()["again"] == 0


def test_too_many_requests_says_when() -> None:
    with ModelThread(fail=1.0, status=429, retry_after=0.05) as server:
        session = asking(server.url, some(1), ", 'retry_count' = '2'")
        with pytest.raises(DataError, match=r"model m\$1 was asked 3 times: .* answers 429; the answer begins 'out of"):
            session.execute(ASK.format(""))
        assert server.server.calls == 3


def test_a_call_that_hangs_is_given_up() -> None:
    with ModelThread(hang=1.0) as server:
        session = asking(server.url, some(1))
        with pytest.raises(DataError, match=r"did not answer within 0\.1 s"):
            session.execute(ASK.format(", map['client_timeout', '100 ms', 'retry_count', 1]"))
        assert server.server.calls == 2


def test_a_refusal_is_final_and_shows_no_key() -> None:
    with ModelThread(key="k-other") as server:
        session = asking(server.url, some(1))
        with pytest.raises(DataError, match="answers 401") as failed:
            session.execute(ASK.format(""))
        assert "k-1" not in str(failed.value)
        assert server.server.calls == 1


def test_a_page_in_place_of_an_answer() -> None:
    with (
        ModelThread(html=1.0) as server,
        pytest.raises(DataError, match="no JSON; the answer begins '<html><body>Sign"),
    ):
        asking(server.url, some(1)).execute(ASK.format(""))


def test_nobody_there() -> None:
    session = asking("http://127.0.0.1:9", some(1))
    with pytest.raises(DataError, match=r"was asked 1 time: .*127\.0\.0\.1:9 cannot be reached"):
        session.execute(ASK.format(", map['retry_count', 0]"))


def test_nulls_in_place_of_failures() -> None:
    def score(columns: Any, rows: Any) -> list[Any]:
        return ["bad" if row[0] % 5 == 0 else row[0] for row in rows]

    with ModelThread(score) as server:
        session = asking(server.url, some(50), ", 'error_handling' = 'null'")
        rows = session.execute(ASK.format("")).rows
        assert rows == [(number, None if number % 5 == 0 else float(number)) for number in range(50)]
        counted = model_of(session).stats
        assert (counted.rows, counted.errors) == (40, 10)
        assert "'bad' is no DOUBLE" in counted.problem
        assert server.server.stats()["again"] == 0, "the rows beside a wrong one are not asked again"


def test_an_open_circuit_leaves_the_model_alone_and_closes_again() -> None:
    with ModelThread(fail=1.0) as server:
        options = "'retry_count', 0, 'breaker_failures', 5, 'breaker_timeout', '200 ms', 'client_timeout', '300 ms', "
        options += "'max_parallelism', 3, 'error_handling', 'null', 'batch_size', 1"
        session = asking(server.url, some(8))
        found = session.execute(ASK.format(f", map[{options}]")).rows
        assert found == [(number, None) for number in range(8)]
        # Five failures open it, perhaps two more were under way; then one in 200 ms is tried.
        assert server.server.calls <= 5 + 2 + 2
        assert model_of(session).stats.is_open
        server.behave(fail=0.0)
        assert session.execute(ASK.format(f", map[{options}]")).rows == expected(8)
        assert not model_of(session).stats.is_open


@pytest.mark.timeout(60)
def test_while_the_circuit_is_open_rows_behind_others_wait_no_longer_than_these() -> None:
    options = "'retry_count', 0, 'breaker_failures', 3, 'breaker_timeout', '1 h', 'client_timeout', '500 ms', "
    options += "'max_parallelism', 2, 'error_handling', 'null', 'batch_size', 1"
    with ModelThread(fail=1.0) as server:
        session = asking(server.url, some(1_000))
        # Two at a time, each for half a second, would be four minutes.
        assert session.execute(ASK.format(f", map[{options}]")).rows == [(number, None) for number in range(1_000)]
        assert server.server.calls <= 5


def test_no_more_calls_per_second_than_wanted() -> None:
    with ModelThread() as server:
        session = asking(server.url, some(20), ", 'batch_size' = '1'")
        begun = time.monotonic()
        assert session.execute(ASK.format(", map['max_calls_per_second', 100]")).rows == expected(20)
        assert time.monotonic() - begun >= 0.19


def test_models_behind_one_another() -> None:
    with ModelThread(latency_ms=2) as server:
        session = asking(server.url, some(200))
        session.execute("CREATE VIEW once AS SELECT a, total FROM t, LATERAL TABLE(ML_PREDICT('m', a, b, c))")
        twice = session.execute(
            "SELECT o.a, p.total FROM once o, LATERAL TABLE(ML_PREDICT('m', CAST(o.total AS INT), 0, '')) AS p(total)"
        )
        assert twice.rows == [(number, float(int(number * 1.25))) for number in range(200)]


def test_a_fault_of_ours_ends_the_row_and_not_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    with ModelThread() as server:
        session = asking(server.url, some(1))

        def broken(rows: Any) -> Any:
            raise RuntimeError("a fault")

        monkeypatch.setattr(model_of(session).remote, "request", broken)
        with pytest.raises(CallError, match="RuntimeError: a fault"):
            session.execute(ASK.format(""))


def test_what_is_asked_when_the_last_call_has_just_ended_is_asked_too() -> None:
    with ModelThread() as server:
        model = model_of(asking(server.url, []))

        async def main() -> None:
            import asyncio

            from anomaly_app.graph.asked import Failure, Question
            from anomaly_app.models.options import CallOptions

            done = asyncio.Event()
            callers = Callers(Failure, lambda question: done.set())
            for number in range(200):
                question = Question(model, CallOptions(parallelism=1), [(0, number)], [(number, 1.0, "x")])
                callers.ask(question)
                await asyncio.wait_for(done.wait(), 10)
                done.clear()
                assert not question.left
            await callers.close()

        LOOP.run(main())


def test_callers_are_closed_while_calls_are_under_way() -> None:
    with ModelThread(hang=1.0) as server:
        model = model_of(asking(server.url, []))

        async def main() -> None:
            from anomaly_app.graph.asked import Failure, Question
            from anomaly_app.models.options import CallOptions

            callers = Callers(Failure, lambda question: None)
            question = Question(model, CallOptions(), [(0, 0)], [(1, 1.0, "x")])
            callers.ask(question)
            import asyncio

            await asyncio.sleep(0.05)
            await callers.close()
            assert question.left == 1

        LOOP.run(main())
