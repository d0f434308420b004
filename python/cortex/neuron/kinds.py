"""Kinds: what a loaded model can be asked for, and the refusal that names the right route."""

from cortex.errors import InvalidField
from cortex.neuron.engines import Engine

__all__ = ["EMBEDDINGS", "TEXT", "require_embedder", "require_generator", "words"]

TEXT = "text"
EMBEDDINGS = "embeddings"


def words(engine: Engine, capabilities: frozenset[str]) -> tuple[str, ...]:
    """What the model is good for, as lists of models show it: its kind, and what people choose a model by."""
    if engine.facts.kind == "embed":
        return (EMBEDDINGS,)
    return (TEXT, *(name for name in ("tools", "reasoning", "structured") if name in capabilities))


def require_generator(engine: Engine, model: str) -> None:
    """Raises InvalidField for a model that makes embeddings."""
    if engine.facts.kind != "generate":
        raise InvalidField(
            f"The model {model} makes embeddings and generates no text; ask it at /v1/embeddings.", param="model"
        )


def require_embedder(engine: Engine, model: str) -> None:
    """Raises InvalidField for a model that generates."""
    if engine.facts.kind != "embed":
        raise InvalidField(
            f"The model {model} generates text and makes no embeddings; load an embedding model.", param="model"
        )
