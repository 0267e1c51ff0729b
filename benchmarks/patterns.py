"""The sales query in memory against a hand-written loop of the same semantics, in one run.

::

    python benchmarks/patterns.py [--rows 200000] [--json FILE]

Rows of 100 users, as many rows per user and WITHIN window (10 s) as ``windows`` says, in batches of 5,000 with the
watermark at the last row of each. The loop gets quantities that are numbers already; the query casts texts.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import random
import sys
import time
from pathlib import Path

import anomaly_app
from anomaly_app.jobs.binder import bind_job
from anomaly_app.jobs.model import Plan
from anomaly_app.operators import Row

USERS, WITHIN_MS, BATCH_ROWS = 100, 10_000, 5_000


def sales(rows: int, per_window: int, seed: int = 7) -> list[tuple[int, str, str, str]]:
    """(time, user, quantity, invoice): quantities from 1 to 3, about one in 200 from 10 to 30."""
    choose = random.Random(seed)
    gap = WITHIN_MS / (per_window * USERS)
    made = []
    for number in range(rows):
        quantity = choose.randint(10, 30) if choose.random() < 0.005 else choose.randint(1, 3)
        user = f"user-{choose.randrange(USERS)}"
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


def by_hand(users: dict, batch: list, found: list) -> None:
    """(TYPICAL+? UNUSUAL) WITHIN 10 s, UNUSUAL if its quantity is over three times the average of TYPICAL."""
    for row in batch:
        at, user, quantity, invoice = row
        run = users.get(user)
        if run is None:
            users[user] = [[row], quantity, 1]
            continue
        rows, total, count = run
        while rows and at - rows[0][0] >= WITHIN_MS:
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


def sales_plan() -> Plan:
    """The packaged job."""
    path = Path(anomaly_app.__file__).parent / "jobs" / "unusual_sales.sql"
    return bind_job(path.read_text(), name="unusual_sales").plans[0]


def measure(rows: int, per_window: int, repeats: int = 3) -> dict[str, float | int]:
    """Rows per second of the loop and of the operator, each the best of some runs side by side."""
    data = sales(rows, per_window)
    plan = sales_plan()
    query = plan.queries[0]
    places = {"user_id": 1, "quantity": 2, "invoice_id": 3, "purchase_time": 0}
    columns = [places[column.name] for column in plan.layout.columns]
    loop_batches = []
    batches: list[list[Row]] = []
    for start in range(0, rows, BATCH_ROWS):
        part = data[start : start + BATCH_ROWS]
        loop_batches.append([(at, user, int(quantity), invoice) for at, user, quantity, invoice in part])
        batches.append([(sale[0], start + k, *(sale[c] for c in columns)) for k, sale in enumerate(part)])
    loop_best = engine_best = float("inf")
    for _ in range(repeats):
        gc.collect()
        users: dict = {}
        expected: list = []
        begin = time.perf_counter()
        for batch in loop_batches:
            by_hand(users, batch, expected)
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
        if not theirs <= ours or len(ours) - len(theirs) > USERS:
            raise SystemExit(f"the operator found {len(ours)} matches, the loop {len(theirs)}: not the same")
    return {
        "rows_per_window": per_window,
        "rows": rows,
        "matches": len(expected),
        "loop_rows_per_s": round(rows / loop_best),
        "engine_rows_per_s": round(rows / engine_best),
        "ratio": round(loop_best / engine_best, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--windows", type=int, nargs="+", default=[5, 20, 100])
    parser.add_argument("--json", type=Path, help="file for the result; default: standard output")
    options = parser.parse_args()
    result = {
        "benchmark": "patterns",
        "python": platform.python_version(),
        "goal": 0.25,
        "measured": [measure(options.rows, per_window) for per_window in options.windows],
    }
    text = json.dumps(result, indent=2)
    if options.json:
        options.json.write_text(text + "\n")
    else:
        sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
