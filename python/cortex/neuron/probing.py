"""Probing: what a loaded model's chat template honours, seen by rendering it with and without."""

from typing import Any

import msgspec

from cortex.errors import TemplateFailed
from cortex.neuron.engines import Engine

__all__ = ["SWITCHES", "capabilities_of"]

SWITCHES = ("enable_thinking", "thinking")
"""The names under which templates switch thinking on and off, the usual one first."""

_ALWAYS = frozenset({"n", "logprobs", "logit_bias", "structured"})  # what the engine does with every model
_USER = {"role": "user", "content": "x"}
_SYSTEM = {"role": "system", "content": "y"}
_TOOL = {"type": "function", "function": {"name": "probe", "description": "d", "parameters": {"type": "object"}}}


async def capabilities_of(engine: Engine) -> frozenset[str]:
    """What requests may ask for beyond text, as `dialects.neutral.require_supported` names it, and how the template
    takes it: `tools_template` (it shows tools), `system` (it takes system text), one of `SWITCHES`, `reasoning_effort`.
    """
    if not engine.facts.has_chat_template:
        return _ALWAYS
    plain = await _render(engine)
    found = {"tools"}
    if engine.facts.thinks:
        found.add("reasoning")
    if await _render(engine, tools=[_TOOL]) not in (plain, None):
        found.add("tools_template")
    if await _render(engine, _SYSTEM, _USER) is not None:
        found.add("system")
    for switch in SWITCHES:
        if await _differs(engine, switch, True, False):
            found.add(switch)
            break
    if await _differs(engine, "reasoning_effort", "low", "high"):
        found.add("reasoning_effort")
    return _ALWAYS | found


async def _differs(engine: Engine, name: str, one: Any, other: Any) -> bool:
    """Whether an argument of the template makes a difference."""
    first = await _render(engine, kwargs={name: one})
    return first is not None and await _render(engine, kwargs={name: other}) not in (first, None)


async def _render(
    engine: Engine, *turns: dict[str, str], tools: list[Any] | None = None, kwargs: dict[str, Any] | None = None
) -> list[int] | None:
    """The tokens of a conversation; none where the template refuses it."""
    encode = msgspec.json.encode
    try:
        prompt = await engine.encode_chat(
            encode(turns or (_USER,)), tools=encode(tools) if tools else None, kwargs=encode(kwargs) if kwargs else None
        )
    except TemplateFailed:
        return None
    return prompt.tokens()
