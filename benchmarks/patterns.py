"""Row patterns in memory: the sales query against a hand-written loop, and patterns that are hard to match.

::

    python benchmarks/patterns.py [--rows 200000] [--only sales] [--json FILE]

*Sales*: rows of 100 or 10,000 users, as many rows per user and WITHIN window (10 s) as ``windows`` says, in batches of
5,000 with the watermark at the last row of each. The loop of the same semantics, in the same run, gets quantities that
are numbers already; so does the query, or it casts texts as the tutorial does. *Hard*: see :data:`HARD`. *Rules*: one
rule and 64 over the same rows. *Memory*: bytes per key that has one row, the row itself not counted.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anomaly_app
from anomaly_app.jobs.binder import bind_job
from anomaly_app.jobs.model import Plan
from anomaly_app.operators import MAX_WATERMARK, Row

WITHIN_MS, BATCH_ROWS = 10_000, 5_000
SALES_GOAL = 0.5
"""Of the loop's speed."""

T = """CREATE TABLE t (k STRING, v INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'b:9092', 'value.format' = 'json');
CREATE TABLE o (k STRING, c BIGINT)
WITH ('connector' = 'kafka', 'topic' = 'o', 'properties.bootstrap.servers' = 'b:9092', 'value.format' = 'json');
INSERT INTO o SELECT k, c FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES COUNT(*) AS c
AFTER MATCH SKIP PAST LAST ROW PATTERN ({pattern}) DEFINE {define})"""

HARD: dict[str, tuple[str, str, Callable[[int], int], int, int]] = {
    "A B+ C, PREV": (
        "A B+ C",
        "B AS B.v < PREV(B.v), C AS C.v > PREV(C.v)",
        lambda n: n * 7919 % 1000,
        100_000,
        150_000,
    ),
    "A+ B+, all match": ("A+ B+", "A AS A.v > 0, B AS B.v > 0", lambda n: 1, 5_000, 150_000),
    "A+ B+, B never holds": ("A+ B+", "A AS A.v > 0, B AS B.v < 0", lambda n: 1, 5_000, 50_000),
    "(A? ){25} A{25}": ("(A? ){25} A{25}", "A AS A.v > 0", lambda n: 1, 10_000, 10_000),
    "(A? ){25} A{25}, 49 A": ("(A? ){25} A{25} B", "A AS A.v > 0, B AS B.v < 0", lambda n: 1, 10_000, 10_000),
}
"""Pattern, conditions, value of the n-th row, rows of one key, and the goal in rows/s; standard dialect."""


def sales(rows: int, per_window: int, users: int, seed: int = 7) -> list[tuple[int, str, str, str]]:
    """(time, user, quantity, invoice): quantities from 1 to 3, about one in 200 from 10 to 30."""
    choose = random.Random(seed)
    gap = WITHIN_MS / (per_window * users)
    made = []
    for number in range(rows):
        quantity = choose.randint(10, 30) if choose.random() < 0.005 else choose.randint(1, 3)
        user = f"user-{choose.randrange(users)}"
        made.append((1_700_000_000_000 + int(number * gap), user, str(quantity), str(number)))
    return made


