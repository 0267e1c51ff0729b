from __future__ import annotations

from typing import Any

from hypothesis import given, strategies as st

from anomaly_app.alerts import alert_id

values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(), st.binary(), st.decimals(allow_nan=False), st.floats()
)
names = st.text(max_size=8)
findings = st.tuples(
    names,
    names,
    st.lists(values, max_size=3).map(tuple),
    st.integers(0, 50),
    st.integers(0, 1 << 60),
    st.integers(0, 9),
)


@given(findings)
def test_the_same_finding_has_the_same_id(finding: tuple[Any, ...]) -> None:
    assert alert_id(*finding) == alert_id(*finding)
    assert len(alert_id(*finding)) == 32
    assert int(alert_id(*finding), 16) < 1 << 128


@given(findings, findings)
def test_different_findings_have_different_ids(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    # by text: 1 == True and nan != nan, but a key of one is not a key of the other
    assert (alert_id(*one) == alert_id(*other)) == (ascii(one) == ascii(other))


def test_every_part_counts_and_parts_do_not_run_together() -> None:
    base = ("job", "query", ("a", "b"), 1, 2, 3)
    others = [
        ("jobq", "uery", ("a", "b"), 1, 2, 3),
        ("job", "query", ("ab",), 1, 2, 3),
        ("job", "query", ("a', 'b",), 1, 2, 3),
        ("job", "query", ("b", "a"), 1, 2, 3),
        ("job", "query", ("a", "b"), 12, 2, 3),
        ("job", "query", ("a", "b"), 1, 22, 3),
        ("job", "query", ("a", "b"), 1, 2, 4),
    ]
    assert len({alert_id(*finding) for finding in [base, *others]}) == len(others) + 1


def test_ids_stay_what_they_are_from_release_to_release() -> None:
    assert alert_id("sales", "unusual", ("user-67",), 3, 1042, 0) == "58c9a95613a44ea364fec35ac830aed7"
