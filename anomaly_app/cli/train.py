"""``anomaly train``: a model of one's own, from a file of rows to ONNX and the statement that uses it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anomaly_app.cli.options import Json
from anomaly_app.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anomaly_app.cli.files import FileTable
    from anomaly_app.models.training import Report, Table


def train(
    kind: Annotated[
        str, typer.Argument(help="isolation-forest, autoencoder or gradient-boosting (needs --label).", metavar="KIND")
    ],
    file: Annotated[Path, typer.Argument(help="Rows: .csv (with header), .jsonl or .parquet.", metavar="FILE")],
    features: Annotated[str, typer.Option(help="Columns that the model is given, with commas between them.")],
    output: Annotated[Path, typer.Option(help="The ONNX file.")] = Path("model.onnx"),
    label: Annotated[str | None, typer.Option(help="Column that is 1 or TRUE for what is to be found.")] = None,
    time: Annotated[str | None, typer.Option(help="Column that orders the rows; else they are in order.")] = None,
    rate: Annotated[float, typer.Option(help="Share of the rows that should be alerts.", min=1e-6, max=0.5)] = 0.01,
    test: Annotated[
        float, typer.Option(help="Share of the rows, the last ones, to judge by.", min=0.05, max=0.9)
    ] = 0.3,
    trees: Annotated[int, typer.Option(help="Trees of a forest or of boosting.", min=1, max=10_000)] = 100,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
    name: Annotated[str, typer.Option(help="Of the model in the statement that is printed.")] = "mine",
    json: Json = False,
) -> None:
    """Train a model on earlier rows, judge it on later ones, and print the CREATE MODEL that uses it.

    Its threshold is the score that as many of the earlier rows reach as alerts are wanted.

    Example: anomaly train gradient-boosting payments.csv --features amount,hour,code --label is_fraud --rate 0.02
    """
    from anomaly_app.cli.files import read_table
    from anomaly_app.errors import DataError, OptionError
    from anomaly_app.models.training import train as train_model

    names = [part.strip() for part in features.split(",") if part.strip()]
    if not names:
        raise typer.BadParameter("name at least one column", param_hint="--features")
    try:
        table, problems = _table(read_table(file), names, label, time)
        for problem in problems:
            note(f"anomaly: {file}: {problem}")
        trained = train_model(kind, table, rate=rate, test=test, trees=trees, seed=seed)
        output.write_bytes(trained.graph)
    except (DataError, OptionError) as error:
        note(f"anomaly: {error}")
        raise typer.Exit(2) from None
    except OSError as error:
        note(f"anomaly: {output} cannot be written: {error.strerror}")
        raise typer.Exit(2) from None
    statement = _statement(name, table, output)
    if json:
        report = {field: getattr(trained.report, field) for field in type(trained.report).__slots__}
        print_json({"file": str(output), "report": report, "statement": statement})
        return
    _print(trained.report)
    print(f"\n{output}: {len(trained.graph):,} bytes\n\n{statement}")


def _table(file: FileTable, names: Sequence[str], label: str | None, time: str | None) -> tuple[Table, Sequence[str]]:
    """The columns that are learnt from, in order of time."""
    from anomaly_app.cli.columns import read_columns
    from anomaly_app.errors import DataError
    from anomaly_app.models.training import Table

    for name in [*names, *([label] if label else []), *([time] if time else [])]:
        file.reach(name)
        if name not in file.names:
            raise DataError(f"there is no column {name!r}: the file has {', '.join(file.names)}")
    texts = [name for name in names if file.type_of(name).startswith(("STRING", "VARCHAR", "CHAR"))]
    numbers = [name for name in names if name not in texts]
    columns = [(name, "DOUBLE") for name in numbers] + [(name, "STRING") for name in texts]
    columns += [(label, "STRING")] if label else []
    columns += [(time, file.type_of(time))] if time else []
    rows, problems = read_columns(file, columns, "the file")
    if time:
        rows = sorted((row for row in rows if row[-1] is not None), key=lambda row: row[-1])
    values = list(zip(*rows, strict=True))
    labels = [_label(value) for value in values[len(names)]] if label else None
    problems = [*problems, *_nearly_numbers(texts, values[len(numbers) :])]
    return Table(
        dict(zip(numbers, values[: len(numbers)], strict=True)),
        dict(zip(texts, values[len(numbers) : len(names)], strict=True)), labels,
    ), problems  # fmt: skip


def _nearly_numbers(names: Sequence[str], columns: Sequence[Sequence[str | None]]) -> Iterator[str]:
    """What to say of columns that are texts since a few of their values are no numbers."""
    for name, values in zip(names, columns, strict=False):
        told = [value for value in values if value]
        others = [value for value in told if not _is_number(value)]
        if 0 < len(others) < len(told) / 2:
            yield (
                f"column {name} is taken for categories, since {len(others)} of its {len(told)} values are no numbers: "
                f"{others[0]!r}"
            )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _label(value: Any) -> int:
    from anomaly_app.errors import DataError

    found = {"1": 1, "true": 1, "1.0": 1, "0": 0, "false": 0, "0.0": 0}.get(str(value).strip().lower())
    if found is None:
        raise DataError(f"a label is 1 or 0, or TRUE or FALSE, and not {value!r}")
    return found


def _statement(name: str, table: Table, output: Path) -> str:
    columns = [f"`{feature}` FLOAT" for feature in table.numbers] + [f"`{feature}` STRING" for feature in table.texts]
    path = str(output.resolve()).replace("'", "''")
    name = name if name.isidentifier() and name.isascii() else "`" + name.replace("`", "``") + "`"
    return (
        f"CREATE MODEL {name} INPUT ({', '.join(columns)}) OUTPUT (score DOUBLE, is_anomaly INT)\n"
        f"WITH ('provider' = 'onnx', 'task' = 'classification', 'onnx.path' = '{path}');"
    )


def _print(report: Report) -> None:
    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.1%}"

    rows = [
        ("earlier rows, learnt from", f"{report.trained:,}"),
        ("later rows, judged by", f"{report.tested:,}"),
        ("threshold of the score", f"{report.threshold:.6g}"),
        ("alerts among the later rows", f"{report.alerts:,} ({share(report.alerts / report.tested)})"),
    ]
    if report.anomalies is not None:
        auc = "-" if report.auc is None else f"{report.auc:.4f}"
        rows += [
            ("anomalies among them", f"{report.anomalies:,}"),
            ("precision: alerts that are right", share(report.precision)),
            ("recall: anomalies that are found", share(report.recall)),
            ("AUC", auc),
        ]
    print_table(("", ""), rows)
