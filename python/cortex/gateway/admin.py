"""Admin: handlers of what changes the fleet by hand: cordon, drain, load, unload, pin; for admins only (`access`)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from cortex.dialects.body import parse_body
from cortex.errors import InvalidField, NeverFits, ServiceUnavailable
from cortex.fleet.membership import duty_given, pinned, unpinned
from cortex.fleet.placement import feasible
from cortex.fleet.scheduler import Load, Reject, Serve, Wait
from cortex.fleet.state import Duty, Fleet, Host
from cortex.gateway.board import Board
from cortex.gateway.dispatch import Dispatcher
from cortex.gateway.lifecycle import Lifecycle
from cortex.gateway.neurons import NeuronClient
from cortex.http import App, Request, Response, json_response
from cortex.protocol import UnloadRequest
from cortex.types import ModelState

__all__ = ["Admin"]

_ACCEPTED = 202
_MOST_WAIT = 3600.0


class _Drain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    wait_seconds: float = 0.0


class _Where(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: str
    host: str | None = None


class _Pin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: str
    host: str


class _Unload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: str
    host: str | None = None
    drain_seconds: float = 30.0


_DRAIN, _WHERE = msgspec.json.Decoder(_Drain), msgspec.json.Decoder(_Where)
_PIN, _UNLOAD = msgspec.json.Decoder(_Pin), msgspec.json.Decoder(_Unload)


class Admin:
    """Cordons, drains and pins are kept (`keep` says whether), and last until they are taken back."""

    def __init__(
        self,
        board: Board,
        dispatcher: Dispatcher,
        lifecycle: Lifecycle,
        neurons: NeuronClient,
        refresh: Callable[[str], Awaitable[bool]],
        keep: Callable[[], Awaitable[bool]],
    ) -> None:
        self._board = board
        self._dispatcher = dispatcher
        self._lifecycle = lifecycle
        self._neurons = neurons
        self._refresh = refresh
        self._keep = keep

    def register(self, app: App) -> None:
        """The routes, all below `/api/admin/`."""
        app.post("/api/admin/hosts/:name/cordon")(self.cordon)
        app.post("/api/admin/hosts/:name/drain")(self.drain)
        app.post("/api/admin/hosts/:name/uncordon")(self.uncordon)
        app.post("/api/admin/models/load")(self.load)
        app.post("/api/admin/models/unload")(self.unload)
        app.post("/api/admin/models/pin")(self.pin)
        app.post("/api/admin/models/unpin")(self.unpin)

    async def cordon(self, request: Request) -> Response:
        """Nothing more is loaded there; what is loaded goes on serving."""
        return json_response(await self._duty(request, Duty.CORDONED))

    async def uncordon(self, request: Request) -> Response:
        """The host does everything again."""
        return json_response(await self._duty(request, Duty.ACTIVE))

    async def drain(self, request: Request) -> Response:
        """No new requests go there; waits up to `wait_seconds` for those under way."""
        asked = parse_body(_DRAIN, request.body) if request.body else _Drain()
        told = await self._duty(request, Duty.DRAINED)
        name = told["host"]
        try:
            async with asyncio.timeout(min(max(asked.wait_seconds, 0.0), _MOST_WAIT)):
                await self._board.until(lambda fleet: not _in_flight(fleet, name))
        except TimeoutError:
            pass
        return json_response({**told, "in_flight": _in_flight(self._board.fleet, name)})

    async def load(self, request: Request) -> Response:
        """200 where the model is loaded already, 202 once its load has begun or is under way. Raises what the policy
        rejects with."""
        asked = parse_body(_WHERE, request.body)
        model = await self._dispatcher.model(asked.model)
        others: frozenset[str] = frozenset()
        if asked.host is not None:
            host = self._host(asked.host)
            if model.listed and host.devices and not feasible(self._board.fleet, model.profile, host):
                raise NeverFits(f"{model.id} does not fit on {host.name}, or is pinned elsewhere; see `cortex check`.")
            others = frozenset(self._board.fleet.hosts) - {asked.host}
        answer: dict[str, Any]
        match self._dispatcher.decision(model, exclude=others):
            case Serve(name):
                return json_response({"model": model.id, "status": ModelState.LOADED, "host": name})
            case Reject() as reject:
                raise reject.error()
            case Load() as load:
                self._lifecycle.start(load, model)
                answer = {"model": model.id, "status": ModelState.LOADING, "host": load.host, "evict": load.evict}
            case Wait("loading" | "place" as reason, where):
                answer = {"model": model.id, "status": "loaded" if reason == "place" else "loading", "host": where}
            case Wait():
                raise ServiceUnavailable(f"There is no room for {model.id} now: the models in memory are in use.")
        return json_response(answer, status=_ACCEPTED)

    async def unload(self, request: Request) -> Response:
        """Unload from one host, or from all that have it; waits for requests under way. Raises ModelBusy."""
        asked = parse_body(_UNLOAD, request.body)
        model = await self._dispatcher.model(asked.model)
        held = [host for host in self._board.fleet.having(model.id) if asked.host in (None, host.name)]
        if not held:
            where = self._host(asked.host).name if asked.host is not None else "any host"
            raise InvalidField(f"{model.id} is not on {where}.", param="model")
        for host in held:
            order = UnloadRequest(model_id=model.id, drain_seconds=asked.drain_seconds)
            await self._neurons.unload(host.endpoint, order)
            await self._refresh(host.name)
        return json_response({"model": model.id, "status": "unloaded", "hosts": [host.name for host in held]})

    async def pin(self, request: Request) -> Response:
        """The model is not evicted from the host."""
        return await self._pin(request, pinned)

    async def unpin(self, request: Request) -> Response:
        """It may be evicted again, unless the catalogue pins it."""
        return await self._pin(request, unpinned)

    async def _pin(self, request: Request, change: Callable[[Fleet, str, str], Fleet]) -> Response:
        asked = parse_body(_PIN, request.body)
        model = await self._dispatcher.model(asked.model)
        self._board.apply(change, model.id, self._host(asked.host).name)
        hosts = sorted(host for pinned_model, host in self._board.fleet.pins if pinned_model == model.id)
        return json_response({"model": model.id, "pinned_on": hosts, "kept": await self._keep()})

    async def _duty(self, request: Request, duty: Duty) -> dict[str, Any]:
        name = self._host(request.path_params["name"]).name
        self._board.apply(duty_given, name, duty)
        kept = await self._keep()
        return {"host": name, "duty": duty, "in_flight": _in_flight(self._board.fleet, name), "kept": kept}

    def _host(self, name: str) -> Host:
        host = self._board.fleet.hosts.get(name)
        if host is None:
            known = ", ".join(sorted(self._board.fleet.hosts)[:10]) or "none"
            raise InvalidField(f"There is no host {name[:100]!r}; the hosts are: {known}.", param="host")
        return host


def _in_flight(fleet: Fleet, name: str) -> int:
    host = fleet.hosts.get(name)
    return 0 if host is None else sum(host.leases.values())
