"""Books: every request's ending as its client saw it, beside what the gateway wrote down and counted."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from benches.soak.traffic import Asked
from tests.e2e.cluster import Cluster, ledger_lines, open_files, resident_bytes, sample
from tests.wire.endings import Ending, Verdict

__all__ = ["Books", "Level", "level", "unlike"]

_DOOR = ("shutting_down", "overloaded_error")  # refused before it was taken in


@dataclass
class Books:
    """What clients saw: one verdict for each request; `cut` are those that broke off when the gateway was killed."""

    verdicts: dict[str, tuple[Asked, Verdict]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def enter(self, id_: str, asked: Asked, verdict: Verdict) -> None:
        """One request's one ending."""
        assert id_ not in self.verdicts, f"{id_} ended twice"
        self.verdicts[id_] = asked, verdict

    def endings(self) -> Counter[tuple[str, str, str]]:
        """How many by path, ending and code."""
        return Counter((asked.path, str(ending), code) for asked, (ending, code) in self.verdicts.values())

    def compare(self, cluster: Cluster) -> list[str]:
        """Where the ledger says something else; each request stands in it once, with the outcome its client saw."""
        events: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for line in ledger_lines(cluster.ledger_file):
            events[line["request_id"]].append(line)
        wrong = [f"{id_}: {told}" for id_, told in events.items() if _pair(told) is None]
        for id_, (asked, verdict) in self.verdicts.items():
            outcome = _pair(events.get(id_, []))
            if not _agree(asked, verdict, outcome):
                wrong.append(f"{id_} {asked.path}: the client saw {verdict}, the ledger has {outcome}")
        return wrong


def _pair(told: list[dict[str, Any]]) -> str | None:
    """The outcome of a request that began once and ended once; empty for one that is not there."""
    if not told:
        return ""
    if [line["event"] for line in told] != ["began", "ended"] or told[0]["id"] != told[1]["id"]:
        return None
    return str(told[1]["outcome"])


def _agree(asked: Asked, verdict: Verdict, outcome: str | None) -> bool:
    ending, code = verdict
    if ending is Ending.LEFT:
        return outcome is not None
    if outcome == "gateway_killed":  # at a kill a whole stream may be out and not booked yet
        return ending in (Ending.CUT, Ending.OK)
    if ending is Ending.CUT:
        return outcome not in (None, "")
    if ending is Ending.OK:
        return outcome == "ok"
    if not outcome:
        return code in _DOOR
    if asked.path.startswith("/v1/messages") or code == "server_error":  # dialects that tell kinds, not causes
        return outcome not in ("ok", "client_gone")
    return outcome == code


@dataclass(frozen=True)
class Level:
    """What the gateway's process holds while it is idle."""

    resident_bytes: int
    open_files: int
    tasks: int


def level(cluster: Cluster) -> Level:
    """Once nothing is in flight."""
    cluster.idle()
    pid = cluster.gateway.process.pid
    return Level(resident_bytes(pid), open_files(pid), int(cluster.sample("cortex_tasks")))


def unlike(cluster: Cluster, since: int) -> list[str]:
    """Where the metrics of the running gateway differ from the ledger's bytes since it started."""
    with cluster.ledger_file.open("rb") as file:
        file.seek(since)
        tail = cluster.folder / "tail.jsonl"
        tail.write_bytes(file.read())
    told = [line for line in ledger_lines(tail) if line["event"] == "ended" and line["outcome"] != "gateway_killed"]
    text = cluster.scrape()
    wrong = []
    for outcome, count in Counter(line["outcome"] for line in told).items():
        counted = sample(text, "cortex_requests_total", outcome=outcome)
        if counted != count:
            wrong.append(f"{outcome}: {count} in the ledger, {counted:g} in the metrics")
    for tokens in ("prompt_tokens", "completion_tokens"):
        booked, counted = sum(line.get(tokens, 0) for line in told), sample(text, f"cortex_{tokens}_total")
        if booked != counted:
            wrong.append(f"{tokens}: {booked} in the ledger, {counted:g} in the metrics")
    if (total := sample(text, "cortex_requests_total")) != len(told):
        wrong.append(f"{len(told)} in the ledger, {total:g} in the metrics")
    return wrong
