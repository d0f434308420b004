"""The tree of everything that can go wrong; each class carries a status, a code and a hint.

CortexError
├── RequestError (4xx, the caller's to mend)
│   ├── MalformedJson · InvalidField · UnsupportedParameter · ContextLengthExceeded
│   ├── BodyTooLarge · UnsupportedMediaType · MethodNotAllowed · RouteNotFound · RequestTimeout
│   ├── ModelNotFound · TemplateFailed · Unauthorized · Forbidden
│   └── ChainingUnsupported · PreviousNotFound · ResponseNotFound
├── CapacityError (429/503, may pass later; always with Retry-After)
│   ├── QueueFull · RateLimited · ServiceUnavailable · ModelLoading · ShuttingDown
│   └── InsufficientMemory · PlanStale · ModelBusy
├── LoadError (422, the model cannot be loaded as asked)
│   └── ModelFileInvalid · UnsupportedModel · SourceNotFound · QuantNotFound · NeverFits
├── UpstreamError (502)
│   └── UpstreamUnreachable · UpstreamMalformed · UpstreamLost
├── EngineFailed (500)
└── ConfigError (start-up, with file, line and hint)
"""

from typing import Any, ClassVar

__all__ = [
    "BodyTooLarge",
    "CapacityError",
    "ChainingUnsupported",
    "ConfigError",
    "ContextLengthExceeded",
    "CortexError",
    "EngineFailed",
    "Forbidden",
    "InsufficientMemory",
    "InvalidField",
    "LoadError",
    "MalformedJson",
    "MethodNotAllowed",
    "ModelBusy",
    "ModelFileInvalid",
    "ModelLoading",
    "ModelNotFound",
    "NeverFits",
    "PlanStale",
    "PreviousNotFound",
    "QuantNotFound",
    "QueueFull",
    "RateLimited",
    "RequestError",
    "RequestTimeout",
    "ResponseNotFound",
    "RouteNotFound",
    "ServiceUnavailable",
    "ShuttingDown",
    "SourceNotFound",
    "TemplateFailed",
    "Unauthorized",
    "UnsupportedMediaType",
    "UnsupportedModel",
    "UnsupportedParameter",
    "UpstreamError",
    "UpstreamLost",
    "UpstreamMalformed",
    "UpstreamUnreachable",
]


class CortexError(Exception):
    """Base of all our errors. `message` is for people and safe to show to a client.

    `extras` are further JSON fields of the error object (numbers, near names); `retry_after` is seconds.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    hint: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        extras: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.extras: dict[str, Any] = extras or {}

    @property
    def advice(self) -> str:
        """The message and what to do about it, said once: another host's error may come with it already."""
        if not self.hint or self.message.endswith(self.hint):
            return self.message
        return f"{self.message} {self.hint}"


class RequestError(CortexError):
    """The request cannot be served as it is; repeating it does not help."""

    status = 400
    code = "invalid_request_error"


class MalformedJson(RequestError):
    """The body is not JSON."""

    code = "malformed_json"


class InvalidField(RequestError):
    """A field is missing, has the wrong type or is out of range; `param` names it."""

    code = "invalid_value"


class UnsupportedParameter(RequestError):
    """A field that this server does not honour; `param` names it."""

    code = "unsupported_parameter"


class ContextLengthExceeded(RequestError):
    """The prompt (and the answer asked for) does not fit the model's context; extras: prompt_tokens, limit."""

    code = "context_length_exceeded"
    hint = "Shorten the prompt or choose a model with a longer context."


class BodyTooLarge(RequestError):
    """The body is over the configured limit; extras: limit_bytes."""

    status = 413
    code = "request_too_large"


class UnsupportedMediaType(RequestError):
    """The body is not application/json."""

    status = 415
    code = "unsupported_media_type"


class MethodNotAllowed(RequestError):
    """The path exists, but not for this method; extras: allow."""

    status = 405
    code = "method_not_allowed"


class RouteNotFound(RequestError):
    """No such path."""

    status = 404
    code = "route_not_found"


