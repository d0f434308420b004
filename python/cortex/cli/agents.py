"""Coding agents that can be pointed at a gateway: the variables and arguments each takes, per its documentation."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cortex.cli.gateway_calls import KEY_VARIABLE

__all__ = ["AGENTS", "Agent", "Start", "Target"]

# What is sent where the gateway asks for no key: the agents insist on one.
_NO_KEY = "none"


@dataclass(frozen=True)
class Target:
    """A model behind a gateway; `small` answers titles and other little things; `context` in tokens, None = unknown."""

    base: str
    key: str
    model: str
    small: str
    context: int | None


@dataclass(frozen=True)
class Start:
    """How to start an agent: arguments after the program's name, variables to set, and variables to take away."""

    arguments: tuple[str, ...]
    variables: Mapping[str, str]
    removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Agent:
    """A program, the name to speak of it, how to install it, the tokens of its first turn, and how to start it."""

    title: str
    program: str
    install: str
    first_turn: int
    start: Callable[[Target], Start]


def _claude(target: Target) -> Start:
    tiers = ("ANTHROPIC_MODEL", "ANTHROPIC_DEFAULT_OPUS_MODEL", "ANTHROPIC_DEFAULT_SONNET_MODEL")
    variables = {
        "ANTHROPIC_BASE_URL": target.base,
        "ANTHROPIC_AUTH_TOKEN": target.key or _NO_KEY,
        **dict.fromkeys(tiers, target.model),
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": target.small,
        "CLAUDE_CODE_SUBAGENT_MODEL": target.model,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    if target.context is not None:
        variables["CLAUDE_CODE_AUTO_COMPACT_WINDOW"] = str(target.context)
        variables["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] = str(min(32000, max(1024, target.context // 4)))
    # Its own account's key would win over the token.
    return Start((), variables, removed=("ANTHROPIC_API_KEY",))


def _codex(target: Target) -> Start:
    provider = "model_providers.cortex"
    settings: dict[str, str | int] = {
        "model": target.model,
        "model_provider": "cortex",
        f"{provider}.name": "cortex",
        f"{provider}.base_url": f"{target.base}/v1",
        f"{provider}.env_key": KEY_VARIABLE,
        f"{provider}.wire_api": "responses",
    }
    if target.context is not None:
        settings["model_context_window"] = target.context
    arguments = (word for name, value in settings.items() for word in ("-c", f"{name}={json.dumps(value)}"))
    return Start(tuple(arguments), {KEY_VARIABLE: target.key or _NO_KEY})


def _opencode(target: Target) -> Start:
    model: dict[str, object] = {"name": target.model}
    if target.context is not None:
        model["limit"] = {"context": target.context, "output": max(1024, target.context // 4)}
    models = {target.model: model} | ({} if target.small == target.model else {target.small: {"name": target.small}})
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "cortex",
        "options": {"baseURL": f"{target.base}/v1", "apiKey": f"{{env:{KEY_VARIABLE}}}"},
        "models": models,
    }
    config = {
        "provider": {"cortex": provider},
        "model": f"cortex/{target.model}",
        "small_model": f"cortex/{target.small}",
    }
    return Start((), {"OPENCODE_CONFIG_CONTENT": json.dumps(config), KEY_VARIABLE: target.key or _NO_KEY})


AGENTS: Mapping[str, Agent] = {
    "claude": Agent("Claude Code", "claude", "npm install -g @anthropic-ai/claude-code", 22_000, _claude),
    "codex": Agent("Codex", "codex", "npm install -g @openai/codex", 10_000, _codex),
    "opencode": Agent("opencode", "opencode", "npm install -g opencode-ai", 10_000, _opencode),
}
