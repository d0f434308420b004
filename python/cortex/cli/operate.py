"""The commands for a running gateway: check, models, top, chat, launch, load, unload, pin, cordon, drain, and so on."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["operate_app"]

Endpoint = Annotated[str, typer.Option("--endpoint", "-e", help="The gateway.")]
Json = Annotated[bool, typer.Option("--json", help="The same as JSON.")]
Model = Annotated[str, typer.Argument(help="Model or alias.")]
Host = Annotated[str, typer.Argument(help="Host, by its name in cortex.toml.")]
OnHost = Annotated[str | None, typer.Option("--host", help="On this host only.")]
GATEWAY = "http://localhost:31313"


operate_app = typer.Typer()


@operate_app.command()
def check(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="cortex.toml; else /etc/cortex/.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Only the files; ask no host.")] = False,
    as_json: Json = False,
) -> None:
    """Check the gateway's files, and show for each model on which hosts it fits, and why not on the others."""
    from cortex.cli.check import run_check

    run_check(config, offline=offline, as_json=as_json)


@operate_app.command()
def usage(
    file: Annotated[Path | None, typer.Argument(help="The ledger; else usage.ledger of cortex.toml.")] = None,
    by: Annotated[str, typer.Option(help="key, model, neuron, api or outcome.")] = "key",
    days: Annotated[float, typer.Option(help="Only the last so many days.", min=0)] = 36_500.0,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="cortex.toml; else /etc/cortex/.")] = None,
    as_json: Json = False,
) -> None:
    """Sum requests and tokens of the usage ledger."""
    from cortex.cli.usage import run_usage

    run_usage(file, config, by=by, days=days, as_json=as_json)


@operate_app.command()
def models(endpoint: Endpoint = GATEWAY, as_json: Json = False) -> None:
    """List what clients may ask for: where it is loaded, where it fits, context, price."""
    from cortex.cli.models_table import show_models

    show_models(endpoint, as_json=as_json)


@operate_app.command()
def top(
    endpoint: Endpoint = GATEWAY,
    every: Annotated[float, typer.Option(help="Seconds between looks.", min=0.1)] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Draw once.")] = False,
    as_json: Json = False,
) -> None:
    """Watch requests, speed, queues and memory, live."""
    from cortex.cli.top import show_top

    show_top(endpoint, every_seconds=every, once=once, as_json=as_json)


@operate_app.command()
def chat(
    prompt: Annotated[list[str] | None, typer.Argument(help="The question; without one a conversation.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Else the only loaded one.")] = None,
    system: Annotated[str | None, typer.Option(help="System prompt.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer.", min=1)] = None,
    temperature: Annotated[float | None, typer.Option(help="0 = always the likeliest token.", min=0, max=2)] = None,
    endpoint: Endpoint = GATEWAY,
    as_json: Json = False,
) -> None:
    """Talk with a model through the gateway."""
    from cortex.cli.chat import ChatOptions, run_chat

    options = ChatOptions(model=model, system=system, max_tokens=max_tokens, temperature=temperature)
    run_chat(endpoint, " ".join(prompt or ()), options, as_json=as_json)


@operate_app.command()
def launch(
    agent: Annotated[str, typer.Argument(help="claude, codex or opencode.")],
    words: Annotated[list[str] | None, typer.Argument(help="The agent's own arguments, after --.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Else the only loaded one.")] = None,
    small: Annotated[str | None, typer.Option("--small", help="For titles and the like; else the same model.")] = None,
    show: Annotated[bool, typer.Option("--print", help="Print what would be run, as shell commands.")] = False,
    endpoint: Endpoint = GATEWAY,
    as_json: Json = False,
) -> None:
    """Start a coding agent that uses the gateway's models; its own settings stay as they are."""
    from cortex.cli.launch import LaunchOptions, launch_agent

    launch_agent(endpoint, agent, words or [], LaunchOptions(model=model, small=small, show=show, as_json=as_json))


@operate_app.command()
def load(
    model: Model,
    host: OnHost = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait for its end.")] = False,
    endpoint: Endpoint = GATEWAY,
    as_json: Json = False,
) -> None:
    """Load a model where it fits best, or on one host, and show how far it is."""
    from cortex.cli.moving import load_model

    load_model(endpoint, model, host, wait=not no_wait, as_json=as_json)


@operate_app.command()
def unload(
    model: Model,
    host: OnHost = None,
    drain: Annotated[float, typer.Option(help="Seconds for requests under way.", min=0)] = 30.0,
    endpoint: Endpoint = GATEWAY,
    as_json: Json = False,
) -> None:
    """Unload a model from one host, or from all."""
    from cortex.cli.moving import unload_model

    unload_model(endpoint, model, host, drain_seconds=drain, as_json=as_json)


@operate_app.command()
def pin(model: Model, host: Host, endpoint: Endpoint = GATEWAY, as_json: Json = False) -> None:
    """Let no load evict a model from a host, until `unpin`."""
    from cortex.cli.moving import change_pin

    change_pin(endpoint, model, host, pin=True, as_json=as_json)


@operate_app.command()
def unpin(model: Model, host: Host, endpoint: Endpoint = GATEWAY, as_json: Json = False) -> None:
    """Take a pin back."""
    from cortex.cli.moving import change_pin

    change_pin(endpoint, model, host, pin=False, as_json=as_json)


@operate_app.command()
def cordon(host: Host, endpoint: Endpoint = GATEWAY, as_json: Json = False) -> None:
    """Load nothing more on a host; what is loaded goes on serving."""
    from cortex.cli.moving import change_duty

    change_duty(endpoint, host, "cordon", as_json=as_json)


@operate_app.command()
def uncordon(host: Host, endpoint: Endpoint = GATEWAY, as_json: Json = False) -> None:
    """Let a host do everything again."""
    from cortex.cli.moving import change_duty

    change_duty(endpoint, host, "uncordon", as_json=as_json)


@operate_app.command()
def drain(
    host: Host,
    wait: Annotated[float, typer.Option(help="Seconds to wait for requests under way; 0 = do not.", min=0)] = 60.0,
    endpoint: Endpoint = GATEWAY,
    as_json: Json = False,
) -> None:
    """Send no new requests to a host, and wait until the last one ended."""
    from cortex.cli.moving import change_duty

    change_duty(endpoint, host, "drain", wait_seconds=wait, as_json=as_json)
