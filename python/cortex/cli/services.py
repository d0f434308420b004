"""Runs one daemon from its configuration: the gateway or the neuron, with what the command line overrides."""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from cortex import logs
from cortex.cli.output import say
from cortex.config import GatewayConfig, GatewaySection, load_neuron
from cortex.config.secrets import read_tokens
from cortex.config.source import GatewaySource
from cortex.config.warnings import neuron_warnings
from cortex.errors import ConfigError

__all__ = ["check_neuron", "run_gateway", "run_neuron", "start_logging", "with_addresses"]

_log = logging.getLogger("cortex.cli")


def start_logging(level: str, style: str) -> None:
    """Configure the logs as asked; raises ConfigError for a word that is none of the choices."""
    if level not in logs.LEVELS:
        raise ConfigError(f"--log-level {level}: choose {', '.join(logs.LEVELS[:-1])} or {logs.LEVELS[-1]}")
    if style not in ("text", "json"):
        raise ConfigError(f"--log-format {style}: choose text or json")
    logs.configure(level, "json" if style == "json" else "text")


def with_addresses(config: GatewayConfig, *, listen: str | None, metrics_listen: str | None) -> GatewayConfig:
    """The configuration with the addresses of the command line; raises ConfigError where one is not host:port."""
    section = config.gateway
    for key, address in (("listen", listen), ("metrics_listen", metrics_listen)):
        if address is None:
            continue
        try:
            msgspec.convert({key: address}, GatewaySection)
        except msgspec.ValidationError as error:
            option = f"--{key.replace('_', '-')}"
            raise ConfigError(f"{option} {address}: write host:port, for example 127.0.0.1:31313") from error
        section = msgspec.structs.replace(section, **{key: address})
    return msgspec.structs.replace(config, gateway=section)


def run_gateway(
    config: Path | None, *, listen: str | None, metrics_listen: str | None, log_level: str, log_format: str
) -> None:
    """Run the gateway until a signal. Raises ConfigError for settings or a port that cannot be used."""
    from cortex.gateway.app import Gateway
    from cortex.http import inherited_listener, run

    start_logging(log_level, log_format)
    source = GatewaySource(
        config, os.environ, adjust=lambda found: with_addresses(found, listen=listen, metrics_listen=metrics_listen)
    )
    files = source.read()
    _warn(files.warnings)
    origins = {"gateway": files.path or "built-in defaults", "models": files.catalogue or "none"}
    _log.info("configuration", extra={"fields": origins})
    if not files.config.neurons:
        _log.warning("no hosts: list them as [[neurons]] in cortex.toml, or run everything here with `cortex up`")
    listener = inherited_listener(os.environ, os.getpid())
    run(lambda: Gateway(files, source=source, listener=listener))


def check_neuron(config: Path | None) -> None:
    """Say whether the host daemon would start with this configuration. Raises ConfigError where it would not."""
    from cortex.neuron.access import Access

    loaded = load_neuron(config, os.environ)
    Access(loaded.config.auth, os.environ)
    tokens = read_tokens(None if loaded.config.auth is None else loaded.config.auth.token_file, os.environ)
    for warning in (*loaded.warnings, *neuron_warnings(loaded.config, tokens=tokens)):
        say(f"warning: {warning}")
    say(f"{loaded.origin} is right")


def run_neuron(config: Path | None, *, host: str | None, port: int | None, log_level: str, log_format: str) -> None:
    """Run the host daemon until a signal. Raises ConfigError for settings or a port that cannot be used."""
    from cortex.http import run
    from cortex.neuron.app import Neuron

    start_logging(log_level, log_format)
    loaded = load_neuron(config, os.environ)
    overrides = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    settings = msgspec.structs.replace(loaded.config, **overrides)
    tokens = read_tokens(None if settings.auth is None else settings.auth.token_file, os.environ)
    _warn((*loaded.warnings, *neuron_warnings(settings, tokens=tokens)))
    _log.info("configuration", extra={"fields": {"neuron": loaded.origin}})
    made: list[Neuron] = []

    def make() -> Neuron:
        made.append(Neuron(settings, os.environ, restarts=True))
        return made[-1]

    run(make)
    if made and made[-1].restart_asked:
        _log.info("beginning anew")
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings:
        _log.warning(warning)
