"""A pretended fleet of RPM hosts behind a pretended ssh, in a folder; see host_commands.py for what needs thought."""

import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["NEW", "OLD", "FakeFleet", "FakeHost"]

OLD, NEW = "0.1.0-1", "0.2.0-1"
# `fault TEXT` is whether the test planned that fault; `journal` keeps what services and our commands were told.
_COMMON = """\
fault() { grep -qxF "$*" "$FAKE_HOST/faults" 2>/dev/null; }
journal() { echo "$*" >> "$FAKE_HOST/journal"; }
build() { cat "$FAKE_HOST/installed/$1" 2>/dev/null || printf absent; }
"""
_SHELL = {
    # What is not installed is said on standard output.
    "rpm": """
for name; do :; done
[ -f "$FAKE_HOST/installed/$name" ] || { echo "package $name is not installed"; exit 1; }
echo "0:$(build "$name")"
""",
    "systemctl": """
verb=$1; shift
for unit; do case $unit in *.service) ;; *) continue ;; esac
  case $unit in neuron.service) running=$(build helexa-neuron) ;; *) running=$(build cortex) ;; esac
  place=$FAKE_HOST/units/$unit; mkdir -p "$place"
  case $verb in start|stop|restart|enable) journal "$verb $unit $running" ;; esac
  case $verb in
    show) echo no ;;
    enable) touch "$place/enabled" ;;
    stop) rm -f "$place/active" ;;
    start|restart) if fault "$unit does not start $running"; then rm -f "$place/active"; exit 1; fi
      touch "$place/active" ;;
    is-active) [ -f "$place/active" ] || exit 3 ;;
    is-enabled) [ -f "$place/enabled" ] || exit 1 ;;
  esac
done
""",
    "cortex": """
verb=$1
case $verb in drain|uncordon|keys) journal "$1 $2" ;; *) journal "$1" ;; esac
for last; do :; done
case $verb in
  keys) [ "$2" = revoke ] || echo made-key; exit 0 ;;
  check) ;;
  *) if fault "asks for a key" && [ "${CORTEX_API_KEY:-}" != made-key ]; then
    echo "error: No API key: send one" >&2; exit 1
  fi ;;
esac
case $verb in
  check) if grep -q nonsense "$last"; then echo "$last:1: unknown key 'nonsense'" >&2; exit 1; fi ;;
  validate) wrong=passed; fault "answers nonsense $(build helexa-neuron)" && wrong=failed
    printf '{"checks": [{"host": "h", "name": "answer", "state": "%s", "detail": "got Rome"}]}' $wrong
    [ $wrong = passed ] || exit 1 ;;
esac
! fault "$verb fails"
""",
    # Owners that nobody but root could give.
    "stat": """
for path; do :; done
mode=$(/usr/bin/stat -c %a "$path"); group=root; folder=${path%/*}
[ "$mode" = 640 ] && group=${folder##*/}
echo "$mode:root:$group"
""",
    "chown": "exit 0\n",
}


class FakeHost:
    """One host; its state is in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("installed", "history", "units"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    @property
    def installed(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in (self.folder / "installed").iterdir()}

    def install(self, package: str, build: str) -> None:
        """By hand, past everything."""
        (self.folder / "installed" / package).write_text(build)

    def faults(self, *faults: str) -> None:
        (self.folder / "faults").write_text("".join(f"{fault}\n" for fault in faults))

    def offers(self, package: str, *builds: str) -> None:
        """What this host's repositories have, other than everybody's."""
        (self.folder / "offers.json").write_text(json.dumps({package: builds}))

    def unit(self, name: str) -> set[str]:
        return {path.name for path in (self.folder / "units" / name).iterdir()}

    def journal(self) -> list[str]:
        """What was done to services and asked of our commands since the last call."""
        file = self.folder / "journal"
        done = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return done

    def text(self, path: str) -> str:
        return (self.folder / path.lstrip("/")).read_text()

    def everything(self) -> dict[str, Any]:
        """Every file, to compare."""
        return {str(path): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}


class FakeFleet:
    """Hosts by name, and one repository, under `folder`; made anew or found as it was."""

    def __init__(self, folder: Path, hosts: tuple[str, ...]) -> None:
        self.folder = folder / "fleet"
        self.bin = folder / "bin"
        self.folder.mkdir(exist_ok=True)
        self._commands()
        self.hosts = {name: FakeHost(self.folder / name) for name in hosts}

    @property
    def environ(self) -> dict[str, str]:
        """For whoever shall meet these hosts."""
        return {"PATH": f"{self.bin}:/usr/bin:/bin", "FAKE_FLEET": str(self.folder), "FAKE_BIN": str(self.bin)}

    def publish(self, package: str, *builds: str) -> None:
        """What the repository has of a package from now on."""
        file = self.folder / "repository.json"
        known = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(known | {package: list(builds)}))

    def sessions(self) -> int:
        """How many scripts were run on hosts so far."""
        return len((self.folder / "sessions").read_text().splitlines())

    def _commands(self) -> None:
        self.bin.mkdir(exist_ok=True)
        script = Path(__file__).with_name("host_commands.py")
        texts = {name: _COMMON + text for name, text in _SHELL.items()}
        texts |= {name: f'exec {sys.executable} -IS {script} {name} "$@"\n' for name in ("ssh", "dnf5")}
        for name, text in texts.items():
            (self.bin / name).write_text(f"#!/bin/sh\n{text}")
            (self.bin / name).chmod(0o755)
