"""What changes add up to, and which part of it a page shows."""

from __future__ import annotations

import pytest

from anomaly_app.changes import Change, rows_left
from anomaly_app.schema import INT, STRING, Column, DataType, Kind
from anomaly_app.shell.cells import cells_function
from anomaly_app.shell.left import Left
from anomaly_app.shell.sheet import Sheet

NEW, BEFORE, AFTER, GONE = Change.INSERT, Change.BEFORE, Change.AFTER, Change.DELETE
COLUMNS = [Column("name", STRING), Column("n", INT)]


def _left(most: int = 100) -> Left:
    cells = cells_function(COLUMNS)
    return Left(most, key=lambda row: cells([row])[0])


def test_updated_rows_keep_their_places() -> None:
    left = _left()
    left.take([(NEW, ("ann", 1)), (NEW, ("bob", 1)), (NEW, ("cat", 1))])
    left.take([(BEFORE, ("ann", 1)), (AFTER, ("ann", 2)), (BEFORE, ("bob", 1)), (AFTER, ("bob", 2))])
    left.take([(GONE, ("bob", 2)), (AFTER, ("dan", 1))])
    assert left.rows() == [("ann", 2), ("cat", 1), ("dan", 1)]


def test_rows_that_are_equal_go_one_by_one() -> None:
    left = _left()
    left.take([(NEW, ("ann", 1)), (NEW, ("ann", 1)), (NEW, ("bob", None)), (GONE, ("ann", 1))])
    assert left.rows() == [("ann", 1), ("bob", None)]
    left.take([(GONE, ("bob", None)), (GONE, ("nobody", 7))])
    assert left.rows() == [("ann", 1)]


def test_a_row_that_is_taken_back_is_gone_if_nothing_comes_in_its_place() -> None:
    left = _left()
    left.take([(NEW, ("ann", 1)), (NEW, ("bob", 1))])
    left.take([(BEFORE, ("ann", 1))])
    assert left.rows() == [("bob", 1)]
    left.take([(AFTER, ("ann", 2))])
    assert left.rows() == [("bob", 1), ("ann", 2)]


def test_the_oldest_rows_go_when_there_are_too_many() -> None:
    left = _left(2)
    left.take([(NEW, (str(number), number)) for number in range(5)])
    assert (left.rows(), left.dropped) == ([("3", 3), ("4", 4)], 3)
    left.take([(BEFORE, ("0", 0)), (AFTER, ("0", 9))])  # the row that is taken back is not kept any more
    assert left.rows() == [("4", 4), ("0", 9)]


def test_what_cannot_be_hashed_is_told_apart_by_its_text() -> None:
    column = Column("a", DataType(Kind.ARRAY, element=DataType(Kind.DOUBLE)))
    cells = cells_function([column])
    left = Left(10, key=lambda row: cells([row])[0])
    left.take([(NEW, ([1.0, float("nan")],)), (NEW, ([2.0],)), (GONE, ([1.0, float("nan")],))])
    assert left.rows() == [([2.0],)]


def test_it_is_what_the_changes_add_up_to() -> None:
    changes = [
        (NEW, ("a", 1)),
        (NEW, ("b", 1)),
        (BEFORE, ("a", 1)),
        (AFTER, ("a", 2)),
        (GONE, ("b", 1)),
        (NEW, ("b", 3)),
    ]
    left = _left()
    for change in changes:
        left.take([change])
    assert sorted(left.rows()) == sorted(rows_left(changes))


# --- the page ------------------------------------------------------------------------------------------


def _sheet(rows: int, *, changes: bool = False, most: int = 1_000) -> Sheet:
    sheet = Sheet(COLUMNS, 8, most, changes=changes)
    sheet.take([(NEW, (f"row {number}", number)) for number in range(rows)])
    return sheet


def _names(sheet: Sheet, height: int = 3) -> list[str]:
    return ["*" if line.here else line.text[:8].strip() for line in sheet.lines(height, 60)]


def test_a_page_follows_the_end_until_the_reader_goes_elsewhere() -> None:
    sheet = _sheet(5)
    assert _names(sheet) == ["row 2", "row 3", "*"]
    sheet.move(-1)
    sheet.take([(NEW, ("new", 5))])
    assert _names(sheet) == ["row 2", "*", "row 4"]
    sheet.first()
    assert _names(sheet) == ["*", "row 1", "row 2"]
    sheet.last()
    sheet.take([(NEW, ("newer", 6))])
    assert _names(sheet) == ["row 4", "new", "*"]
    sheet.turn(-1)
    assert sheet.place == (4, 7)
    sheet.turn(5)
    assert (sheet.place, sheet.following) == ((7, 7), True)


def test_the_reader_stays_at_the_row_when_older_ones_go() -> None:
    sheet = _sheet(6, most=6)
    sheet.first()
    sheet.move(3)
    sheet.take([(NEW, ("new", 6)), (NEW, ("new", 7))])
    _names(sheet)
    assert (sheet.place, sheet.dropped) == ((2, 6), 2)
    sheet.open()
    assert sheet.opened == [("name", "row 3"), ("n", "3")]


def test_columns_move_sideways_and_the_op_stays() -> None:
    sheet = _sheet(1, changes=True)
    assert sheet.head(80).split() == ["op", "name", "n"]
    sheet.sideways(1)
    assert sheet.head(80).split() == ["op", "n"]
    sheet.sideways(5)
    assert sheet.head(80).split() == ["op", "n"]
    sheet.sideways(-5)
    assert sheet.head(80).split() == ["op", "name", "n"]
    assert sheet.lines(1, 80)[0].text.split() == ["+I", "row", "0", "0"]


def test_lines_are_cut_at_the_width_of_the_terminal() -> None:
    sheet = Sheet([Column("wide", STRING)], 30, 10, changes=False)
    sheet.take([(NEW, ("日本語" * 5,))])
    assert len(sheet.lines(1, 10)[0].text) <= 10
    assert _sheet(3).head(5) == "    n"


def test_an_empty_page_has_no_rows_to_go_to() -> None:
    sheet = _sheet(0)
    for go in (sheet.first, sheet.last, sheet.open, lambda: sheet.move(1), lambda: sheet.turn(-1)):
        go()
        assert (sheet.lines(3, 40), sheet.place, sheet.opened) == ([], (0, 0), None)


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31mred", "tab\there", "\x07", "a\u2028b"])
def test_no_text_moves_the_cursor(text: str) -> None:
    ((cell,),) = cells_function([Column("a", STRING)])([(text,)])
    assert cell.isprintable()
