"""Validation against daemons that answer by a script: patience, honesty about failures, thinking models."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from cortex.cli.cortex import app
from cortex.errors import ConfigError, UpstreamMalformed, UpstreamUnreachable
from cortex.ops.api import Api, Refused
from cortex.ops.capital import Said, anthropic_said, chat_said, verdict
from cortex.ops.validate import Check, Options, Target, chosen, validate_host
from tests.unit.ops.daemons import Hours, Says, Scripted, scripted

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
PARIS = {"choices": [{"message": {"content": "Paris."}, "finish_reason": "stop"}]}
CLAUDE = {"content": [{"type": "text", "text": "It is Paris."}], "stop_reason": "end_turn"}
HEALTHY = {"status": "ok", "uptime_secs": 3.2, "activation": {"state": "ready", "failed": []}}
GPU = {"version": "0.1.0", "devices": [{"index": 0, "name": "Example GPU", "kind": "cuda"}]}


def healthy(**other: list[Says]) -> dict[str, list[Says]]:
    """A neuron that passes; `other` replaces answers by name."""
    answers = {
        "/health": [Says(HEALTHY)],
        "/discovery": [Says(GPU)],
        "/models": [Says([{"id": "org/a", "status": "loaded"}])],
        "/models/load": [Says({"status": "loaded", "model_id": "org/b", "revision": 2})],
        CHAT: [Says(PARIS)],
        MESSAGES: [Says(CLAUDE)],
    }
    return answers | {("/" + name if name != "chat" else CHAT): script for name, script in other.items()}


def look(
    daemon: Scripted, hours: Hours, *, options: Options | None = None, gateway: Scripted | None = None
) -> list[Check]:
    neuron = Api(daemon.url, token="secret", clock=hours.clock())
    door = Api(gateway.url, clock=hours.clock()) if gateway is not None else None
    return validate_host(Target("beast", neuron), door, options or Options())


def states(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.state for check in checks}


def test_a_healthy_host_passes_alone_and_through_the_gateway() -> None:
    with scripted(healthy()) as neuron, scripted(healthy()) as gateway:
        checks = look(neuron, Hours(), gateway=gateway)
    assert set(states(checks).values()) == {"passed"}
    assert [check.name for check in checks][-2:] == ["gateway openai", "gateway anthropic"]
    assert neuron.tokens == {"Bearer secret"}
    assert gateway.tokens == {None}, "the hosts' token is not for the gateway"
    path, body = gateway.asked[-1]
    assert (path, body["model"], body["temperature"]) == (MESSAGES, "org/a", 0)


def test_default_models_are_waited_for() -> None:
    warming = {**HEALTHY, "activation": {"state": "pre_warming", "in_progress": "org/a", "failed": []}}
    hours = Hours()
    with scripted(healthy(health=[Says(warming), Says(warming), Says(HEALTHY)])) as neuron:
        assert set(states(look(neuron, hours)).values()) == {"passed"}
    assert hours.slept == [0.5, 0.5]


def test_a_host_that_never_gets_ready_fails_at_the_deadline() -> None:
    warming = {**HEALTHY, "activation": {"state": "pre_warming", "in_progress": "org/a", "failed": []}}
    with scripted(healthy(health=[Says(warming)])) as neuron:
        checks = look(neuron, Hours(), options=Options(wait_seconds=5))
    assert checks[0].state == "failed"
    assert checks[0].detail == "still loading org/a after 5 s"
    assert set(states(checks[1:]).values()) == {"skipped"}


@pytest.mark.parametrize(
    ("change", "name", "detail"),
    [
        ({"health": [Says({"status": "failing"})]}, "health", "says failing"),
        (
            {"health": [Says({**HEALTHY, "activation": {"failed": [{"model_id": "org/a", "error": "no such file"}]}})]},
            "health",
            "org/a: no such file",
        ),
        ({"discovery": [Says({"version": "1", "devices": []})]}, "discovery", "finds no device"),
        ({"discovery": [Says(b"<html>")]}, "discovery", "did not answer with JSON"),
        ({"chat": [Says({"choices": []})]}, "answer", "in a shape of its own"),
        (
            {"chat": [Says({"choices": [{"message": {"content": "London"}, "finish_reason": "stop"}]})]},
            "answer",
            "expected Paris, got 'London'",
        ),
        ({"chat": [Says({"error": {"message": "engine stopped"}}, 500)]}, "answer", "answered 500: engine stopped"),
    ],
    ids=["failing", "default model", "no device", "no JSON", "odd shape", "wrong city", "server error"],
)
def test_what_is_wrong_fails_with_its_reason(change: dict[str, list[Says]], name: str, detail: str) -> None:
    with scripted(healthy(**change)) as neuron:
        failed = [check for check in look(neuron, Hours()) if check.state == "failed"]
    assert [check.name for check in failed] == [name]
    assert detail in failed[0].detail


def test_a_model_is_loaded_when_asked_for_and_the_host_s_wish_to_wait_is_honoured() -> None:
    busy = Says({"error": {"message": "loading another"}}, 503, {"retry-after": "7"})
    hours = Hours()
    with scripted(healthy(**{"models/load": [busy, Says({"status": "loaded", "model_id": "org/b"})]})) as neuron:
        checks = look(neuron, hours, options=Options(load="org/b", quant="Q8_0"))
        asked = dict(neuron.asked)
    assert set(states(checks).values()) == {"passed"}
    assert hours.slept == [7.0]
    assert asked["/models/load"] == {"model_id": "org/b", "quant": "Q8_0", "harness": "candle"}
    assert asked[CHAT]["model"] == "org/b"


def test_a_host_that_stays_busy_fails_before_the_deadline_passes() -> None:
    busy = Says({"error": {"message": "the queue is full"}}, 429, {"retry-after": "100"})
    hours = Hours()
    with scripted(healthy(chat=[busy])) as neuron:
        failed = [check for check in look(neuron, hours) if check.state == "failed"]
    assert [check.detail for check in failed] == [f"{CHAT} answered 429: the queue is full"]
    assert sum(hours.slept) <= 180
    assert max(hours.slept) == 30.0, "a long wish is asked about again in between"


def test_without_a_loaded_model_the_answers_are_skipped_and_said_so() -> None:
    with scripted(healthy(models=[Says([{"id": "org/a", "status": "failed"}])])) as neuron:
        checks = look(neuron, Hours())
    assert states(checks) == {"health": "passed", "discovery": "passed", "model": "skipped", "answer": "skipped"}
    assert "--load MODEL" in checks[2].detail


@pytest.mark.parametrize(
    ("said", "right"),
    [
        (Said("PARIS", ""), True),
        (Said("", "it is Paris", cut=True), True),
        (Said("", "it is Paris", cut=False), False),
        (Said("London", "it is Paris"), False),
        (Said("", "London", cut=True), False),
    ],
)
def test_what_is_only_thought_counts_only_where_the_answer_was_cut_off(said: Said, right: bool) -> None:
    assert verdict(said)[0] is right


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"content": "<think>Rome?</think>Paris"}, Said("Paris", "Rome?")),
        ({"content": "Rome?</think>Paris"}, Said("Paris", "Rome?")),
        ({"content": "<think>Rome"}, Said("", "Rome", cut=True)),
        ({"content": None, "reasoning_content": "Rome"}, Said("", "Rome", cut=True)),
    ],
)
def test_thinking_is_told_from_the_answer(message: dict[str, Any], said: Said) -> None:
    reason = "length" if said.cut else "stop"
    assert chat_said({"choices": [{"message": message, "finish_reason": reason}]}) == said


def test_thinking_blocks_of_the_other_dialect_are_told_too() -> None:
    blocks = [{"type": "thinking", "thinking": "Rome?"}, {"type": "text", "text": "Paris"}]
    assert anthropic_said({"content": blocks, "stop_reason": "max_tokens"}) == Said("Paris", "Rome?", cut=True)


def test_a_redirect_is_not_followed_with_our_token() -> None:
    with scripted({"/health": [Says({}, 307, {"location": "/elsewhere"})]}) as daemon:
        with pytest.raises(Refused, match="answered 307"):
            Api(daemon.url, token="secret").get("/health")
        assert [path for path, _ in daemon.asked] == ["/health"]


def test_an_absent_daemon_and_a_bad_url_are_told_apart() -> None:
    with pytest.raises(UpstreamUnreachable):
        Api("http://127.0.0.1:9").get("/health")
    with pytest.raises(ConfigError, match="write a URL"):
        Api("beast:13131")
    with scripted({"/health": [Says(b"plain")]}) as daemon, pytest.raises(UpstreamMalformed):
        Api(daemon.url).get("/health")


def test_hosts_are_chosen_by_name_or_url() -> None:
    fleet = {"hosts": [{"name": "beast", "endpoint": "http://beast:13131"}]}
    names = [(target.name, target.neuron.base) for target in chosen(fleet, ["beast", "http://other:1"], "")]
    assert names == [("beast", "http://beast:13131"), ("http://other:1", "http://other:1")]
    with pytest.raises(ConfigError, match="no host 'best'; known: beast"):
        chosen(fleet, ["best"], "")


def test_the_command_fails_and_shows_why_when_a_check_failed() -> None:
    with scripted(healthy(discovery=[Says({"version": "1", "devices": []})])) as neuron:
        result = CliRunner().invoke(app, ["validate", "--host", neuron.url, "--json"])
        table = CliRunner().invoke(app, ["validate", "--host", neuron.url])
    assert result.exit_code == table.exit_code == 1
    report = json.loads(result.stdout)
    assert report["ok"] is False
    assert [check["state"] for check in report["checks"]] == ["passed", "failed", "skipped", "skipped"]
    assert "finds no device" in table.stdout


def test_a_quant_without_a_model_is_refused() -> None:
    result = CliRunner().invoke(app, ["validate", "--quant", "Q8_0"])
    assert isinstance(result.exception, ConfigError)
