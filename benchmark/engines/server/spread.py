"""Which of several servers of one model gets a request: the one with the fewest under way.

A server that can't be reached is left out, and its requests go to the others at once; from time to
time one request tries it again. Where none can be reached, requests wait as for a single server. A
server that was away when the others were checked is checked before its first request.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import openai

T = TypeVar("T")
_AWAY_SECONDS = 30.0  # until a request tries again a server that couldn't be reached


@dataclass
class Spread:
    """Servers that share the requests for a model.

    Attributes:
        urls: address of the API at each server.
        say: function that is told, in one line, of a server that is left out or is back.
        admit: function that checks the server at an address; it raises where that can't be used.
    """

    urls: Sequence[str]
    say: Callable[[str], None]
    admit: Callable[[str], Awaitable[None]]
    _under_way: dict[str, int] = field(default_factory=dict, init=False)
    _away: dict[str, float] = field(default_factory=dict, init=False)  # until when, by address
    _unchecked: set[str] = field(default_factory=set, init=False)

    async def ask(self, post: Callable[[str], Awaitable[T]]) -> T:
        """Return what ``post`` gives for the address of the server that is next.

        Raises:
            openai.APIConnectionError: none of the servers can be reached, or the time ran out.
        """
        tried: list[str] = []
        while True:
            url = self._next(tried)
            tried.append(url)
            self._under_way[url] = self._under_way.get(url, 0) + 1
            trial = url in self._away
            if trial:  # this request tries it; the others wait for what comes of it
                self._away[url] = time.monotonic() + _AWAY_SECONDS
            try:
                if url in self._unchecked:
                    await self.admit(url)
                    self._unchecked.discard(url)
                answer = await post(url)
            except openai.APITimeoutError:  # it may only be slow
                raise
            except openai.APIConnectionError as error:
                self.leave_out(url, error)
                if len(tried) == len(self.urls):
                    raise
            else:
                # One that was under way when the server was left out says nothing of it now.
                if trial and self._away.pop(url, None) is not None:
                    self.say(f"{url} answers again.")
                return answer
            finally:
                self._under_way[url] -= 1

    def _next(self, tried: Sequence[str]) -> str:
        """Return the address that is next; a server that is away comes after all others."""
        now = time.monotonic()

        def order(url: str) -> tuple[float, int]:
            until = self._away.get(url, 0.0)
            return (until if until > now else 0.0), self._under_way.get(url, 0)

        return min((url for url in self.urls if url not in tried), key=order)

    def leave_out(self, url: str, error: BaseException, *, unchecked: bool = False) -> None:
        """Give a server no requests for a while; an unchecked one not before its check."""
        self._unchecked |= {url} if unchecked else set()
        if url not in self._away:
            while error.__cause__ is not None:
                error = error.__cause__
            reason = type(error).__name__
            self.say(f"{url} can't be reached ({reason}); its requests go to the other servers.")
        self._away[url] = time.monotonic() + _AWAY_SECONDS
