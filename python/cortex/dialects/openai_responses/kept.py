"""Answers that are kept: the items of a conversation that goes on, references to them, and the pages of its input."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cortex.dialects.openai_responses.schema import ResponsesBody
from cortex.errors import InvalidField, PreviousNotFound, UnsupportedParameter

__all__ = ["Page", "page_of", "read_page", "referenced", "with_references"]

_REFERENCE = "item_reference"
_MOST = 100


def referenced(wire: ResponsesBody) -> dict[str, tuple[str, int]]:
    """The items that the input names instead of repeating them: id -> answer it stands in, and place in its output.

    Ids that were not made here are left out."""
    found: dict[str, tuple[str, int]] = {}
    for item in wire.input if isinstance(wire.input, list) else ():
        if item.get("type") == _REFERENCE:
            id_ = str(item.get("id"))
            _, _, rest = id_.partition("_")
            answer, _, index = rest.rpartition("_")
            if answer and index.isdecimal() and len(index) < 6:
                found[id_] = (f"resp_{answer}", int(index))
    return found


def with_references(wire: ResponsesBody, found: Mapping[str, Mapping[str, Any]]) -> ResponsesBody:
    """The body with the items themselves in the place of their references. Raises PreviousNotFound."""
    if isinstance(wire.input, str):
        return wire
    items: list[dict[str, Any]] = []
    for index, item in enumerate(wire.input):
        if item.get("type") == _REFERENCE:
            if item.get("id") not in found:
                raise PreviousNotFound(f"`input[{index}]`: no such item is kept.", param=f"input[{index}].id")
            item = dict(found[item["id"]])
        items.append(item)
    return msgspec.structs.replace(wire, input=items)


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a list is wanted; `after` is the id of the item before it."""

    limit: int = 20
    descending: bool = True
    after: str | None = None


def read_page(query: Mapping[str, str]) -> Page:
    """The page that a query asks for. Raises InvalidField."""
    limit, order = query.get("limit", "20"), query.get("order", "desc")
    if not (limit.isdecimal() and 1 <= int(limit[:9]) <= _MOST):
        raise InvalidField(f"`limit` is 1 to {_MOST}.", param="limit")
    if order not in ("asc", "desc"):
        raise InvalidField("`order` is asc or desc.", param="order")
    if query.get("before"):
        raise UnsupportedParameter("`before` is not supported; use `after`.", param="before")
    return Page(limit=int(limit), descending=order == "desc", after=query.get("after"))


def page_of(id: str, items: Sequence[Mapping[str, Any]], page: Page) -> bytes:
    """One page of an answer's input. Items that came without an id get one. Raises InvalidField."""
    listed = [_listed(id, index, item) for index, item in enumerate(items)]
    if page.descending:
        listed.reverse()
    if page.after is not None:
        places = [place for place, item in enumerate(listed) if item["id"] == page.after]
        if not places:
            raise InvalidField("`after` names no item of the list.", param="after")
        listed = listed[places[0] + 1 :]
    shown = listed[: page.limit]
    return msgspec.json.encode(
        {
            "object": "list",
            "data": shown,
            "first_id": shown[0]["id"] if shown else None,
            "last_id": shown[-1]["id"] if shown else None,
            "has_more": len(shown) < len(listed),
        }
    )


def _listed(id: str, index: int, item: Mapping[str, Any]) -> dict[str, Any]:
    whole = {"type": "message", **item}
    if not whole.get("id"):
        whole["id"] = f"in_{id.removeprefix('resp_')}_{index}"
    if whole["type"] == "message" and isinstance(whole.get("content"), str):
        kind = "output_text" if whole.get("role") == "assistant" else "input_text"
        whole["content"] = [{"type": kind, "text": whole["content"]}]
    return whole
