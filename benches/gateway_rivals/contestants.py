"""Contestants: how each gateway is installed (into a folder of its own in the cache) and started before the mock."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benches.gateway_rivals.mock import MODEL
from tests.e2e.daemons import free_port

__all__ = ["DIRECT", "OURS", "RIVALS", "Contestant", "NotInstalled", "ours"]

DIRECT, OURS = "the mock itself", "cortex"
_PYTHON_RIVALS = {"litellm": "litellm[proxy]==1.108.7", "vllm-router": "vllm-router==0.1.17", "smg": "smg==1.13.0"}
_PORTKEY = "@portkey-ai/gateway@1.15.2"
_ROOT = Path(__file__).resolve().parents[2]


class NotInstalled(Exception):
    """It could not be installed or started; the text says why."""


@dataclass(frozen=True)
class Contestant:
    """A command line that serves on `port`, with what its requests need."""

    name: str
    version: str
    command: list[str]
    port: int
    model: str = MODEL
    headers: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    translates: bool = False
    share: float = 1.0  # of the requests of the others, for one that takes ten times as long


def cache() -> Path:
    """Where rivals are kept from run to run."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "cortex" / "rivals"


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise NotInstalled(f"{what} does not install: {lines[-1][:160]}")


def _python_rival(name: str) -> Path:
    """Its folder of programs."""
    folder, wanted = cache() / name, _PYTHON_RIVALS[name]
    stamp = folder / ".installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"installing {wanted}", file=sys.stderr)
        _run([sys.executable, "-m", "venv", str(folder)], name)
        _run([str(folder / "bin" / "python"), "-m", "pip", "install", "-q", wanted], wanted)
        stamp.write_text(wanted)
    return folder / "bin"


def ours(folder: Path, mock: int) -> Contestant:
    """Keys, quotas and ledger off, as the rivals'; the log goes to a file."""
    port = free_port()
    (folder / "models.toml").write_text("")
    (folder / "cortex.toml").write_text(
        f'[gateway]\nlisten = "127.0.0.1:{port}"\nmetrics_listen = "127.0.0.1:{free_port()}"\n'
        f'[[neurons]]\nname = "mock"\nkind = "openai"\nendpoint = "http://127.0.0.1:{mock}/v1"\n'
    )
    command = [sys.executable, "-m", "cortex.cli.cortex", "serve", "-c", str(folder / "cortex.toml")]
    environ = {"PYTHONPATH": str(_ROOT / "python")}
    return Contestant(OURS, "this checkout", command, port, translates=True, environ=environ)


def _litellm(folder: Path, mock: int) -> Contestant:
    port, programs = free_port(), _python_rival("litellm")
    config = folder / "litellm.yaml"
    config.write_text(
        f"model_list:\n  - model_name: {MODEL}\n    litellm_params:\n      model: openai/{MODEL}\n"
        f"      api_base: http://127.0.0.1:{mock}/v1\n      api_key: none\n"
        "litellm_settings:\n  telemetry: false\n"
    )
    command = [str(programs / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    environ = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    environ["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"  # the others ask for none either
    return Contestant(
        "litellm",
        _PYTHON_RIVALS["litellm"],
        [*command, "--num_workers", "1"],
        port,
        environ=environ,
        translates=True,
        share=0.1,
    )


def _router(name: str, *options: str) -> Callable[[Path, int], Contestant]:
    def make(_folder: Path, mock: int) -> Contestant:
        port, programs = free_port(), _python_rival(name)
        where = ["--host", "127.0.0.1", "--port", str(port), "--worker-urls", f"http://127.0.0.1:{mock}"]
        quiet = ["--log-level", "error", "--prometheus-port", str(free_port())]
        return Contestant(name, _PYTHON_RIVALS[name], [str(programs / name), *options, *where, *quiet], port)

    return make


def _portkey(_folder: Path, mock: int) -> Contestant:
    folder, port = cache() / "portkey", free_port()
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise NotInstalled("portkey needs node and npm, which are not here")
    server = folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    if not server.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _run([npm, "install", "--no-save", "--prefix", str(folder), _PORTKEY], _PORTKEY)
    headers = {
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{mock}/v1",
        "authorization": "Bearer none",
    }
    environ = {"TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost", "NODE_ENV": "production"}
    command = [node, str(server), f"--port={port}", "--headless"]
    return Contestant("portkey", _PORTKEY, command, port, headers=headers, environ=environ)


RIVALS: dict[str, Callable[[Path, int], Contestant]] = {
    "vllm-router": _router("vllm-router", "--policy", "round_robin"),
    "smg": _router("smg", "launch", "--policy", "round_robin", "--backend", "openai"),
    "portkey": _portkey,
    "litellm": _litellm,
}
