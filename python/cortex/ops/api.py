"""Api: JSON calls to one daemon, patient where it asks for patience (Retry-After); the standard library's client."""

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cortex.errors import ConfigError, CortexError, UpstreamLost, UpstreamMalformed, UpstreamUnreachable

__all__ = ["Api", "Clock", "Refused"]

_LATER = frozenset({429, 503})
_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
_LONGEST_BODY = 16 * 1024 * 1024


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A token goes to the host that it is for, and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _opener(*handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects, *handlers)


_OPENER = _opener()


@dataclass(frozen=True)
class Clock:
    """Monotonic seconds, and a way to let them pass."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class Refused(CortexError):
    """The daemon answered with an error; `answered` is its status."""

    code = "refused"

    def __init__(self, message: str, *, answered: int, retry_after: float | None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.answered = answered


class Api:
    """The daemon at `base`; `token` is sent as bearer where there is one, `tls` is for https that the system's
    authorities do not know. Raises ConfigError for what is no URL."""

    def __init__(
        self, base: str, *, token: str = "", clock: Clock | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.base = base.rstrip("/")
        if not self.base.startswith(("http://", "https://")):
            raise ConfigError(f"{base}: write a URL, for example http://beast:13131")
        self._headers = {"content-type": "application/json", "anthropic-version": "2023-06-01"}
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        self.clock = clock or Clock()
        self._opener = _OPENER if tls is None else _opener(urllib.request.HTTPSHandler(context=tls))

    def get(self, path: str, *, seconds: float = 10.0) -> Any:
        """The JSON of a GET. Raises UpstreamUnreachable, UpstreamLost, UpstreamMalformed, Refused."""
        return self._once("GET", path, None, seconds)

    def post(self, path: str, body: Any, *, seconds: float) -> Any:
        """The JSON of a POST within `seconds`, asked again where the daemon says later; raises as `get`."""
        deadline = self.clock.now() + seconds
        while True:
            left = max(deadline - self.clock.now(), 0.1)
            try:
                return self._once("POST", path, body, left)
            except Refused as refused:
                pause = min(_PAUSE if refused.retry_after is None else refused.retry_after, _LONGEST_PAUSE)
                if refused.answered not in _LATER or self.clock.now() + pause >= deadline:
                    raise
            self.clock.sleep(pause)

    def _once(self, method: str, path: str, body: Any, seconds: float) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data=data, headers=self._headers, method=method)
        try:
            with self._opener.open(request, timeout=seconds) as response:
                return json.loads(response.read(_LONGEST_BODY))
        except urllib.error.HTTPError as error:
            with error:
                raise _refused(error, path) from error
        except urllib.error.URLError as error:
            raise UpstreamUnreachable(f"{self.base} cannot be reached: {error.reason}") from error
        except TimeoutError as error:
            raise UpstreamLost(f"{self.base}{path} gave no answer within {seconds:.0f} s") from error
        except OSError as error:
            raise UpstreamLost(f"{self.base}{path}: the connection broke: {error}") from error
        except ValueError as error:
            raise UpstreamMalformed(f"{self.base}{path} did not answer with JSON") from error


def _refused(error: urllib.error.HTTPError, path: str) -> Refused:
    try:
        message = str(json.loads(error.read(_LONGEST_BODY))["error"]["message"])
    except (ValueError, KeyError, TypeError, OSError):
        message = str(error.reason)
    after = error.headers.get("retry-after", "")
    wait = float(after) if after.replace(".", "", 1).isdigit() else None
    return Refused(f"{path} answered {error.code}: {message}", answered=error.code, retry_after=wait)
