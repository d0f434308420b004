"""The shell scripts that run on hosts, as texts: POSIX sh, read whole before a line runs, facts on stdout.

Each runs as `sh -s` with itself on standard input, so nothing of it (contents, tokens) shows in a process list.
Commands get no input and write to stderr, which is the host's log; only `say` writes to stdout. A connection that
breaks does not end what runs.
"""

import base64
import shlex
from collections.abc import Iterable, Mapping

from cortex.ops.deploy.plan import Change, File

__all__ = [
    "check_and_place",
    "enable",
    "ensure_repositories",
    "newest",
    "probe",
    "put_back",
    "restart",
    "script",
    "stop",
    "transaction",
    "undo",
]

REPOSITORIES = "/etc/yum.repos.d"
STAGE = "/var/lib/cortex-deploy"
_CHECKERS = {"/etc/cortex": "/usr/bin/cortex check --offline --config", "/etc/neuron": "/usr/bin/neuron check --config"}
_MAIN = {"/etc/cortex": "cortex.toml", "/etc/neuron": "neuron.toml"}

_PROLOGUE = r"""
set -u
trap '' HUP
exec 3>&1 1>&2
LC_ALL=C; export LC_ALL
say() { printf '%s' "$1" >&3; shift; for word; do printf '\t%s' "$word" >&3; done; printf '\n' >&3; }
yes_no() { if "$@" >/dev/null 2>&1; then echo yes; else echo no; fi; }
digest() { sha256sum < "$1" | cut -d ' ' -f 1; }
dnf=$(command -v dnf5 || command -v dnf || true)
last_transaction() {
  case $dnf in
    *dnf5) $dnf history list --json | tr -d ' \n' | sed -n 's/^\[{"id":\([0-9]*\)[,}].*/\1/p' ;;
    *) $dnf -q history list | sed -n 's/^ *\([0-9][0-9]*\) *|.*/\1/p' | head -n 1 ;;
  esac
}
installed() {
  for name; do
    if build=$(rpm -q --qf '%|EPOCH?{%{EPOCH}}:{0}|:%{VERSION}-%{RELEASE}\n' "$name" 2>/dev/null); then
      for one in $build; do say installed "$name" "$one"; done
    fi
  done
}
units() {
  for unit; do
    reload=$(systemctl show -p NeedDaemonReload --value "$unit")
    say unit "$unit" "$(yes_no systemctl cat "$unit")" "$(yes_no systemctl is-active "$unit")" \
      "$(yes_no systemctl is-enabled "$unit")" "${reload:-no}"
  done
}
"""


def script(body: str) -> str:
    """A whole script. Braces make the shell read it to the end first; commands in it cannot eat the rest."""
    return f"{{{_PROLOGUE}\n{body}\nexit 0\n}} </dev/null\n"


def _words(values: Iterable[str]) -> str:
    return " ".join(shlex.quote(value) for value in values)


def probe(*, packages: Iterable[str], repositories: Iterable[str], files: Iterable[str], units: Iterable[str]) -> str:
    """Facts, as far as they cost nothing; changes nothing."""
    return script(f"""
say dnf "${{dnf##*/}}"
installed {_words(packages)}
for name in {_words(repositories)}; do
  file={REPOSITORIES}/$name.repo
  [ -f "$file" ] && say repository "$name" "$(digest "$file")"
done
for path in {_words(files)}; do
  [ -f "$path" ] && say file "$path" "$(digest "$path")" "$(stat -c '%a:%U:%G' "$path")"
done
units {_words(units)}
if command -v nvidia-smi >/dev/null; then
  if nvidia-smi -L >/dev/null; then say gpu ok; else say gpu broken; fi
fi
""")


def newest(packages: Iterable[str], repositories: Iterable[str]) -> str:
    """What the repositories offer now; asks only those named, and asks them anew."""
    only = " ".join(f"--repo={shlex.quote(name)}" for name in repositories)
    return script(f"""
for name in {_words(packages)}; do
  found=$($dnf -q repoquery --refresh {only} --latest-limit=1 --qf '%{{epoch}}:%{{version}}-%{{release}}\\n' "$name") ||
    {{ echo "the repositories cannot be read"; exit 1; }}
  for build in $found; do say newest "$name" "$build"; done
done
""")


def ensure_repositories(texts: Mapping[str, str]) -> str:
    """Write repository files, each at once."""
    lines = [f"mkdir -p {REPOSITORIES} || exit 1"]
    for name, text in texts.items():
        path = f"{REPOSITORIES}/{name}.repo"
        lines.append(_write(path, text.encode(), "644:root:root"))
        lines.append(f"mv -f {shlex.quote(path + '.new')} {shlex.quote(path)} || exit 1")
    return script("\n".join(lines))


