"""``anomaly detect`` judges the series of a file."""

from __future__ import annotations

import csv
import datetime
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomaly_app.cli import main
from anomaly_app.cli.detect_input import read_series
from anomaly_app.errors import DataError
from anomaly_app.multivariate.detector import MultivariateDetector

START = datetime.datetime(2026, 1, 1)
HEADER = ["order_id", "customer_id", "ts", "price", "items", "shop"]
OUTLIERS = ["--function", "detect_outliers", "--option", "minTrainingSize=50"]


def orders() -> list[list[str]]:
    """Of two customers; order 250 is dear, 251 has many items for its price, 252 comes from a new shop."""
    random = np.random.default_rng(1)
    rows = []
    for number in range(300):
        price = 140.0 if number == 250 else random.normal(50, 5)
        items = 9.5 if number == 251 else price / 10 + random.normal(0, 0.2)
        shop = "new" if number == 252 else f"shop {random.integers(5)}"
        when = START + datetime.timedelta(minutes=number)
        rows.append([str(number), str(3000 + number % 2), str(when), f"{price:.2f}", f"{items:.2f}", shop])
    return rows


def write(rows: list[list[str]], path: str = "orders.csv") -> None:
    with Path(path).open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    write(orders())


def lines(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["detect", *arguments, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def flagged(found: list[dict[str, Any]]) -> list[str]:
    return [line["row"]["price"] for line in found]


def test_the_table_shows_flagged_rows_with_forecast_and_band(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("anomaly_app.forecasting.functions")
    arguments = ["orders.csv", "--value", "price", "--time", "ts", "--by", "customer_id", "--confidence", "99.9"]
    assert main(["detect", *arguments, "--option", "minTrainingSize=50"]) == 0
    out, err = capsys.readouterr()
    header, *rows = [line.split() for line in out.splitlines()]
    assert header == ["ts", "customer_id", "price", "forecast", "lower", "upper"]
    (dear,) = [row for row in rows if row[:4] == ["2026-01-01", "04:10:00", "3000", "140.00"]]
    forecast, lower, upper = map(float, dear[4:])
    assert 30 < lower < forecast < upper < 70
    rate, summary = err.splitlines()
    assert rate == "99.9 % leaves 0.72 alarms a day by design, for each series at a point in 2 min, 1.4 for all 2"
    assert summary == f"300 rows of 2 series, {len(rows)} anomalies, 100 warming up, 0 unreadable"


def test_json_has_the_row_the_result_and_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(capsys, "orders.csv", "--value", "price", *OUTLIERS)
    (dear,) = [line for line in found if line["row"]["price"] == "140.00"]
    assert dear["row"] == {"ts": "2026-01-01 04:10:00", "price": "140.00"}
    assert dear["is_anomaly"] is True and dear["score"] > 2
    assert dear["result"]["score"] > 10 and dear["result"]["timestamp"] == "2026-01-01 04:10:00.000"
    assert list(dear["result"]["contributions"]) == ["price"]
    assert "price 140 (usual " in dear["explanation"]


def test_all_rows_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(capsys, "orders.csv", "--value", "price", *OUTLIERS, "--all")
    assert len(found) == 300
    assert [line["is_anomaly"] for line in found[:51]] == [None] * 50 + [False]
    assert main(["detect", "orders.csv", "--value", "price", *OUTLIERS, "--all"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 301


def test_several_values_are_judged_together_and_texts_are_categories(capsys: pytest.CaptureFixture[str]) -> None:
    values = ["--value", "price", "--value", "items", "--value", "shop"]
    found = lines(capsys, "orders.csv", *values, "--option", "minTrainingSize=50", "--confidence", "99.5")
    reasons = {line["row"]["items"]: line["explanation"] for line in found}
    assert "items 9.5 (usual " in reasons["9.50"]
    (new,) = [line for line in found if line["row"]["shop"] == "new"]
    assert max(new["result"]["contributions"], key=lambda name: new["result"]["contributions"][name]) == "shop"


def test_rows_are_taken_in_the_order_of_their_times(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = lines(capsys, "orders.csv", "--value", "price", *OUTLIERS, "--all")
    rows = orders()
    write([rows[place] for place in np.random.default_rng(2).permutation(300)])
    assert lines(capsys, "orders.csv", "--value", "price", *OUTLIERS, "--all") == wanted


def test_each_series_is_judged_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    rows = orders()
    for row in rows[1::2]:
        row[3] = f"{float(row[3]) + 1_000:.2f}"
    write(rows)
    together = lines(capsys, "orders.csv", "--value", "price", *OUTLIERS, "--by", "customer_id")
    assert {line["row"]["customer_id"] for line in together} <= {"3000", "3001"}
    alone = []
    for first in (0, 1):
        write(rows[first::2])
        alone += flagged(lines(capsys, "orders.csv", "--value", "price", *OUTLIERS))
    assert sorted(flagged(together)) == sorted(alone) and "140.00" in alone


def test_the_same_from_every_kind_of_file(capsys: pytest.CaptureFixture[str]) -> None:
    import pyarrow.csv
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.csv.read_csv("orders.csv"), "orders.parquet")
    records = csv.DictReader(io.StringIO(Path("orders.csv").read_text()))
    Path("orders.jsonl").write_text("".join(json.dumps(row | {"price": float(row["price"])}) + "\n" for row in records))
    kinds = [
        [(line["row"]["ts"], line["score"]) for line in lines(capsys, f"orders.{kind}", "--value", "price", *OUTLIERS)]
        for kind in ("csv", "jsonl", "parquet")
    ]
    assert kinds[0] and kinds[0] == kinds[1] == kinds[2]


def test_what_cannot_be_read_is_counted_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    rows = orders()
    rows[100][3] = "n/a"
    rows[120][3] = "inf"
    rows[130][3] = ""
    rows[140][2] = "yesterday"
    write(rows)
    assert main(["detect", "orders.csv", "--value", "price", "--time", "ts", *OUTLIERS]) == 0
    rate, *told = capsys.readouterr().err.splitlines()
    assert rate.startswith("99 % leaves 14 alarms a day by design")
    assert rate.endswith("; --confidence 99.93 leaves one")
    assert told[:2] == [
        "orders.csv: column 'price': 2 unreadable, the first in record 101: 'n/a' is no number",
        "orders.csv: column 'ts': 1 unreadable, the first in record 141: 'yesterday' is no time; "
        "it should be like '2026-01-31 09:00:00'",
    ]
    assert told[2].startswith("300 rows, ")
    assert told[2].endswith(" anomalies, 50 warming up, 3 unreadable, 1 without a value")


def test_too_few_rows_for_a_verdict_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    write(orders()[:40])
    assert main(["detect", "orders.csv", "--value", "price", *OUTLIERS]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    rate, summary = err.splitlines()
    assert rate.startswith("99 % leaves 14 alarms a day")
    assert summary.startswith(
        "40 rows, 0 anomalies, 40 warming up, 0 unreadable: too few for a verdict; --option minTr"
    )


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["1767225600", "1767225600.5"], [1_767_225_600_000, 1_767_225_600_500]),
        (["1767225600000", "1767225600500"], [1_767_225_600_000, 1_767_225_600_500]),
        (["2026-01-01 00:00:00", "2026-01-01T00:00:00.500"], [1_767_225_600_000, 1_767_225_600_500]),
        (["2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00.5Z"], [1_767_225_600_000, 1_767_225_600_500]),
    ],
)
def test_times_are_texts_or_seconds_or_milliseconds(texts: list[str], expected: list[int]) -> None:
    Path("times.csv").write_text("at,x\n" + "".join(f"{text},1\n" for text in texts))
    assert read_series(Path("times.csv"), ["x"], "at", []).times.tolist() == expected


def test_a_number_here_and_there_leaves_a_column_a_category() -> None:
    Path("c.csv").write_text("at,x,shop\n2026-01-01 00:00:00,1,a\n2026-01-01 00:00:01,2,7\n2026-01-01 00:00:02,3,b\n")
    assert read_series(Path("c.csv"), ["x", "shop"], None, []).categories == ("shop",)
    assert read_series(Path("c.csv"), ["x"], None, [], ["x"]).categories == ("x",)
    with pytest.raises(DataError, match="no numbers in 'at'"):
        read_series(Path("c.csv"), ["at"], None, [])


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["orders.csv", "--value", "prise"], "orders.csv has no column 'prise'; did you mean 'price'?"),
        (["orders.csv", "--value", "qqq"], "it has order_id, customer_id, ts, price, items, shop"),
        (["orders.csv", "--value", "price", "--time", "time"], "no column 'time'"),
        (["orders.csv", "--value", "price", "--by", "customer"], "did you mean 'customer_id'?"),
        (["orders.csv", "--value", "shop"], "no numbers in 'shop'; column 'shop': 300 unreadable, the first in rec"),
        (["orders.csv", "--value", "price", "--time", "shop"], "no times in 'shop'"),
        (["nowhere.csv", "--value", "price"], "nowhere.csv cannot be read"),
        (["orders.csv", "--value", "price", "--option", "fast"], "NAME=VALUE"),
        (["orders.csv", "--value", "price", "--option", "fast=yes"], "has no option 'fast'; its options are"),
        (["orders.csv", "--value", "price", "--option", "trees=many"], "'many', expected a whole number"),
        (["orders.csv", "--value", "price", "--confidence", "100"], "expected a number from 80 to below 100"),
        (["orders.csv", "--value", "price", "--plot", "a.txt"], "a.txt: the name of a picture should end in .png"),
        (["orders.csv", "--value", "price", "--plot", "no/where.png"], "there is no folder no"),
    ],
)
def test_what_is_wrong_is_said_with_status_2(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["detect", *arguments, "--function", "DETECT_OUTLIERS"]) == 2
    out, err = capsys.readouterr()
    assert problem in " ".join(err.split()) and out == "" and "Traceback" not in err


