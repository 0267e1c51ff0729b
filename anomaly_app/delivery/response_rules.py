"""The rules of ``[[response]]``, checked: what is done about which alerts, step by step."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from anomaly_app.delivery.matchers import Matcher, compile_matchers
from anomaly_app.delivery.routes import Receiver
from anomaly_app.settings.delivery import ResponseRule as RuleSettings, ResponseStep as StepSettings
from anomaly_app.settings.loading import LoadedSettings
from anomaly_app.words import duration

Kind: TypeAlias = Literal["http", "notify", "wait_for_ack", "escalate"]
KINDS: tuple[Kind, ...] = ("http", "notify", "wait_for_ack", "escalate")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a response.

    Args:
        kind: what it does.
        name: for people; the ``title`` of the setting, else the kind.
        receiver: of ``notify`` and ``escalate``.
        ways: names of its sinks, such as ``ops/slack/0``.
        wait_ms: of ``wait_for_ack``.
    """

    kind: Kind
    name: str
    receiver: str = ""
    ways: tuple[str, ...] = ()
    wait_ms: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """What is done about an alert.

    Args:
        name: of the rule.
        matchers: all must hold.
        steps: in their order.
        dry_run: steps are written down and not done.
        max_per_hour: runs; more are refused.
        heed_silences: silenced alerts begin none.
    """

    name: str
    matchers: tuple[Matcher, ...]
    steps: tuple[Step, ...]
    dry_run: bool
    max_per_hour: int
    heed_silences: bool = False

    @property
    def shape(self) -> str:
        """Hash of what the steps are: a run that was begun with others does not go on with these."""
        steps = [(step.kind, step.receiver, step.wait_ms) for step in self.steps]
        return hashlib.blake2b(msgspec.json.encode(steps), digest_size=8).hexdigest()


def compile_rules(loaded: LoadedSettings, receivers: Mapping[str, Receiver]) -> tuple[Rule, ...]:
    """Check the rules of the settings.

    Args:
        loaded: the settings.
        receivers: those of the route tree, by name.

    Raises:
        SettingsError: two rules have one name, a matcher cannot be read, a step is none or several, its receiver is
            unknown or has nobody to tell, or its address is none.
    """
    rules: list[Rule] = []
    for number, rule in enumerate(loaded.settings.response):
        place = f"response[{number}]"
        if any(rule.name == other.name for other in rules):
            raise loaded.error(f"{place}.name", f"there are two rules that are named {rule.name}")
        rules.append(
            Rule(
                rule.name,
                compile_matchers(loaded, f"{place}.matchers", rule.matchers),
                _steps(loaded, place, rule, receivers),
                rule.dry_run,
                rule.max_per_hour,
                rule.heed_silences,
            )
        )
    return tuple(rules)


def kind_of(step: StepSettings) -> Kind:
    """Which kind of step it is.

    Raises:
        ValueError: it is none, or several; the message says which would be possible.

    Example:
        >>> kind_of(StepSettings(wait_for_ack="15m"))
        'wait_for_ack'
        >>> kind_of(StepSettings(notify="ops", escalate="boss"))
        Traceback (most recent call last):
        ValueError: notify and escalate are two steps: give each a table of its own
    """
    given = {
        "http": bool(step.http.get_secret_value()),
        "notify": bool(step.notify),
        "wait_for_ack": step.wait_for_ack is not None,
        "escalate": bool(step.escalate),
    }
    kinds = [kind for kind in KINDS if given[kind]]
    if not kinds:
        raise ValueError(f"a step has one of {', '.join(KINDS[:-1])} and {KINDS[-1]}")
    if len(kinds) > 1:
        number = {2: "two", 3: "three", 4: "four"}[len(kinds)]
        raise ValueError(f"{' and '.join(kinds)} are {number} steps: give each a table of its own")
    return kinds[0]


