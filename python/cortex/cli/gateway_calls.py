"""Calls to a running gateway from the command line, with the key of whoever types; urllib, so that help is instant."""

import json
import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from cortex.errors import ConfigError, CortexError, Forbidden, Unauthorized, UpstreamMalformed, UpstreamUnreachable

__all__ = ["KEY_VARIABLE", "GatewayCalls"]

KEY_VARIABLE = "CORTEX_API_KEY"
_KEY_FILE = "cortex/key"
_TIMEOUT_SECONDS = 10.0
_REFUSED: dict[int, type[CortexError]] = {401: Unauthorized, 403: Forbidden}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A key goes to the gateway that it is for, and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)


class GatewayCalls:
    """The gateway at `endpoint`. The key is the variable's, else that of `~/.config/cortex/key`, else none; an https
    endpoint is verified by the system's authorities or by those in SSL_CERT_FILE."""

    def __init__(self, endpoint: str, *, key: str | None = None) -> None:
        self.base = endpoint.rstrip("/")
        if not self.base.startswith(("http://", "https://")):
            raise ConfigError(f"--endpoint {endpoint}: write a URL, for example http://127.0.0.1:31313")
        self.key = key if key is not None else _own_key()

    def get(self, path: str) -> Any:
        """The JSON of a GET. Raises UpstreamUnreachable, UpstreamMalformed, Unauthorized, Forbidden, ConfigError."""
        return self._call("GET", path, None, _TIMEOUT_SECONDS)

    def post(self, path: str, body: Any, *, seconds: float = _TIMEOUT_SECONDS) -> Any:
        """The JSON of a POST; raises as `get`, and CortexError with the gateway's words for what it refuses."""
        return self._call("POST", path, json.dumps(body).encode(), seconds)

    def open(self, path: str, body: Any, *, seconds: float) -> Any:
        """The open answer of a POST, for streams; raises as `post`."""
        return self._open("POST", path, json.dumps(body).encode(), seconds)

    def _call(self, method: str, path: str, body: bytes | None, seconds: float) -> Any:
        with self._open(method, path, body, seconds) as response:
            try:
                return json.load(response)
            except ValueError as error:
                raise UpstreamMalformed(
                    f"{self.base} did not answer with JSON; is it a cortex gateway? See --endpoint."
                ) from error

    def _open(self, method: str, path: str, body: bytes | None, seconds: float) -> Any:
        headers = {"content-type": "application/json"} if body is not None else {}
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(self.base + path, data=body, headers=headers, method=method)
        try:
            return _OPENER.open(request, timeout=seconds)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error) from error
        except OSError as error:
            raise self._unreachable(error) from error

    def _refusal(self, error: urllib.error.HTTPError) -> CortexError:
        try:
            told = json.load(error)["error"]
            message = str(told["message"])
        except (ValueError, KeyError, TypeError):
            return UpstreamMalformed(f"{self.base} answered {error.code}; is it a cortex gateway? See --endpoint.")
        if error.code in _REFUSED:
            remedy = "" if self.key else f" Set {KEY_VARIABLE}, or write the key into ~/.config/{_KEY_FILE}."
            return _REFUSED[error.code](message + remedy)
        return CortexError(message)

    def _unreachable(self, error: OSError) -> CortexError:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):
            return UpstreamUnreachable(f"{self.base}: {reason}; SSL_CERT_FILE names the authority to trust")
        return UpstreamUnreachable(
            f"no gateway answers at {self.base} ({reason}); start one with `cortex up` or `cortex serve`, or give "
            "--endpoint"
        )


def _own_key() -> str:
    if (text := os.environ.get(KEY_VARIABLE)) is not None:
        return text.strip()
    path = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / _KEY_FILE
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