class RequestTimeout(RequestError):
    """The client took too long to send its body."""

    status = 408
    code = "request_timeout"


class ModelNotFound(RequestError):
    """Neither catalogue nor fleet know the model; extras: nearest."""

    status = 404
    code = "model_not_found"


class TemplateFailed(RequestError):
    """The model's chat template refused or could not render the conversation."""

    status = 422
    code = "template_render_failed"


class Unauthorized(RequestError):
    """Missing or unknown key."""

    status = 401
    code = "invalid_api_key"


class ChainingUnsupported(RequestError):
    """The request goes on from an earlier answer where answers are not kept."""

    code = "chained_conversation_not_supported"
    hint = "Send the whole conversation as `input`."


class PreviousNotFound(RequestError):
    """The request goes on from an answer that is not kept, or no longer."""

    code = "previous_response_not_found"
    hint = "Send the whole conversation as `input`."


class ResponseNotFound(RequestError):
    """No answer is kept under this id."""

    status = 404
    code = "response_not_found"


class Forbidden(RequestError):
    """The key is valid and not enough for this, or the caller is no program that may do it."""

    status = 403
    code = "permission_denied"


class CapacityError(CortexError):
    """May pass later; always answered with Retry-After."""

    status = 503
    code = "service_unavailable"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        extras: dict[str, Any] | None = None,
    ) -> None:
        wait = 5.0 if retry_after is None else retry_after
        super().__init__(message, param=param, retry_after=wait, extras=extras)


class QueueFull(CapacityError):
    """The bounded queue is full; extras: waiting, limit."""

    code = "rate_limit_exceeded"


class RateLimited(CapacityError):
    """The key has used up what it may in a minute, or runs as many requests as it may; extras: limit."""

    status = 429
    code = "rate_limit_exceeded"


class ServiceUnavailable(CapacityError):
    """No host can serve now."""


class ModelLoading(CapacityError):
    """The wait for a load ended before the load; extras: loading{state,node,progress,eta_seconds}."""

    code = "model_loading"


class ShuttingDown(CapacityError):
    """The daemon drains."""

    code = "shutting_down"


class InsufficientMemory(CapacityError):
    """Not enough free memory now; extras: needed_bytes, free_bytes."""

    code = "insufficient_memory"


class PlanStale(CapacityError):
    """A load plan was made from an older revision of the host's state; extras: revision."""

    status = 409
    code = "plan_stale"


class ModelBusy(CapacityError):
    """The model is in use, or on its way, and cannot be unloaded now; extras: in_flight."""

    status = 409
    code = "model_busy"


class LoadError(CortexError):
    """The model cannot be loaded as asked; repeating it does not help."""

    status = 422
    code = "load_failed"


class ModelFileInvalid(LoadError):
    """A model file is cut short, lies about its sizes, or is no model file."""

    code = "model_file_invalid"


class UnsupportedModel(LoadError):
    """Architecture, tokenizer, quantisation or scaling that the engine does not have; the message says what it has."""

    code = "unsupported_model"


class SourceNotFound(LoadError):
    """No such file, package or repository, or it could not be fetched."""

    code = "repo_fetch_failed"


class QuantNotFound(LoadError):
    """The source has no file of that quantisation; extras: available."""

    code = "quant_not_found"


class NeverFits(LoadError):
    """Needs more memory than the device has in all; extras: needed_bytes, total_bytes."""

    code = "never_fits"


class UpstreamError(CortexError):
    """A host failed while it served."""

    status = 502
    code = "upstream_error"


class UpstreamUnreachable(UpstreamError):
    """No connection to the host."""

    code = "upstream_unreachable"


class UpstreamMalformed(UpstreamError):
    """The host answered something that is not its protocol."""

    code = "upstream_malformed_response"


class UpstreamLost(UpstreamError):
    """The host went away in the middle of an answer."""

    code = "upstream_lost"


class EngineFailed(CortexError):
    """The engine thread stopped or a step failed."""

    code = "engine_failed"


class ConfigError(CortexError):
    """A configuration file cannot be used; the message has file, line and the nearest valid name."""

    code = "config_error"