def restart(user: str, rows: list, found: list) -> tuple[int, int]:
    """The earliest start is too old: match the rows behind it again, from the next start."""
    del rows[0]
    while rows:
        total, count, k = rows[0][2], 1, 1
        while k < len(rows):
            row = rows[k]
            if row[2] > total // count * 3:
                found.append((user, row[3], row[2], row[0], total // count, rows[0][0], rows[k - 1][0]))
                del rows[: k + 1]
                break
            total, count, k = total + row[2], count + 1, k + 1
        else:
            return total, count
    return 0, 0


def by_hand(users: dict, batch: list, found: list, within: Any = WITHIN_MS) -> None:
    """(TYPICAL+? UNUSUAL) WITHIN 10 s, UNUSUAL if its quantity is over three times the average of TYPICAL.

    ``within`` is in the unit of the times.
    """
    for row in batch:
        at, user, quantity, invoice = row
        run = users.get(user)
        if run is None:
            users[user] = [[row], quantity, 1]
            continue
        rows, total, count = run
        while rows and at - rows[0][0] >= within:
            total, count = restart(user, rows, found)
        if not rows:
            rows.append(row)
            run[1], run[2] = quantity, 1
        elif quantity > total // count * 3:
            found.append((user, invoice, quantity, at, total // count, rows[0][0], rows[-1][0]))
            rows.clear()
            run[1], run[2] = 0, 0
        else:
            rows.append(row)
            run[1], run[2] = total + quantity, count + 1


def sales_plan(quantity: str = "STRING") -> Plan:
    """The packaged job, with quantities of some type."""
    path = Path(anomaly_app.__file__).parent / "jobs" / "unusual_sales.sql"
    text = path.read_text().replace("quantity STRING", f"quantity {quantity}")
    return bind_job(text, name="unusual_sales").plans[0]


def measure_sales(rows: int, per_window: int, users: int, quantity: str, repeats: int) -> dict[str, Any]:
    """Rows per second of the loop and of the operator, each the best of some runs side by side."""
    data = sales(rows, per_window, users)
    plan = sales_plan(quantity)
    query = plan.queries[0]
    places = {"user_id": 1, "quantity": 2, "invoice_id": 3, "purchase_time": 0}
    columns = [places[column.name] for column in plan.layout.columns]
    loop_batches = []
    batches: list[list[Row]] = []
    for start in range(0, rows, BATCH_ROWS):
        part = data[start : start + BATCH_ROWS]
        loop_batches.append([(at, user, int(quantity), invoice) for at, user, quantity, invoice in part])
        typed = part if quantity == "STRING" else loop_batches[-1]
        batches.append([(sale[0], start + k, *(sale[c] for c in columns)) for k, sale in enumerate(typed)])
    loop_best = engine_best = float("inf")
    for _ in range(repeats):
        gc.collect()
        state: dict = {}
        expected: list = []
        begin = time.perf_counter()
        for batch in loop_batches:
            by_hand(state, batch, expected)
        loop_best = min(loop_best, time.perf_counter() - begin)

        operator = query.factory.create(plan.layout)
        found = []
        gc.collect()
        begin = time.perf_counter()
        for batch in batches:
            found += operator.process(batch, batch[-1][0])
        engine_best = min(engine_best, time.perf_counter() - begin)
        # The loop restarts a timed-out user when its next row comes, the operator when time has passed.
        ours, theirs = {finding.values for finding in found}, set(expected)
        if not theirs <= ours or len(ours) - len(theirs) > users:
            raise SystemExit(f"the operator found {len(ours)} matches, the loop {len(theirs)}: not the same")
    return {
        "benchmark": "sales",
        "quantity": quantity,
        "users": users,
        "rows_per_window": per_window,
        "rows": rows,
        "matches": len(expected),
        "loop_rows_per_s": round(rows / loop_best),
        "engine_rows_per_s": round(rows / engine_best),
        "ratio": round(loop_best / engine_best, 3),
        "goal": SALES_GOAL,
    }


def rule_plan(pattern: str, define: str) -> Plan:
    """A rule of the standard dialect over ``t``."""
    return bind_job(T.format(pattern=pattern, define=define), name="rule", dialect="standard").plans[0]


def rule_rows(plan: Plan, count: int, value: Callable[[int], int], keys: int = 1) -> list[list[Row]]:
    """Rows in batches, a millisecond apart."""
    rows = []
    for n in range(count):
        given = {"k": f"key-{n % keys}", "v": value(n), "ts": n}
        rows.append((n, n, *(given[column.name] for column in plan.layout.columns)))
    return [rows[start : start + BATCH_ROWS] for start in range(0, count, BATCH_ROWS)]


def time_of(operators: Sequence[Any], batches: Sequence[list[Row]]) -> tuple[float, int]:
    """Seconds for all rows and the end of the input, and how many findings there were."""
    found = 0
    gc.collect()
    begin = time.perf_counter()
    for batch in batches:
        for operator in operators:
            found += len(operator.process(batch, batch[-1][0]))
    found += sum(len(operator.advance(MAX_WATERMARK)) for operator in operators)
    return time.perf_counter() - begin, found


def measure_hard(name: str, repeats: int) -> dict[str, Any]:
    """Rows per second of a hard pattern."""
    pattern, define, value, count, goal = HARD[name]
    plan = rule_plan(pattern, define)
    batches = rule_rows(plan, count, value)
    runs = [time_of([plan.queries[0].factory.create(plan.layout)], batches) for _ in range(repeats)]
    rate = round(count / min(seconds for seconds, _ in runs))
    return {
        "benchmark": "hard",
        "pattern": name,
        "rows": count,
        "matches": runs[0][1],
        "engine_rows_per_s": rate,
        "goal": goal,
    }


def measure_rules(rows: int, repeats: int) -> dict[str, Any]:
    """Microseconds per row of one rule, and of each of 64 over the same rows."""
    plans = [rule_plan("A B", f"A AS A.v = {n}, B AS B.v = {n}") for n in range(64)]
    batches = rule_rows(plans[0], rows, lambda n: n * 7919 % 1000, keys=100)
    costs = {}
    for count in (1, 64):
        seconds = min(
            time_of([plan.queries[0].factory.create(plan.layout) for plan in plans[:count]], batches)[0]
            for _ in range(repeats)
        )
        costs[count] = round(seconds / rows / count * 1e6, 3)
    return {"benchmark": "rules", "rows": rows, "us_per_row_of_1": costs[1], "us_per_row_and_rule_of_64": costs[64]}


def measure_memory(keys: int = 20_000) -> dict[str, Any]:
    """Bytes per key with one row, which waits for others; the row was there before."""
    plan = sales_plan()
    rows = [(n, n, *(f"{c}-{n}" if c else "2" for c, _ in enumerate(plan.layout.columns))) for n in range(keys)]
    places = {column.name: plan.layout.index(column.name) for column in plan.layout.columns}
    rows = [
        tuple({places["quantity"]: "2", places["purchase_time"]: n}.get(place, x) for place, x in enumerate(row))
        for n, row in enumerate(rows)
    ]
    operator = plan.queries[0].factory.create(plan.layout)
    gc.collect()
    tracemalloc.start()
    operator.process(rows, 0)
    gc.collect()
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    operator.process([], MAX_WATERMARK - 1)
    left = len(operator.vertices[-1].operator.keys)
    return {"benchmark": "memory", "keys": keys, "bytes_per_key": round(used / keys), "keys_left": left}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--windows", type=int, nargs="+", default=[5, 20, 100])
    parser.add_argument("--users", type=int, nargs="+", default=[100, 10_000])
    parser.add_argument("--quantities", nargs="+", default=["STRING", "INT"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=["sales", "hard", "rules", "memory"])
    parser.add_argument("--json", type=Path, help="file for the result; default: standard output")
    options = parser.parse_args()
    measured: list[dict[str, Any]] = []
    if options.only in (None, "sales"):
        measured += [
            measure_sales(options.rows, per_window, users, quantity, options.repeats)
            for quantity in options.quantities
            for users in options.users
            for per_window in options.windows
        ]
    if options.only in (None, "hard"):
        measured += [measure_hard(name, options.repeats) for name in HARD]
    if options.only in (None, "rules"):
        measured.append(measure_rules(min(options.rows, 20_000), options.repeats))
    if options.only in (None, "memory"):
        measured.append(measure_memory())
    result = {"benchmark": "patterns", "python": platform.python_version(), "measured": measured}
    text = json.dumps(result, indent=2)
    if options.json:
        options.json.write_text(text + "\n")
    else:
        sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