def test_the_only_column_of_numbers_is_judged(capsys: pytest.CaptureFixture[str]) -> None:
    Path("one.csv").write_text("ts,price,shop\n" + "".join(f"2026-01-01 00:{n:02},{n % 7}.5,a\n" for n in range(60)))
    assert main(["detect", "one.csv", "--by", "shop", "--all"]) == 0
    assert "price" in capsys.readouterr().out
    assert main(["detect", "orders.csv"]) == 2
    err = " ".join(capsys.readouterr().err.split())
    assert "say with --value which column is judged; numbers are in order_id, customer_id, price, items" in err
    Path("none.csv").write_text("ts,shop\n2026-01-01 00:00:00,a\n")
    assert main(["detect", "none.csv"]) == 2
    assert "no column holds numbers" in capsys.readouterr().err


def test_a_function_that_is_none_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", "orders.csv", "--value", "price", "--function", "guess"]) == 2
    assert "'guess' is no detector; there are " in " ".join(capsys.readouterr().err.split())


def test_a_table_without_or_with_two_times_needs_time() -> None:
    Path("none.csv").write_text("x\n1\n")
    with pytest.raises(DataError, match="no TIMESTAMP column: say with --time"):
        read_series(Path("none.csv"), ["x"], None, [])
    Path("two.csv").write_text("x,a,b\n1,2026-01-01 00:00:00,2026-01-01 00:00:00\n")
    with pytest.raises(DataError, match="has 2 TIMESTAMP columns: say with --time"):
        read_series(Path("two.csv"), ["x"], None, [])


