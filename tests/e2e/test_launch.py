"""`cortex launch`: what an agent is started with, in front of the real gateway; the agents themselves are scripts."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cortex.cli.agents import AGENTS, Target
from cortex.ops.starter import STARTER_ID
from tests.e2e.conftest import Up

# Tells its arguments and variables.
AGENT = """\
#!{python}
import json, os, sys
json.dump({{"arguments": sys.argv[1:], "variables": dict(os.environ)}}, sys.stdout)
sys.exit(7)
"""


@pytest.fixture
def agents(tmp_path: Path) -> Path:
    for agent in AGENTS.values():
        path = tmp_path / agent.program
        path.write_text(AGENT.format(python=sys.executable))
        path.chmod(0o755)
    return tmp_path


def launch(up: Up, path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cortex.cli.cortex", "launch", *words]
    variables = {**os.environ, "PATH": str(path), "ANTHROPIC_API_KEY": "sk-of-another-account", "CORTEX_API_KEY": "own"}
    run = [*command[:4], "--endpoint", up.gateway, *command[4:]]
    return subprocess.run(run, env=variables, capture_output=True, text=True, timeout=60, check=False)


def started(up: Up, path: Path, *words: str) -> dict[str, Any]:
    ended = launch(up, path, *words)
    assert ended.returncode == 7, ended.stderr
    found = json.loads(ended.stdout)
    assert isinstance(found, dict)
    return found


def test_claude_code_gets_the_gateway_the_key_and_the_only_model(up: Up, agents: Path) -> None:
    seen = started(up, agents, "claude", "--", "-p", "hello")
    assert seen["arguments"] == ["-p", "hello"]
    variables = seen["variables"]
    assert "ANTHROPIC_API_KEY" not in variables
    assert (variables["ANTHROPIC_BASE_URL"], variables["ANTHROPIC_AUTH_TOKEN"]) == (up.gateway, "own")
    names = {name for name, value in variables.items() if value == STARTER_ID}
    assert {"ANTHROPIC_MODEL", "ANTHROPIC_DEFAULT_HAIKU_MODEL", "CLAUDE_CODE_SUBAGENT_MODEL"} <= names
    assert int(variables["CLAUDE_CODE_MAX_OUTPUT_TOKENS"]) * 4 <= int(variables["CLAUDE_CODE_AUTO_COMPACT_WINDOW"])


def test_codex_gets_settings_and_no_key_among_them(up: Up, agents: Path) -> None:
    seen = started(up, agents, "codex", "-m", STARTER_ID, "--", "exec", "hello")
    words = seen["arguments"]
    assert words[-2:] == ["exec", "hello"]
    settings = dict(word.split("=", 1) for word in words[1:-2:2])
    assert set(words[:-2:2]) == {"-c"}
    assert settings["model"] == f'"{STARTER_ID}"'
    assert settings["model_providers.cortex.base_url"] == f'"{up.gateway}/v1"'
    assert settings["model_providers.cortex.wire_api"] == '"responses"'
    assert seen["variables"]["CORTEX_API_KEY"] == "own"
    assert "own" not in " ".join(words)


def test_opencode_gets_a_provider(up: Up, agents: Path) -> None:
    config = json.loads(started(up, agents, "opencode")["variables"]["OPENCODE_CONFIG_CONTENT"])
    assert config["model"] == config["small_model"] == f"cortex/{STARTER_ID}"
    provider = config["provider"]["cortex"]
    assert provider["options"] == {"baseURL": f"{up.gateway}/v1", "apiKey": "{env:CORTEX_API_KEY}"}
    assert provider["models"][STARTER_ID]["limit"]["context"] > 0


def test_an_agent_that_does_not_fit_is_told(up: Up, agents: Path) -> None:
    assert "holds 8,192 tokens, and Claude Code begins with about" in launch(up, agents, "claude").stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["vim"], "there is no agent 'vim'; there are: claude, codex, opencode"),
        (["claude", "-m", "none"], f"there is no model 'none'; there are: {STARTER_ID}"),
        (["codex", "--small", "none"], "there is no model 'none'"),
    ],
)
def test_what_is_not_there_is_named(up: Up, agents: Path, words: list[str], told: str) -> None:
    ended = launch(up, agents, *words)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert told in ended.stderr


def test_an_agent_that_is_not_installed_is_told_how_to_be(up: Up, tmp_path: Path) -> None:
    ended = launch(up, tmp_path, "opencode")
    assert ended.returncode == 1
    assert "npm install -g opencode-ai" in ended.stderr


def test_printed_commands_do_the_same(up: Up, agents: Path) -> None:
    printed = launch(up, agents, "claude", "--print", "--", "-p", "it's me").stdout
    ran = subprocess.run(
        ["/bin/sh", "-c", printed], env={"PATH": str(agents)}, capture_output=True, text=True, timeout=60
    )
    seen = json.loads(ran.stdout)
    assert seen["arguments"] == ["-p", "it's me"]
    assert seen["variables"]["ANTHROPIC_BASE_URL"] == up.gateway
    as_json = json.loads(launch(up, agents, "claude", "--json").stdout)
    assert as_json["command"] == ["claude"]
    assert as_json["unset"] == ["ANTHROPIC_API_KEY"]
    assert as_json["set"]["ANTHROPIC_MODEL"] == STARTER_ID


def test_a_model_without_a_known_context_sets_no_limits() -> None:
    target = Target("http://127.0.0.1:1", "", "org/model", "org/small", None)
    claude, codex, opencode = (AGENTS[name].start(target) for name in ("claude", "codex", "opencode"))
    assert "CLAUDE_CODE_AUTO_COMPACT_WINDOW" not in claude.variables
    assert claude.variables["ANTHROPIC_AUTH_TOKEN"] == "none"
    assert claude.variables["ANTHROPIC_DEFAULT_HAIKU_MODEL"] == "org/small"
    assert not any("context_window" in word for word in codex.arguments)
    assert set(json.loads(opencode.variables["OPENCODE_CONFIG_CONTENT"])["provider"]["cortex"]["models"]) == {
        "org/model",
        "org/small",
    }
