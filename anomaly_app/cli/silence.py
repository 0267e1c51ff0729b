"""``anomaly silence``: what is not told for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from anomaly_app.cli.options import Broker, ConfigFile, Json, Set, load
from anomaly_app.cli.output import print_json, print_table

if TYPE_CHECKING:
    from anomaly_app.delivery.status import SilenceStatus

silence = typer.Typer(
    no_args_is_help=True,
    help="What is not told for a while.\n\nExample: anomaly silence add user_id=ann --for 2h --comment 'known move'",
)

Matchers = Annotated[list[str], typer.Argument(help="""All must hold, such as 'severity="low"' 'user_id=~bot-.+'.""")]


@silence.command("add")
def add_silence(
    matchers: Matchers,
    comment: Annotated[str, typer.Option(help="Why.")],
    for_: Annotated[str, typer.Option("--for", help="How long, such as 2h or 1h30m.", metavar="DURATION")] = "",
    until: Annotated[str, typer.Option(help="When it ends, such as 2026-01-31T09:00Z, in place of --for.")] = "",
    start: Annotated[str, typer.Option(help="When it begins; now without.")] = "",
    by: Annotated[str, typer.Option(help="Who; the user of this machine without.")] = "",
    broker: Broker = None,
    set: Set = None,
    config: ConfigFile = None,
) -> None:
    """Add a silence and print its id; all delivery processes follow it at once.

    Example: anomaly silence add 'user_id="user-7"' --for 2h --comment 'moves house'
    """
    import asyncio

    from anomaly_app.delivery.silence_request import SilenceRequest
    from anomaly_app.runtime.delivery_notes import silences_of

    request = SilenceRequest(
        matchers=matchers, duration=for_, ends_at=until, starts_at=start, created_by=by or _user(), comment=comment
    )

    async def write() -> SilenceStatus:
        async with silences_of(load(config, set, {"kafka.bootstrap_servers": broker})) as notes:
            return await notes.add(request)

    try:
        added = asyncio.run(write())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    print(added.id)


@silence.command("list")
def list_silences(
    all: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    broker: Broker = None,
    set: Set = None,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Print the silences, those that end first first.

    Example: anomaly silence list --all
    """
    import asyncio

    from anomaly_app.runtime.delivery_notes import silences_of

    async def read() -> list[SilenceStatus]:
        async with silences_of(load(config, set, {"kafka.bootstrap_servers": broker})) as notes:
            return notes.statuses()

    shown = [one for one in asyncio.run(read()) if all or one.state != "expired"]
    if json:
        import msgspec

        print_json(msgspec.to_builtins(shown))
        return
    print_table(
        ("id", "state", "matchers", "from", "to", "by", "comment"),
        [
            (
                one.id, one.state.replace("_", " "), ", ".join(one.matchers), one.starts_at, one.ends_at,
                one.created_by, one.comment,
            )
            for one in shown
        ],
    )  # fmt: skip


@silence.command("expire")
def expire_silence(
    id: Annotated[str, typer.Argument(help="Of the silence.")],
    broker: Broker = None,
    set: Set = None,
    config: ConfigFile = None,
) -> None:
    """End a silence now: alerts that still come are told at once.

    Example: anomaly silence expire 5f3a9c0d1b2e
    """
    import asyncio

    from anomaly_app.runtime.delivery_notes import silences_of

    async def write() -> bool:
        async with silences_of(load(config, set, {"kafka.bootstrap_servers": broker})) as notes:
            return await notes.expire(id)

    if not asyncio.run(write()):
        raise typer.BadParameter(f"there is no silence {id!r} that is not over; see anomaly silence list")


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user without a name
        return "unknown"
