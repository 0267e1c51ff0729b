"""How many alerts a second delivery decides, and that a dead sink takes no memory.

::

    python benchmarks/delivery.py [--alerts 100000] [--routes 200] [--json FILE]

A burst of alerts goes through a tree of routes in batches of 5,000, as they come of the topic; after each batch what is
due is decided and the changes of the state are encoded, which is all that the process waits for before it sends. The
rate is by the time of one processor, the best of three runs, for alerts

``users``: of 1,000 users in 20 jobs, grouped by job and type: what the tree is for;
``each``: of 100,000 users, no two with the same labels: nothing that was worked out is of use again;
``groups``: of 5,000 users with a group for each.

``dead``: sinks take nothing, and the burst comes ten times; memory after the second and after the last.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import random
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anomaly_app.alerts import Alert, AlertSource, UsedRow, encode
from anomaly_app.alerts.values import iso_time
from anomaly_app.delivery.dispatcher import Dispatcher
from anomaly_app.delivery.notification import Incoming
from anomaly_app.delivery.routes import RouteTree
from anomaly_app.settings import LoadedSettings, load_settings

BATCH, RUNS, JOBS, TENANTS = 5_000, 3, 20, 5
START = 1_767_600_000_000


def settings(routes: int, group_by: Sequence[str], max_per_minute: int) -> LoadedSettings:
    text = f'[delivery.route]\nreceiver = "r0"\ngroup_by = {json.dumps(group_by)}\ngroup_wait = "1s"\n'
    for number in range(routes):
        job, tenant = number % JOBS, number // JOBS // 2 % TENANTS
        severity = "critical" if number // JOBS % 2 else "low|medium|high"
        text += f'[[delivery.route.routes]]\nreceiver = "r{number % 10}"\n'
        text += f"matchers = ['job=\"job-{job}\"', 'severity=~\"{severity}\"', 'tenant=\"t{tenant}\"']\n"
    for number in range(10):
        text += (
            f'[[delivery.receivers]]\nname = "r{number}"\n[[delivery.receivers.webhook]]\nurl = "http://localhost/"\n'
        )
        text += f"max_per_minute = {max_per_minute}\n"
    text += '[[delivery.inhibit_rules]]\nsource_matchers = "type=silence"\ntarget_matchers = "type!=silence"\n'
    text += 'equal = "job"\n'
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "anomaly.toml"
        path.write_text(text, "utf-8")
        return load_settings(config_file=path, environ={})


def alerts(count: int, users: int, seed: int = 7) -> list[Incoming]:
    choose = random.Random(seed)
    made = []
    for number in range(count):
        user = number if users >= count else choose.randrange(users)
        time_ms = START + number // 100
        rows = [
            UsedRow(
                variable="B",
                event_time=iso_time(time_ms),
                partition=0,
                offset=number + place,
                values={
                    "user_id": f"user-{user}",
                    "invoice_id": f"{choose.getrandbits(60)}",
                    "quantity": 3,
                    "cost": 9.5,
                },
            )
            for place in range(5)
        ]
        alert = Alert(
            id=f"{choose.getrandbits(128):032x}",
            job=f"job-{user % JOBS}",
            version="1",
            query="unusual",
            key={"user_id": f"user-{user}"},
            type="pattern",
            severity=choose.choice(("low", "medium", "high", "critical")),
            score=0.7,
            event_time=iso_time(time_ms),
            detected_at=iso_time(time_ms),
            explanation=f"user-{user} bought 30 times as much as before: 90 pieces after 3 in the ten seconds before.",
            rows=rows,
            rows_total=5,
            payload={"before": 3, "quantity": 90},
            source=AlertSource(topic="sales", partition=0, offset=number),
        )
        made.append(Incoming(alert, encode(alert), 0, number, f"t{user // JOBS % TENANTS}"))
    return made


def decide(loaded: LoadedSettings, incoming: Sequence[Incoming]) -> tuple[float, int, Dispatcher]:
    """Seconds of the processor and bytes of state for a burst."""
    dispatcher = Dispatcher(RouteTree.compile(loaded), loaded.settings.delivery, {})
    gc.collect()
    gc.freeze()  # the process does not have the whole burst in memory, so that the collector would not look at it
    size = 0
    started = time.process_time()
    for begin in range(0, len(incoming), BATCH):
        now = START + begin // 50
        dispatcher.take(incoming[begin : begin + BATCH], now)
        dispatcher.advance(now)
        size += sum(len(key) + len(entry or b"") for key, entry in dispatcher.changes())
        for delivery in list(dispatcher.outbox):
            dispatcher.settled(delivery, "sent", now)
    seconds = time.process_time() - started
    gc.unfreeze()
    return seconds, size, dispatcher


def dead(loaded: LoadedSettings, incoming: Sequence[Incoming]) -> dict[str, Any]:
    """Memory while nothing is taken."""
    dispatcher = Dispatcher(RouteTree.compile(loaded), loaded.settings.delivery, {})
    tracemalloc.start()
    sizes, now = [], START
    for burst in range(10):
        for begin in range(0, len(incoming), BATCH):
            now += 20_000
            batch = [
                Incoming(each.alert, bytes(bytearray(each.raw)), 0, burst * len(incoming) + each.offset, each.tenant)
                for each in incoming[begin : begin + BATCH]
            ]
            dispatcher.take(batch, now)
            dispatcher.advance(now)
            dispatcher.changes()
        del batch
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    return {
        "mb_after_2": round(sizes[1] / 1e6, 1),
        "mb_after_10": round(sizes[-1] / 1e6, 1),
        "outbox": len(dispatcher.outbox),
        "waiting": dispatcher.fates["waiting"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alerts", type=int, default=100_000)
    parser.add_argument("--routes", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, Any] = {"python": platform.python_version(), "alerts": options.alerts, "routes": options.routes}
    shapes = (("users", 1_000, ["job", "type"]), ("each", 100_000, ["job", "type"]), ("groups", 5_000, ["user_id"]))
    for name, users, group_by in shapes:
        burst = alerts(options.alerts, users)
        runs = [decide(settings(options.routes, group_by, 0), burst) for _ in range(RUNS)]
        seconds, size, dispatcher = min(runs, key=lambda run: run[0])
        found[name] = {
            "alerts_per_s": round(len(burst) / seconds),
            "groups": len(dispatcher.groups),
            "state_bytes_per_alert": round(size / len(burst)),
            "alert_bytes": round(sum(len(each.raw) for each in burst) / len(burst)),
            "fates": dict(dispatcher.fates),
        }
        print(name, json.dumps(found[name]), flush=True)
    flood = decide(settings(options.routes, ["user_id"], 10), alerts(options.alerts, 5_000))[2]
    found["flood"] = {"fates": dict(flood.fates)}
    print("flood", json.dumps(found["flood"]), flush=True)
    found["dead"] = dead(settings(options.routes, ["job", "type"], 0), alerts(options.alerts // 10, 1_000))
    print("dead", json.dumps(found["dead"]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), "utf-8")


if __name__ == "__main__":
    main()
