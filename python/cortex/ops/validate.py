"""Validation: does every host answer, alone and through the gateway? Reads only, but for a load that is asked for."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from cortex.errors import ConfigError, CortexError
from cortex.ops import capital
from cortex.ops.api import Api

__all__ = ["Check", "Options", "Target", "chosen", "validate", "validate_host"]

ANSWER_SECONDS = 180.0
_POLL_SECONDS = 0.5
_WORDLESS = frozenset({"embedding", "embeddings", "rerank"})


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    host: str
    name: str
    state: Literal["passed", "failed", "skipped"]
    detail: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Target:
    """A host by the name that the gateway has for it, and its daemon."""

    name: str
    neuron: Api


@dataclass(frozen=True)
class Options:
    """`load` names a model to load first (`quant` of it); `wait_seconds` bounds the default models and the load."""

    load: str | None = None
    quant: str | None = None
    wait_seconds: float = 900.0


@dataclass(frozen=True)
class _Failed(Exception):
    detail: str


class _Skipped(_Failed):
    pass


def validate(targets: Iterable[Target], gateway: Api | None, options: Options) -> list[Check]:
    """Every host at the same time; the checks come in the hosts' order."""
    hosts = list(targets)
    with ThreadPoolExecutor(max(len(hosts), 1), thread_name_prefix="validate") as pool:
        found = pool.map(lambda target: validate_host(target, gateway, options), hosts)
        return [check for checks in found for check in checks]


def validate_host(target: Target, gateway: Api | None, options: Options) -> list[Check]:
    """One host: 1. health, 2. discovery, 3. a model, 4. its answer; 5. and 6. the same through the gateway in both
    dialects. After a failure the rest is skipped."""
    run = _Run(target)
    run.check("health", lambda: _health(target.neuron, options))
    run.check("discovery", lambda: _discovery(target.neuron))
    model = run.check("model", lambda: _model(target.neuron, options))
    chat, messages = "/v1/chat/completions", "/v1/messages"
    run.check("answer", lambda: _asked(target.neuron, chat, capital.chat_body(model), capital.chat_said))
    if gateway is not None:
        run.check("gateway openai", lambda: _asked(gateway, chat, capital.chat_body(model), capital.chat_said))
        body = capital.anthropic_body(model)
        run.check("gateway anthropic", lambda: _asked(gateway, messages, body, capital.anthropic_said))
    return run.checks


class _Run:
    """The checks of one host, in order."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._clock = target.neuron.clock
        self._over = ""
        self.checks: list[Check] = []

    def check(self, name: str, look: Callable[[], str]) -> str:
        """The detail of what passed; empty for what did not."""
        if self._over:
            self._add(name, "skipped", self._over, 0.0)
            return ""
        start = self._clock.now()
        try:
            detail = look()
        except _Skipped as skipped:
            self._over = skipped.detail
            self._add(name, "skipped", skipped.detail, self._clock.now() - start)
        except (_Failed, CortexError) as error:
            self._over = f"after {name} failed"
            detail = error.detail if isinstance(error, _Failed) else error.message
            self._add(name, "failed", detail, self._clock.now() - start)
        else:
            self._add(name, "passed", detail, self._clock.now() - start)
            return detail
        return ""

    def _add(self, name: str, state: Literal["passed", "failed", "skipped"], detail: str, seconds: float) -> None:
        host = self._target.name
        self.checks.append(Check(host=host, name=name, state=state, detail=detail, seconds=round(seconds, 3)))


def _health(neuron: Api, options: Options) -> str:
    """The default models are waited for: until they are there the host is not what it shall be."""
    deadline = neuron.clock.now() + options.wait_seconds
    while True:
        health = neuron.get("/health")
        if health.get("status") != "ok":
            raise _Failed(f"says {health.get('status')}")
        activation = health.get("activation") or {}
        for failed in activation.get("failed", ()):
            raise _Failed(f"{failed['model_id']}: {failed['error']}")
        if activation.get("state", "ready") == "ready":
            return f"ok, up for {health.get('uptime_secs', 0):.0f} s"
        if neuron.clock.now() >= deadline:
            raise _Failed(f"still loading {activation.get('in_progress')} after {options.wait_seconds:.0f} s")
        neuron.clock.sleep(_POLL_SECONDS)


def _discovery(neuron: Api) -> str:
    found = neuron.get("/discovery")
    devices = [str(device.get("name") or device.get("kind")) for device in found.get("devices", ())]
    if not devices:
        raise _Failed("finds no device")
    reason = found.get("cuda_unavailable_reason")
    return f"{found.get('version')}: {', '.join(devices)}{f' ({reason})' if reason else ''}"


def _model(neuron: Api, options: Options) -> str:
    """The model that is asked for, loaded if need be; else one that is loaded and writes text."""
    if options.load is not None:
        body = {"model_id": options.load, "quant": options.quant, "harness": "candle"}
        answer = neuron.post("/models/load", body, seconds=options.wait_seconds)
        if answer.get("status") != "loaded":
            raise _Failed(f"{options.load} is {answer.get('status')}")
        return options.load
    for entry in neuron.get("/models"):
        if entry["status"] == "loaded" and not _WORDLESS & set(entry.get("capabilities", ())):
            return str(entry["id"])
    raise _Skipped("no model is loaded; --load MODEL loads one and asks it")


def _asked(api: Api, path: str, body: dict[str, Any], said: Callable[[Any], capital.Said]) -> str:
    answer = api.post(path, body, seconds=ANSWER_SECONDS)
    try:
        right, why = capital.verdict(said(answer))
    except (KeyError, IndexError, TypeError) as error:
        raise _Failed(f"{path} answered in a shape of its own: {error!r}") from error
    if not right:
        raise _Failed(why)
    return why


def chosen(fleet: Any, names: Iterable[str], token: str) -> list[Target]:
    """The hosts of the gateway's picture of the fleet, or those of `names` (names or URLs).

    Raises ConfigError for a name that the gateway does not know.
    """
    known = {host["name"]: host["endpoint"] for host in fleet["hosts"]} if fleet is not None else {}
    wanted = list(names) or list(known)
    targets = []
    for name in wanted:
        endpoint = name if name.startswith(("http://", "https://")) else known.get(name)
        if endpoint is None:
            raise ConfigError(f"no host {name!r}; known: {', '.join(known) or 'none'}, or give its URL")
        targets.append(Target(name=name, neuron=Api(endpoint, token=token)))
    return targets
