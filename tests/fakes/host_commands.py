"""Commands of pretended RPM hosts that need thought: an `ssh` that runs scripts in a folder, and the dnf5 they call.

A host is a folder; absolute paths in scripts are put under it. Run as `host_commands.py NAME ARGS...` by wrappers on
PATH; the simple commands are shell scripts in hosts.py. The repository is `repository.json` beside the hosts.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

FLEET = Path(os.environ["FAKE_FLEET"])
PATHS = re.compile(r"(?<![\w./$}])/(etc|var|usr)(?=/)")
WITH_VALUE = {"-o", "-p", "-l"}
OURS = re.compile(r"(?P<name>[a-z][a-z0-9-]*?)(-(?P<build>\d[^-]*-[^-]+))?$")
BRINGS = {"cortex": ["usr/bin/cortex"], "helexa-neuron": ["usr/bin/neuron", "usr/lib/helexa-neuron/bin/cortex"]}


def ssh(words: list[str]) -> int:
    """Without a connection 255; `-O exit` does nothing."""
    if "-O" in words:
        return 0
    rest = [word for before, word in zip(["", *words], words, strict=False) if before not in WITH_VALUE]
    name = next(word for word in rest if not word.startswith("-"))
    host = FLEET / name
    if not host.is_dir() or (host / "down").exists():
        sys.stderr.write(f"ssh: connect to host {name} port 22: No route to host\n")
        return 255
    script = PATHS.sub(lambda found: f"{host}/{found[1]}", sys.stdin.read())
    with (FLEET / "sessions").open("a") as sessions:
        sessions.write(f"{name}\n")
    environ = {**os.environ, "FAKE_HOST": str(host)}
    done = subprocess.run(["sh", "-s"], input=script.encode(), env=environ, stdout=subprocess.PIPE, check=False)
    sys.stdout.write(done.stdout.decode().replace(f"{host}/", "/"))
    return done.returncode


class Dnf:
    """One call of dnf5 on one host."""

    def __init__(self, words: list[str]) -> None:
        self._root = Path(os.environ["FAKE_HOST"])
        self._words = words
        faults = self._root / "faults"
        self._faults = faults.read_text().splitlines() if faults.exists() else []
        offers = self._root / "offers.json"
        self._offered = json.loads((FLEET / "repository.json").read_text())
        self._offered |= json.loads(offers.read_text()) if offers.exists() else {}

    def run(self) -> int:
        verb = next(word for word in self._words if not word.startswith("-"))
        if verb == "history":
            return self._undo() if "undo" in self._words else self._list()
        if "repository down" in self._faults and "--refresh" in self._words:
            return _fail("Curl error (7): Could not connect to server")
        rest = self._words[self._words.index(verb) + 1 :]
        names = [word for word in rest if not word.startswith("-") and "%" not in word]
        return self._query(names) if verb == "repoquery" else self._install(names)

    def _query(self, names: list[str]) -> int:
        for name in names:
            sys.stdout.write("".join(f"0:{build}\n" for build in self._offered.get(name, [])[-1:]))
        return 0

    def _install(self, names: list[str]) -> int:
        """Without --best any version that is installed will do: what the shipped best=0 does."""
        wanted = {}
        for word in names:
            found = OURS.match(word)
            name, build = (found["name"], found["build"]) if found else (word, None)
            builds = self._offered.get(name)
            if not builds or (build and build not in builds):
                return _fail(f"No match for argument: {word}")
            there = (self._root / "installed" / name).exists()
            if not there or build or "--best" in self._words:
                wanted[name] = build or builds[-1]
        before = {path.name: path.read_text() for path in (self._root / "installed").iterdir()}
        if before | wanted != before:
            self._become(before | wanted, before)
        return 0

    def _become(self, now: dict[str, str], before: dict[str, str]) -> None:
        history = self._root / "history"
        (history / str(len(list(history.iterdir())) + 1)).write_text(json.dumps(before))
        shutil.rmtree(self._root / "installed")
        (self._root / "installed").mkdir()
        for name, build in now.items():
            (self._root / "installed" / name).write_text(build)
        for path in [path for paths in BRINGS.values() for path in paths]:
            (self._root / path).unlink(missing_ok=True)
        for path in [path for name in now for path in BRINGS.get(name, ())]:
            (self._root / path).parent.mkdir(parents=True, exist_ok=True)
            (self._root / path).symlink_to(Path(os.environ["FAKE_BIN"]) / "cortex")

    def _list(self) -> int:
        numbers = sorted((int(path.name) for path in (self._root / "history").iterdir()), reverse=True)
        sys.stdout.write(json.dumps([{"id": number} for number in numbers], indent=2) + "\n")
        return 0

    def _undo(self) -> int:
        if "undo fails" in self._faults:
            return _fail("the old version is not available")
        then = json.loads((self._root / "history" / self._words[-1]).read_text())
        now = {path.name: path.read_text() for path in (self._root / "installed").iterdir()}
        self._become(then, now)
        return 0


def _fail(message: str) -> int:
    sys.stderr.write(f"{message}\n")
    return 1


if __name__ == "__main__":
    sys.exit(ssh(sys.argv[2:]) if sys.argv[1] == "ssh" else Dnf(sys.argv[2:]).run())
