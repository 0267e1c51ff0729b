from __future__ import annotations

import pytest
from notifications import T0, an_alert

from anomaly_app.errors import OptionError
from anomaly_app.sinks.line_protocol import Lines, parse_picked

DEFAULT_TAGS = ("storeId", "kind=payload.type")


def lines(*fields: str, tags: tuple[str, ...] = DEFAULT_TAGS) -> Lines:
    picked = [parse_picked(entry, "tags") for entry in tags]
    return Lines("anomaly_alerts", picked, [parse_picked(entry, "fields") for entry in fields])


def test_a_point() -> None:
    alert = an_alert(
        key={"employId": "cashier 1"},
        payload={
            "employId": "cashier 1",
            "storeId": "store-001",
            "type": "SHRINKAGE",
            "message": 'count "20"',
            "riskScore": 1,
            "diff": 10.5,
            "open": True,
            "none": None,
            "rows": [1],
        },
        score=1.0,
    )
    line = lines().line(alert, "eu")
    assert line is not None
    head, _, time = line.rpartition(" ")
    assert head == (
        "anomaly_alerts,employId=cashier\\ 1,job=unusual_transactions,kind=SHRINKAGE,query=unusual_transactions,"
        f'severity=high,storeId=store-001,tenant=eu,type=selection id="{alert.id}",score=1.0,value=1i,'
        'message="count \\"20\\"",payload_type="SHRINKAGE",riskScore=1.0,diff=10.5,open=true'
    )
    assert int(time) // 1_000_000 == T0


def test_alerts_of_one_millisecond_are_points_of_their_own_and_repeats_the_same() -> None:
    written = {lines().line(an_alert(number), "") for number in range(500)}
    assert len({str(line).rpartition(" ")[2] for line in written}) == 500
    assert lines().line(an_alert(), "") == lines().line(an_alert(), "")


def test_columns_like_our_fields_do_not_replace_them() -> None:
    line = lines().line(an_alert(payload={"value": 7, "id": "x", "score": 3, "message": ""}, explanation="why"), "")
    assert line is not None and ',value=1i,message="why",payload_value=7.0,payload_id="x",payload_score=3.0 ' in line


def test_picked_fields_only() -> None:
    alert = an_alert(payload={"a": 1, "b": {"c": 2.5}, "d": "x"})
    line = lines("payload.b.c", "letter=payload.d", "userId", "gone").line(alert, "")
    assert line is not None and line.partition('message="')[2].partition('",')[2].startswith('c=2.5,letter="x" ')


def test_what_influxdb_has_no_place_for() -> None:
    payload = {"nan": "NaN", "big": 10**400, "list": [1], "time": 5, "": "empty", "back\\": "a\\", "x\ny": 1, "k=v,": 2}
    line = lines().line(
        an_alert(key={"time": "now", "trailing": "C:\\", "two": "a\nb", "a b": "\\,"}, payload=payload), ""
    )
    assert line is not None and "\n" not in line
    assert line.startswith("anomaly_alerts,a\\ b=/\\,,job=")
    assert ",time_=now,trailing=C:/,two=a\\ b,type=selection " in line
    assert ',payload_time_=5.0,_="empty",back/="a\\\\",x\\ y=1.0,k\\=v\\,=2.0 ' in line
    assert "nan" not in line and "big" not in line and "list" not in line


@pytest.mark.parametrize("time", ["9223372036854775807", "?", "", "0001-01-01T00:00:00.000Z"])
def test_times_that_influxdb_does_not_have(time: str) -> None:
    assert lines().line(an_alert(event_time=time), "") is None


def test_a_time_before_1970() -> None:
    line = lines().line(an_alert(event_time="1969-12-31T23:59:59.000Z"), "")
    assert line is not None and -1_000_000_000 <= int(line.rpartition(" ")[2]) < -999_000_000


@pytest.mark.parametrize("entry", ["", "=a", "a=", "a..b", "other.x", "n=other.x", "time", "payload.time", "time=x"])
def test_columns_that_cannot_be_picked(entry: str) -> None:
    with pytest.raises(OptionError):
        parse_picked(entry, "tags")
