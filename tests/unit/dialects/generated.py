"""Hypothesis strategies: answers as events, and requests in the neutral form."""

from itertools import pairwise

from hypothesis import strategies as st

from cortex.dialects.answer import Answer, events_of
from cortex.dialects.image import Image
from cortex.dialects.neutral import (
    ChatEvent,
    ChatRequest,
    Ended,
    Message,
    ReasoningDelta,
    Sampling,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
)
from cortex.dialects.structured import Structure
from cortex.types import FinishReason, Usage

__all__ = ["answers", "requests", "streamed", "texts"]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_names = st.text("abcdefghij_", min_size=1, max_size=8)
_objects = st.sampled_from(["{}", '{"city":"Oslo"}', '{"a":1,"b":[true,null,"\\"é"]}', '{"deep":{"er":{}}}'])
_calls = st.builds(ToolCall, id=_names.map(lambda name: f"call_{name}"), name=_names, arguments=_objects)
_usages = st.builds(
    lambda prompt, cached, output, thought: Usage(
        prompt_tokens=prompt + cached,
        completion_tokens=output + thought,
        cached_tokens=cached,
        reasoning_tokens=thought,
    ),
    st.integers(1, 10**6),
    st.integers(0, 10**6),
    st.integers(1, 10**6),
    st.integers(0, 100),
)


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """An answer with its calls under distinct ids and an ending that suits it."""
    calls = tuple(draw(st.lists(_calls, max_size=3, unique_by=lambda call: call.id)))
    stop = draw(st.none() | texts.filter(bool)) if not calls else None
    reason = FinishReason.TOOL_CALLS if calls else draw(st.sampled_from([FinishReason.STOP, FinishReason.LENGTH]))
    if stop is not None:
        reason = FinishReason.STOP_SEQUENCE
    ended = Ended(reason, draw(_usages), stop)
    return Answer(text=draw(texts), reasoning=draw(texts), tool_calls=calls, ended=ended)


@st.composite
def streamed(draw: st.DrawFn) -> tuple[Answer, list[ChatEvent]]:
    """An answer, and one of the many ways in which it may come in pieces."""
    answer = draw(answers())
    pieces: list[ChatEvent] = []
    for event in events_of(answer):
        if isinstance(event, TextDelta | ReasoningDelta):
            pieces.extend(type(event)(part, 1) for part in _cut(draw, event.text))
        elif isinstance(event, ToolCallDelta):
            parts = _cut(draw, event.arguments)
            pieces.append(ToolCallDelta(event.index, event.id, event.name, tokens=1))
            pieces.extend(ToolCallDelta(event.index, arguments=part, tokens=1) for part in parts)
        else:
            pieces.append(event)
    return answer, pieces


def _cut(draw: st.DrawFn, text: str) -> list[str]:
    places = sorted(draw(st.sets(st.integers(0, len(text)), max_size=4)) | {0, len(text)})
    return [text[start:end] for start, end in pairwise(places)]


_parts = st.lists(texts | st.builds(Image, url=st.just("data:image/png;base64,AAAA")), min_size=1, max_size=3)
_contents = texts | _parts.filter(lambda parts: any(isinstance(part, Image) for part in parts)).map(tuple)
_messages = st.one_of(
    st.builds(Message, role=st.just("system"), content=texts),
    st.builds(Message, role=st.just("user"), content=_contents, name=st.none() | _names),
    st.builds(
        Message,
        role=st.just("assistant"),
        content=texts,
        reasoning=st.none() | texts.filter(bool),
        tool_calls=st.lists(_calls, max_size=2).map(tuple),
    ),
    st.builds(Message, role=st.just("tool"), content=_contents, tool_call_id=_names),
)
_shares = st.none() | st.floats(0, 1)
_sampling = st.builds(
    Sampling,
    temperature=st.none() | st.floats(0, 2),
    top_p=_shares,
    top_k=st.none() | st.integers(0, 1000),
    min_p=_shares,
    seed=st.none() | st.integers(-(2**63), 2**63 - 1),
    frequency_penalty=st.none() | st.floats(-2, 2),
    presence_penalty=st.none() | st.floats(-2, 2),
    repetition_penalty=st.none() | st.floats(0.1, 10),
    logit_bias=st.none() | st.dictionaries(st.integers(0, 99).map(str), st.floats(-100, 100), min_size=1, max_size=3),
)
_tools = st.builds(
    Tool,
    name=_names,
    description=st.none() | texts,
    parameters=st.sampled_from([{}, {"type": "object", "properties": {"city": {"type": "string"}}}]),
    strict=st.none() | st.booleans(),
)


STRUCTURES = [
    None,
    Structure(kind="json_schema", text='{"type":"object"}', field="structured_outputs.json"),
    Structure(kind="regex", text="[ab]+", field="structured_outputs.regex"),
    Structure(kind="choice", text='["yes","nø"]', field="structured_outputs.choice"),
    Structure(kind="lark", text='start: "a"', field="structured_outputs.grammar"),
]


@st.composite
def requests(draw: st.DrawFn) -> ChatRequest:
    """A chat request as the OpenAI dialect can say it."""
    tools = tuple(draw(st.lists(_tools, max_size=3, unique_by=lambda tool: tool.name)))
    choices: list[str | None] = [None, "auto", "none"]
    choices += ["required", f"function:{tools[0].name}"] if tools else []
    stream = draw(st.booleans())
    logprobs = draw(st.booleans())
    response_format = draw(st.sampled_from([None, {"type": "json_object"}]))
    return ChatRequest(
        model=draw(_names),
        messages=tuple(draw(st.lists(_messages, min_size=1, max_size=5))),
        stream=stream,
        include_usage=stream and draw(st.booleans()),
        max_tokens=draw(st.none() | st.integers(1, 2**31 - 1)),
        min_tokens=draw(st.integers(0, 100)),
        ignore_eos=draw(st.booleans()),
        stop=tuple(draw(st.lists(texts.filter(bool), max_size=3))),
        stop_token_ids=tuple(draw(st.lists(st.integers(0, 2**32 - 1), max_size=3))),
        sampling=draw(_sampling),
        n=draw(st.integers(1, 128)),
        tools=tools,
        tool_choice=draw(st.sampled_from(choices)),
        parallel_tool_calls=draw(st.none() | st.booleans()),
        response_format=response_format,
        structure=None if response_format else draw(st.sampled_from(STRUCTURES)),
        logprobs=logprobs,
        top_logprobs=draw(st.none() | st.integers(0, 20)) if logprobs else None,
        template_kwargs=draw(st.none() | st.just({"documents": ["a"]})),
    )
