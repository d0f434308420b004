"""The sampling fields of OpenAI's bodies, our own among them, with the ranges that are taken."""

from typing import Annotated

import msgspec

__all__ = ["SamplingFields"]

_PENALTY = msgspec.Meta(ge=-2, le=2)
_SHARE = msgspec.Meta(ge=0, le=1)


class SamplingFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every generating body may say about drawing tokens; null means not given."""

    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, _SHARE] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)] | None = None
    min_p: Annotated[float, _SHARE] | None = None
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    frequency_penalty: Annotated[float, _PENALTY] | None = None
    presence_penalty: Annotated[float, _PENALTY] | None = None
    repetition_penalty: Annotated[float, msgspec.Meta(gt=0, le=10)] | None = None
