"""Why a request failed, when it is tried again, and how long after."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import openai
import tenacity

from benchmark.engines.server.replies import ReplyError, error_words

_REFUSALS = (400, 403, 415, 422, 500, 501)  # 500: some servers fail where others refuse a field
_LONGEST_WAIT = 60.0  # seconds between two attempts, unless the server names a time
_LONGEST_NAMED = 900.0  # seconds between two attempts where the server asks for more


def passing(error: BaseException) -> bool:
    """Tell whether another attempt may succeed."""
    if isinstance(error, ReplyError) and error.status is not None:
        return _passing_status(error.status)
    if isinstance(error, openai.APIStatusError):
        return _passing_status(error.status_code)
    return isinstance(error, openai.APIConnectionError | ReplyError)


def busy(error: BaseException) -> bool:
    """Tell whether a server is away or overloaded: another request would fail in the same way."""
    status = getattr(error, "status_code", None) or getattr(error, "status", None)
    if status is None:
        return isinstance(error, openai.APIConnectionError)
    return _passing_status(status) and status not in (500, 501)


def _passing_status(status: int) -> bool:
    return status in (408, 409, 425, 429) or status >= 500


_BACKOFF = tenacity.wait_random_exponential(multiplier=0.5, max=_LONGEST_WAIT)


def wait(state: tenacity.RetryCallState) -> float:
    """Return the seconds until the next attempt: what the server says, or backoff with jitter."""
    error = state.outcome.exception() if state.outcome else None
    backoff = float(_BACKOFF(state))
    if isinstance(error, openai.APIStatusError):
        named = _retry_after(error.response.headers.get("retry-after", ""))
        if named is not None:
            return named + min(backoff, 1.0)  # so that waiting requests don't all come at once
    return backoff


def _retry_after(header: str) -> float | None:
    """Return the seconds that a Retry-After header names, in either of its forms."""
    if re.fullmatch(r"\d{1,9}(\.\d{0,9})?", header.strip()):
        return min(float(header), _LONGEST_NAMED)
    try:
        seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(max(seconds, 0.0), _LONGEST_NAMED)


def said(error: BaseException) -> str:
    """Return what the server says is wrong; empty where it says nothing."""
    if isinstance(error, openai.APIStatusError):
        return error_words(error.response.content)
    return str(error) if isinstance(error, ReplyError) else ""


def refusal(error: BaseException) -> str:
    """Return the server's words where it may have refused a field; empty where it hasn't."""
    if isinstance(error, openai.APIStatusError):
        return said(error) if error.status_code in _REFUSALS else ""
    if isinstance(error, ReplyError) and error.status in (None, *_REFUSALS):
        return error.words
    return ""
