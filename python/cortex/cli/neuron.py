"""The command `neuron`: the daemon that every host runs."""

from pathlib import Path
from typing import Annotated

import typer

from cortex.cli.output import fail
from cortex.errors import CortexError

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Runs models on this host for a cortex gateway.",
)


@app.command()
def serve(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="neuron.toml; else /etc/neuron/.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; overrides the configuration.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", "-p", help="Port; overrides the configuration.", min=0, max=65535)
    ] = None,
    log_level: Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")] = "info",
    log_format: Annotated[str, typer.Option("--log-format", help="text or json.")] = "text",
) -> None:
    """Run the host daemon."""
    from cortex.cli.services import run_neuron

    run_neuron(config, host=host, port=port, log_level=log_level, log_format=log_format)


@app.command()
def check(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="neuron.toml; else /etc/neuron/.")] = None,
) -> None:
    """Check the configuration and the token that it names; changes and starts nothing."""
    from cortex.cli.services import check_neuron

    check_neuron(config)


@app.command()
def bench(
    model: Annotated[str, typer.Argument(help="A .gguf file, a folder of safetensors, or a repository.")],
    quant: Annotated[str | None, typer.Option(help="Which GGUF file of a repository: Q4_K_M, Q8_0, ...")] = None,
    prompt: Annotated[str, typer.Option(help="Lengths of prompts, in tokens.")] = "128,512",
    generate: Annotated[int, typer.Option(help="Tokens to generate.", min=2)] = 64,
    batch: Annotated[str, typer.Option(help="Sequences that generate at a time.")] = "1,8,32",
    threads: Annotated[int | None, typer.Option(help="Engine threads; default: the cores we may use.", min=1)] = None,
    rounds: Annotated[int, typer.Option(help="How often each task is measured.", min=1)] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a model's speed on this machine, and how near the machine's limits it is."""
    from cortex.cli.bench import BenchOptions, run_bench

    run_bench(
        BenchOptions(
            model=model,
            quant=quant,
            prompt=prompt,
            generate=generate,
            batch=batch,
            threads=threads,
            rounds=rounds,
            as_json=as_json,
        )
    )


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
