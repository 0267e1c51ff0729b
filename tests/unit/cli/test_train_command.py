"""anomaly train: what it says of files that are not as they should be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from anomaly_app.cli import main

pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")

LINES = ["id,amount,code", *(f"{n},{n % 7}.5,{'ab'[n % 2]}" for n in range(100))]


Train = Callable[..., tuple[int, str]]


@pytest.fixture
def train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Train:
    """Trains on lines of a file: exit code, and all that was said."""

    def trained(lines: list[str], *options: str) -> tuple[int, str]:
        file = tmp_path / "rows.csv"
        file.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        code = main(
            ["train", "isolation-forest", str(file), "--trees", "5", "--output", str(tmp_path / "m.onnx"), *options]
        )
        said = capsys.readouterr()
        return code, said.out + said.err

    return trained


def test_numbers_among_which_something_else_stands_are_told(train: Train) -> None:
    code, said = train([*LINES, "100,n/a,a"], "--features", "amount,code")
    assert code == 0
    assert "column amount is taken for categories, since 1 of its 101 values are no numbers: 'n/a'" in said
    assert "column code" not in said
    assert "column amount" not in train([*LINES, "100,,a"], "--features", "amount,code")[1]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([], "rows.csv is empty: it should begin with a header"),
        (LINES[:2], "1 row is too few: 1 to learn from and 0 to judge by, and each wants 20"),
        (["id,betrag,code", *LINES[1:]], "there is no column 'amount': the file has id, betrag, code"),
    ],
)
def test_files_that_nothing_can_be_learnt_from(train: Train, lines: list[str], problem: str) -> None:
    code, said = train(lines, "--features", "amount")
    assert code == 2
    assert problem in said


def test_the_statement_can_be_pasted_whatever_the_name(train: Train) -> None:
    _, said = train(LINES, "--features", "amount", "--name", "my model")
    assert "CREATE MODEL `my model` INPUT (`amount` FLOAT)" in said
