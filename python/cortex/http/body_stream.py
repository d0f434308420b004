"""BodyStream: the chunks of a streamed body, as the object that the server iterates and closes."""

from abc import abstractmethod
from collections.abc import AsyncGenerator
from types import TracebackType

__all__ = ["BodyStream"]


class BodyStream(AsyncGenerator[bytes, None]):
    """Subclasses say what comes next (`asend`) and let go of everything in `aclose`, which may come at any time."""

    async def athrow(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
        /,
    ) -> bytes:
        """Ends the stream with this exception."""
        await self.aclose()
        error = typ if isinstance(typ, BaseException) else val if isinstance(val, BaseException) else typ()
        raise error.with_traceback(tb)

    @abstractmethod
    async def aclose(self) -> None:
        """End the stream wherever it is; idempotent."""