def note_of(rule: Rule, number: int, results: Sequence[str]) -> str:
    """What is said to who is told at a step.

    Args:
        rule: whose step it is.
        number: of the step from 0.
        results: what became of the steps before it.

    Example:
        >>> steps = (Step("notify", "notify", "ops"), Step("wait_for_ack", "wait", wait_ms=900_000))
        >>> rule = Rule("freeze", (), (*steps, Step("escalate", "escalate", "lead")), dry_run=False, max_per_hour=1)
        >>> note_of(rule, 0, ["freeze the account: done"])
        'Response freeze. Freeze the account: done. Please acknowledge within 15 minutes: else lead is told.'
        >>> note_of(rule, 2, [])
        'Response freeze. Nobody has acknowledged this for 15 minutes.'
    """
    waited = sum(step.wait_ms for step in rule.steps[:number])
    parts = [f"Response {rule.name}."]
    if rule.steps[number].kind == "escalate":
        parts.append(f"Nobody has acknowledged this for {duration(waited)}." if waited else "This cannot wait.")
    parts += [f"{result[:1].upper()}{result[1:]}." for result in results]
    behind = rule.steps[number + 1 :]
    if behind and behind[0].kind == "wait_for_ack":
        follows = next((step for step in behind if step.kind != "wait_for_ack"), None)
        end = "" if follows is None else f": else {f'{follows.receiver} is told' if follows.receiver else follows.name}"
        parts.append(f"Please acknowledge within {duration(behind[0].wait_ms)}{end}.")
    return " ".join(parts)


_OF_HTTP = ("method", "body", "token", "headers", "ca_file", "connect_timeout", "timeout", "give_up_after")
"""Settings that other steps do not have."""
_OF_NONE = ("send_resolved", "max_per_minute", "text")


def _steps(
    loaded: LoadedSettings, place: str, rule: RuleSettings, receivers: Mapping[str, Receiver]
) -> tuple[Step, ...]:
    steps = []
    for number, step in enumerate(rule.steps):
        here = f"{place}.steps[{number}]"
        try:
            kind = kind_of(step)
        except ValueError as error:
            raise loaded.error(here, str(error)) from None
        for name in (*_OF_NONE, *(() if kind == "http" else _OF_HTTP)):
            if name in step.model_fields_set:
                raise loaded.error(f"{here}.{name}", f"means nothing in a step of the kind {kind}")
        title = step.title or kind.replace("_", " ")
        if kind == "http":
            _check_address(loaded, f"{here}.http", step.http.get_secret_value())
            steps.append(Step(kind, title))
        elif kind == "wait_for_ack":
            steps.append(Step(kind, title, wait_ms=step.wait_for_ack or 0))
        else:
            receiver = step.notify or step.escalate
            steps.append(Step(kind, title, receiver, _ways(loaded, f"{here}.{kind}", receiver, receivers)))
    return tuple(steps)


def _ways(loaded: LoadedSettings, key: str, name: str, receivers: Mapping[str, Receiver]) -> tuple[str, ...]:
    if name not in receivers:
        near = difflib.get_close_matches(name, receivers, 1, cutoff=0.6)
        known = f"receivers are {', '.join(receivers)}" if receivers else "there are no receivers"
        hint = f"did you mean {near[0]}?" if near else known
        raise loaded.error(key, f"there is no receiver {name!r}; {hint}")
    ways = tuple(way.name for way in receivers[name].ways)
    if not ways:
        raise loaded.error(key, f"{name} has no webhook, slack, email, pagerduty or apprise that could be told")
    return ways


def _check_address(loaded: LoadedSettings, key: str, url: str) -> None:
    """Only what is behind the host may be a template; no message quotes the address, which may be a secret."""
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0].partition("?")[0].partition("#")[0]
    if scheme not in ("http", "https") or "{" in host or "}" in host or not _is_host(f"{scheme}://{host}"):
        problem = "should begin with http:// or https:// and the name of a host; a template may stand behind it only"
        raise loaded.error(key, problem)


def _is_host(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
