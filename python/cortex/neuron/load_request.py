"""What a load or an unload asks for, checked before anything happens."""

from cortex.errors import InvalidField, PlanStale, UnsupportedParameter
from cortex.protocol import LoadRequest, UnloadRequest

__all__ = ["check_plan", "check_request", "check_same"]

_ID_LIMIT = 512
_SPEC = ("quant", "source", "context_length")


def check_request(request: LoadRequest, *, harnesses: tuple[str, ...], devices: tuple[int, ...]) -> None:
    """Refuse what this host cannot do. Raises InvalidField, UnsupportedParameter."""
    if not 1 <= len(request.model_id) <= _ID_LIMIT:
        raise InvalidField(f"`model_id` must have 1 to {_ID_LIMIT} characters.", param="model_id")
    if request.harness not in harnesses:
        known = ", ".join(harnesses) or "none"
        raise UnsupportedParameter(f"There is no harness {request.harness!r}; there is {known}.", param="harness")
    if request.tensor_parallel not in (None, 1):
        raise UnsupportedParameter("A model runs on one device here; leave it out.", param="tensor_parallel")
    if request.context_length is not None and request.context_length < 1:
        raise InvalidField("`context_length` must be at least 1.", param="context_length")
    if request.model_id in request.evict:
        raise InvalidField("`evict` names the model that shall be loaded.", param="evict")
    if request.devices is not None:
        _check_devices(request.devices, devices)


def _check_devices(asked: tuple[int, ...], devices: tuple[int, ...]) -> None:
    if len(asked) != 1:
        raise UnsupportedParameter("A model runs on one device here; name one.", param="devices")
    if asked[0] not in devices:
        known = ", ".join(str(index) for index in devices)
        raise InvalidField(f"There is no device {asked[0]}; there is {known}.", param="devices")


def check_plan(request: LoadRequest | UnloadRequest, *, epoch: str, revision: int) -> None:
    """Refuse a plan that was made from an older state. Raises PlanStale, InvalidField for half a state."""
    if (request.epoch is None) != (request.revision is None):
        raise InvalidField("`epoch` and `revision` go together.", param="revision")
    if request.epoch is not None and (request.epoch, request.revision) != (epoch, revision):
        raise PlanStale(
            "The plan was made from an older state of this host; look again.",
            retry_after=1.0,
            extras={"revision": revision, "epoch": epoch},
        )


def check_same(running: LoadRequest, asked: LoadRequest) -> None:
    """Refuse to take a model that is loaded in one form for another; what is not asked for is as it is."""
    for field in _SPEC:
        wanted, given = getattr(asked, field), getattr(running, field)
        if wanted is not None and wanted != given:
            have = "the default" if given is None else repr(given)
            raise InvalidField(
                f"{asked.model_id} is here with {have} as `{field}`, not {wanted!r}; unload it first.", param=field
            )
