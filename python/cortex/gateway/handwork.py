"""HandworkKeeper: keeps what operators do by hand (pins, cordons, drains) in a file, and does it again at the start."""

import asyncio
import logging
from pathlib import Path

from cortex import logs
from cortex.config.handwork import Duty as KeptDuty
from cortex.config.handwork import Handwork, Pin, read_handwork, write_handwork
from cortex.errors import ConfigError
from cortex.fleet.membership import handwork_restored
from cortex.fleet.state import Duty, Fleet
from cortex.gateway.board import Board

__all__ = ["HandworkKeeper"]

_log = logging.getLogger("cortex.gateway")


class HandworkKeeper:
    """`path` None keeps nothing. Raises ConfigError for a file that cannot be read."""

    def __init__(self, path: Path | None, board: Board) -> None:
        self._path = path
        self._board = board
        self._turn = asyncio.Lock()
        self._trouble: str | None = None
        self._writing: asyncio.Task[bool] | None = None
        self._kept = Handwork() if path is None else read_handwork(path)
        if self._kept != Handwork():
            board.apply(_restored, self._kept)
            logs.event(_log, logging.INFO, "done by hand before", **_counts(_handwork_of(board.fleet)))

    async def keep(self) -> bool:
        """Write what holds now, once for all who ask meanwhile; whether a restart will find it."""
        if self._path is None:
            return False
        async with self._turn:
            work = _handwork_of(self._board.fleet)
            if work == self._kept and self._trouble is None:
                return True
            try:
                await asyncio.to_thread(write_handwork, self._path, work)
            except ConfigError as error:
                self._trouble = error.message
                logs.event(_log, logging.ERROR, "handwork is not kept", reason=error.message)
                return False
            self._kept, self._trouble = work, None
            return True

    def keep_soon(self) -> None:
        """Write in the background, for changes that nobody waits for: hosts that left took theirs with them."""
        if self._path is not None and _handwork_of(self._board.fleet) != self._kept:
            self._writing = asyncio.get_running_loop().create_task(self.keep(), name="keep handwork")

    async def close(self) -> None:
        """Let the last change be written."""
        if self._writing is not None:
            await asyncio.wait([self._writing])

    @property
    def warnings(self) -> list[str]:
        """What a restart would forget."""
        if self._trouble is not None:
            return [f"{self._trouble}; a restart forgets what was pinned, cordoned or drained by hand"]
        if self._path is None and _handwork_of(self._board.fleet) != Handwork():
            return ["pins, cordons and drains by hand end with this process: gateway.state_file would keep them"]
        return []


def _restored(fleet: Fleet, work: Handwork) -> Fleet:
    """The fleet with what was done by hand before."""
    duties = {host: Duty(duty) for host, duty in work.duties.items()}
    return handwork_restored(fleet, [(pin.model, pin.host) for pin in work.pins], duties)


def _handwork_of(fleet: Fleet) -> Handwork:
    duties: dict[str, KeptDuty] = {}
    for name, host in sorted(fleet.hosts.items()):
        if host.duty is Duty.CORDONED:
            duties[name] = "cordoned"
        elif host.duty is Duty.DRAINED:
            duties[name] = "drained"
    return Handwork(pins=tuple(Pin(model=model, host=host) for model, host in sorted(fleet.pins)), duties=duties)


def _counts(work: Handwork) -> dict[str, int]:
    return {"pins": len(work.pins), "hosts": len(work.duties)}
