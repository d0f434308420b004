"""The command `cortex`: gateway, everything-in-one, status, demo."""

from pathlib import Path
from typing import Annotated

import typer

from cortex.cli.keys import keys_app
from cortex.cli.operate import operate_app
from cortex.cli.output import fail, say
from cortex.errors import CortexError

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="One OpenAI- and Anthropic-compatible endpoint in front of every GPU and CPU host you own.",
)
app.add_typer(keys_app, name="keys")
app.registered_commands.extend(operate_app.registered_commands)

Config = Annotated[Path | None, typer.Option("--config", "-c", help="cortex.toml; else /etc/cortex/cortex.toml.")]
Listen = Annotated[str | None, typer.Option(help="API address, host:port; overrides the configuration.")]
MetricsListen = Annotated[str | None, typer.Option(help="Prometheus address, host:port.")]
Level = Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")]
Format = Annotated[str, typer.Option("--log-format", help="text or json.")]


@app.command()
def serve(
    config: Config = None,
    listen: Listen = None,
    metrics_listen: MetricsListen = None,
    log_level: Level = "info",
    log_format: Format = "text",
) -> None:
    """Run the gateway."""
    from cortex.cli.services import run_gateway

    run_gateway(config, listen=listen, metrics_listen=metrics_listen, log_level=log_level, log_format=log_format)


@app.command()
def up(
    model: Annotated[
        str | None, typer.Argument(help="Repository, .gguf file or folder; without it the small starter model.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The name clients use for the model.")] = None,
    quant: Annotated[str | None, typer.Option(help="Which GGUF file of a repository: Q4_K_M, Q8_0, ...")] = None,
    listen: Listen = None,
    metrics_listen: MetricsListen = None,
    neuron_port: Annotated[int, typer.Option(help="Port of the embedded neuron.", min=0, max=65535)] = 13131,
    threads: Annotated[int | None, typer.Option(help="Engine threads; default: the cores we may use.", min=1)] = None,
    log_level: Level = "info",
    log_format: Format = "text",
) -> None:
    """Run a gateway and a neuron on this machine, in one process, without configuration."""
    from cortex.cli.engine import ensure_engine

    ensure_engine()
    from cortex.cli.up import UpOptions, run_up

    options = UpOptions(
        model=model,
        name=name,
        quant=quant,
        listen=listen or "127.0.0.1:31313",
        metrics_listen=metrics_listen or "127.0.0.1:31314",
        neuron_port=neuron_port,
        threads=threads,
        log_level=log_level,
        log_format=log_format,
    )
    run_up(options)


@app.command()
def status(
    endpoint: Annotated[str, typer.Option("--endpoint", "-e", help="The gateway.")] = "http://localhost:31313",
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
) -> None:
    """Show hosts, devices, memory, models and loads in progress."""
    from cortex.cli.status import show_status

    show_status(endpoint, as_json=as_json)


@app.command()
def validate(
    host: Annotated[
        list[str] | None, typer.Option(help="A host by name or URL; repeat it. Without it all that the gateway has.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", "-e", help="The gateway; else http://localhost:31313.")
    ] = None,
    load: Annotated[str | None, typer.Option(help="Load this model on each host first.")] = None,
    quant: Annotated[str | None, typer.Option(help="Which GGUF file of --load: Q4_K_M, Q8_0, ...")] = None,
    wait: Annotated[float, typer.Option(help="Seconds for default models and --load.", min=1)] = 900.0,
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
) -> None:
    """Prove that every host answers a question, by itself and through the gateway in both dialects."""
    from cortex.cli.validate import run_validate
    from cortex.ops.validate import Options

    run_validate(endpoint, host or [], Options(load=load, quant=quant, wait_seconds=wait), as_json=as_json)


Inventory = Annotated[Path, typer.Argument(help="inventory.toml: hosts, roles, repositories, files.")]


@app.command()
def deploy(
    inventory: Inventory,
    host: Annotated[list[str] | None, typer.Option(help="Only this host; repeat it.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Show the plan, change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False,
    logs: Annotated[Path | None, typer.Option(help="Folder for the hosts' logs; else ~/.local/state/cortex.")] = None,
) -> None:
    """Install or upgrade the hosts of an inventory over ssh: one first, then batches; what fails is taken back."""
    from cortex.cli.deploy import run_deploy

    run_deploy(inventory, host or [], check=check, as_json=as_json, logs=logs)


@app.command()
def export(
    tool: Annotated[str, typer.Argument(help="ansible or pyinfra.")],
    inventory: Inventory,
) -> None:
    """Print the inventory of `cortex deploy` for another tool."""
    from cortex.cli.deploy import run_export

    run_export(inventory, tool)


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")] = False,
) -> None:
    """Start everything, ask a question through both dialects, show answers and speed."""
    from cortex.cli.demo import run_demo

    run_demo(keep=keep)


@app.command("starter-model")
def starter_model() -> None:
    """Fetch the small starter model into the cache and print its path."""
    from cortex.ops.starter import ensure_starter

    typer.echo(ensure_starter(say))


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    typer.echo(installed("helexa-cortex"))


def main() -> None:
    """Entry point: our own errors become one line and a hint."""
    try:
        app()
    except CortexError as error:
        fail(error)


if __name__ == "__main__":
    main()