def transaction(changes: Iterable[Change], extras: Iterable[str]) -> str:
    """Install or upgrade by one verb that does both, even where dnf.conf says best=0; then each extra by itself, so
    that one that nobody publishes holds up nothing. Says what is there now and which transactions did it."""
    wanted = [f"{change.package}-{change.after}" if change.after else change.package for change in changes]
    main = f"$dnf -y --refresh install --best --allowerasing {_words(wanted)} || status=1" if wanted else ":"
    each = [f"$dnf -y install --best {shlex.quote(name)} || echo 'not installed: {name}'" for name in extras]
    names = [change.package for change in changes] + list(extras)
    return script(f"""
status=0
before=$(last_transaction)
{main}
{chr(10).join(f"[ $status = 0 ] && {{ {line}; }}" for line in each) or ":"}
after=$(last_transaction)
[ "$before" != "$after" ] && say transaction "$after"
installed {_words(names)}
exit $status
""")


def undo(transaction_id: str, packages: Iterable[str]) -> str:
    """Take back dnf's last transaction, if it is still ours."""
    return script(f"""
[ "$(last_transaction)" = {shlex.quote(transaction_id)} ] || {{ echo "another transaction came after ours"; exit 1; }}
$dnf -y history undo {shlex.quote(transaction_id)} || exit 1
installed {_words(packages)}
systemctl daemon-reload
""")


def check_and_place(files: Mapping[str, File], run: str) -> str:
    """Stage the files beside what is there, have the installed version check them, then put each in place at once;
    what was there before is kept under the run's name, until the next run. Status 3 = refused, nothing is changed."""
    lines = [f"stage={STAGE}/{shlex.quote(run)}", f'umask 077; rm -rf {STAGE}/*; mkdir -p "$stage/old" || exit 1']
    folders = sorted({path.rpartition("/")[0] for path in files})
    for folder in folders:
        lines.append(f'mkdir -p {folder} "$stage/new{folder}" "$stage/old{folder}" && chmod 755 {folder} || exit 1')
        lines.append(f'cp -a {folder}/. "$stage/new{folder}/" || exit 1')
    for path, file in files.items():
        lines.append(_write(f"$stage/new{path}", file.content, file.access))
        lines.append(f'mv -f "$stage/new{path}.new" "$stage/new{path}" || exit 1')
    for folder in folders:
        if folder in _CHECKERS:
            main = f'"$stage/new{folder}/{_MAIN[folder]}"'
            lines.append(f"[ ! -f {main} ] || {_CHECKERS[folder]} {main} || {{ echo 'refused'; exit 3; }}")
    for path in files:
        lines.append(f'[ ! -e {path} ] || cp -a {path} "$stage/old{path}" || exit 1')
        lines.append(f'cp -a "$stage/new{path}" {path}.new && mv -f {path}.new {path} || exit 1')
    lines.append('rm -rf "$stage/new"')
    return script("\n".join(lines))


def put_back(paths: Iterable[str], run: str) -> str:
    """The files as they were before `check_and_place` of that run; what was not there is taken away."""
    lines = [f"stage={STAGE}/{shlex.quote(run)}"]
    for path in paths:
        lines.append(
            f'if [ -e "$stage/old{path}" ]; then cp -a "$stage/old{path}" {path}.new && mv -f {path}.new {path}'
        )
        lines.append(f"else rm -f {path}; fi")
    return script("\n".join(lines))


def stop(units: Iterable[str]) -> str:
    """Stop; they drain by themselves."""
    return script(f"systemctl stop {_words(units)} || exit 1")


def enable(units: Iterable[str]) -> str:
    """Enable, with the sockets that belong to them."""
    return script(f"systemctl daemon-reload; systemctl enable {_words(units)} || exit 1")


def restart(units: Iterable[str]) -> str:
    """Restart or start, whatever was counted against them; says why where one does not come up."""
    return script(f"""
systemctl daemon-reload
for unit in {_words(units)}; do
  systemctl reset-failed "$unit" 2>/dev/null
  systemctl restart "$unit" || {{ systemctl status --no-pager --lines=30 "$unit"; exit 1; }}
done
units {_words(units)}
""")


def _write(path: str, content: bytes, access: str) -> str:
    mode, owner, group = access.split(":")
    encoded = base64.b64encode(content).decode()
    new = f'"{path}.new"'
    decode = f"printf %s '{encoded}' | base64 -d > {new}"
    return f"{decode} && chown {owner}:{group} {new} && chmod {mode} {new} || exit 1"
