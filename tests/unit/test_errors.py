"""What errors tell people."""

from cortex.errors import ContextLengthExceeded, EngineFailed


def test_the_hint_is_told_once() -> None:
    first = ContextLengthExceeded("The prompt has 9 tokens.")
    assert first.advice == f"The prompt has 9 tokens. {ContextLengthExceeded.hint}"
    assert ContextLengthExceeded(first.advice).advice == first.advice
    assert EngineFailed("The engine failed.").advice == "The engine failed."
