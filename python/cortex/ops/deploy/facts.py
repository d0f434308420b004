"""What a host says of itself: tab-separated lines that our scripts print, parsed once into a frozen value."""

import msgspec

from cortex.errors import CortexError
from cortex.ops.deploy.versions import Build

__all__ = ["Facts", "FileFacts", "Malformed", "UnitFacts", "parse_facts"]


class Malformed(CortexError):
    """A host answered with something that our scripts do not print."""

    code = "malformed_facts"


class FileFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it lies there: SHA-256 in hexadecimal, and `mode:owner:group`."""

    digest: str
    access: str


class UnitFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A unit as systemd sees it; `present` is whether it has a file at all."""

    present: bool = False
    active: bool = False
    enabled: bool = False
    reload: bool = False


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """A host before or after. What is absent has no entry. `newest` is what its repositories offer, by package.

    `gpu` is ok, absent, or broken (a driver that does not answer). `transaction` is dnf's last one.
    """

    dnf: str = ""
    installed: dict[str, Build] = {}
    newest: dict[str, Build] = {}
    repositories: dict[str, str] = {}
    files: dict[str, FileFacts] = {}
    units: dict[str, UnitFacts] = {}
    gpu: str = "absent"
    transaction: str = ""


def parse_facts(text: str) -> Facts:
    """From a script's lines `KIND TAB NAME TAB VALUE...`; raises Malformed. Of several builds the newest counts."""
    facts = Facts()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            _take(facts, line.split("\t"))
        except (ValueError, IndexError, KeyError) as error:
            raise Malformed(f"line {number} of the host's facts makes no sense: {line[:200]!r}") from error
        facts = msgspec.structs.replace(facts, **_single(line.split("\t")))
    return facts


def _take(facts: Facts, words: list[str]) -> None:
    match words:
        case ["installed" | "newest" as kind, name, build]:
            builds = facts.installed if kind == "installed" else facts.newest
            found = Build.of(build)
            if name not in builds or found.newer_than(builds[name]):
                builds[name] = found
        case ["repository", name, digest]:
            facts.repositories[name] = digest
        case ["file", path, digest, access]:
            facts.files[path] = FileFacts(digest=digest, access=access)
        case ["unit", name, present, active, enabled, reload]:
            flags = [{"yes": True, "no": False}[word] for word in (present, active, enabled, reload)]
            facts.units[name] = UnitFacts(present=flags[0], active=flags[1], enabled=flags[2], reload=flags[3])
        case ["dnf" | "gpu" | "transaction", _]:
            pass
        case _:
            raise ValueError(words)


def _single(words: list[str]) -> dict[str, str]:
    return {words[0]: words[1]} if words[0] in ("dnf", "gpu", "transaction") else {}