def test_lines_and_times_that_cannot_be_read_cost_only_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"2026-01-01 00:00:{second:02d},{second % 7}" for second in range(40)]
    Path("s.csv").write_text("\n".join(["at,x", *lines[:9], "yesterday,5", "torn", *lines[9:]]))
    assert main(["detect", "s.csv", "--value", "x", "--all", "--json"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 40
    assert "s.csv: 1 lines are no rows, the first is line 12: 1 values for 2 columns" in err
    assert "column 'at': 1 unreadable, the first in record 10: 'yesterday' is no time" in err
    assert "42 rows" in err and "2 unreadable" in err


def test_fields_of_objects_in_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    records = [
        {"at": f"2026-01-01 00:00:{n:02d}", "meta": {"site": "ab"[n % 2], "temp": n % 5}, "more": [n]}
        for n in range(50)
    ]
    Path("n.jsonl").write_text("\n".join(map(json.dumps, records)))
    series = read_series(Path("n.jsonl"), ["meta.temp"], None, ["meta.site"])
    assert series.keys == [("a",), ("b",)]
    assert series.points[:, 0].tolist() == [n % 5 for n in range(50)]
    assert main(["detect", "n.jsonl", "--value", "meta.temp", "--by", "meta.site"]) == 0
    assert "50 rows of 2 series" in capsys.readouterr().err
    assert main(["detect", "n.jsonl", "--value", "meta.tmp"]) == 2


def test_ctrl_c_ends_with_status_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(MultivariateDetector, "update", interrupt)
    assert main(["detect", "orders.csv", "--value", "price", *OUTLIERS, "--plot", "a.png"]) == 130
    assert "Traceback" not in capsys.readouterr().err and not Path("a.png").exists()


def test_without_matplotlib_it_is_said_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["detect", "orders.csv", "--value", "price", *OUTLIERS, "--plot", "a.png"]) == 2
    assert capsys.readouterr().err == "anomaly: --plot needs matplotlib: pip install anomaly-app[plot]\n"


def test_infinity_in_a_file_is_read_and_nan_is_missing():
    from anomaly_app.cli.detect_input import _number

    assert _number("Infinity") == float("inf")
    assert _number("NaN") != _number("NaN")
