"""`cortex launch`: starts a coding agent that talks to the gateway; the agent's own settings stay as they are."""

import os
import shlex
import shutil
from dataclasses import dataclass

from cortex.cli.agents import AGENTS, Agent, Start, Target
from cortex.cli.choosing import choose_model
from cortex.cli.gateway_calls import GatewayCalls
from cortex.cli.output import print_json, print_line, say
from cortex.errors import ConfigError

__all__ = ["LaunchOptions", "launch_agent"]


@dataclass(frozen=True)
class LaunchOptions:
    """`model` None = the only one that is loaded, `small` None = the same; `show` prints and starts nothing."""

    model: str | None
    small: str | None
    show: bool
    as_json: bool


def launch_agent(endpoint: str, name: str, words: list[str], options: LaunchOptions) -> None:
    """Become the agent, with `words` as its further arguments. Raises ConfigError for an agent that is not known or
    not installed and where no model can be chosen, and what the gateway refuses with."""
    agent = AGENTS.get(name)
    if agent is None:
        raise ConfigError(f"there is no agent {name!r}; there are: {', '.join(AGENTS)}")
    target = _target(endpoint, name, options)
    start = agent.start(target)
    if options.as_json or options.show:
        _show(agent, start, words, as_json=options.as_json)
        return
    program = shutil.which(agent.program)
    if program is None:
        raise ConfigError(f"{agent.title} is not installed ({agent.program!r} is not in PATH): {agent.install}")
    _warn(agent, target)
    variables = {name: value for name, value in os.environ.items() if name not in start.removed}
    os.execve(program, [agent.program, *start.arguments, *words], {**variables, **start.variables})


def _target(endpoint: str, agent: str, options: LaunchOptions) -> Target:
    calls = GatewayCalls(endpoint)
    command = f"cortex launch {agent}"
    model = choose_model(calls, options.model, command)
    small = choose_model(calls, options.small, command) if options.small is not None else model
    return Target(calls.base, calls.key, model["id"], small["id"], model.get("max_model_len"))


def _warn(agent: Agent, target: Target) -> None:
    if target.context is not None and target.context < agent.first_turn:
        say(
            f"warning: {target.model} holds {target.context:,} tokens, and {agent.title} begins with about "
            f"{agent.first_turn:,}: choose another model, or a larger context_length"
        )


def _show(agent: Agent, start: Start, words: list[str], *, as_json: bool) -> None:
    command = [agent.program, *start.arguments, *words]
    if as_json:
        print_json({"command": command, "set": dict(start.variables), "unset": list(start.removed)})
        return
    for name in start.removed:
        print_line(f"unset {name}")
    for name, value in start.variables.items():
        print_line(f"export {name}={shlex.quote(value)}")
    print_line(shlex.join(command))
