"""Structured logs on stderr: one line an event, as logfmt for people or JSON for collectors."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

__all__ = ["LEVELS", "LogFormat", "configure", "event"]

LogFormat = Literal["text", "json"]
LEVELS = ("debug", "info", "warning", "error")
FIELD_LIMIT = 2000


class _Formatter(logging.Formatter):
    def __init__(self, style: LogFormat) -> None:
        super().__init__()
        self._json = style == "json"

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields: dict[str, Any] = {"time": when, "level": record.levelname.lower(), "logger": record.name}
        fields["message"] = record.getMessage()
        fields.update(getattr(record, "fields", {}))
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if self._json:
            return json.dumps(fields, ensure_ascii=False, default=str)
        head = f"{when} {record.levelname:<7} {record.name}: {fields.pop('message')}"
        rest = [f"{key}={_quote(value)}" for key, value in fields.items() if key not in ("time", "level", "logger")]
        return " ".join([head, *rest])


def _quote(value: Any) -> str:
    text = str(value)[:FIELD_LIMIT]
    return json.dumps(text, ensure_ascii=False) if any(c in text for c in ' "\n\t=') or not text else text


def configure(level: str = "info", style: LogFormat = "text") -> None:
    """Send everything at `level` and above to stderr; libraries only from warning on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(style))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("cortex").setLevel(level.upper())
    # The embedded server announces at every start that its interface is experimental: known, and pinned.
    logging.getLogger("_granian").setLevel(logging.ERROR)


def event(logger: logging.Logger, level: int, message: str, **fields: Any) -> None:
    """Log `message` with fields; None values are left out."""
    if logger.isEnabledFor(level):
        kept = {key: value for key, value in fields.items() if value is not None}
        logger.log(level, message, extra={"fields": kept})
