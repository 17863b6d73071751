"""Why a request failed, when it is tried again, and how long after."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import openai
import tenacity

from benchmark.engines.server.replies import ReplyError, error_words
from benchmark.records import storable
from benchmark.redaction import told

_REFUSALS = (400, 403, 415, 422, 500, 501)  # 500: some servers fail where others refuse a field
_SHOWN = 300  # characters of an error that a message repeats
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
    named = None if error is None else retry_after(error)
    if named is not None:
        # With some jitter, so that waiting requests don't all come at once.
        return min(named, _LONGEST_NAMED) + min(backoff, 1.0)
    return backoff


def retry_after(error: BaseException) -> float | None:
    """Return the seconds that a server's Retry-After header names, in either of its forms.

    None where there is no such header, or it names neither a time nor a date. The date is compared
    with the server's own clock where the reply says that, so that ours may be wrong or jump.
    """
    if not isinstance(error, openai.APIStatusError):
        return None
    headers = error.response.headers
    header = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,20}(\.\d*)?", header, re.ASCII):
        return float(header)
    until, now = _moment(header), _moment(headers.get("date", ""))
    if until is None:
        return None
    return max((until - (now or datetime.now(UTC))).total_seconds(), 0.0)


def _moment(text: str) -> datetime | None:
    """Return what the date of a header says; None where it is none, or names no time zone."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return None if moment.tzinfo is None else moment


def said(error: BaseException) -> str:
    """Return what the server says is wrong; empty where it says nothing."""
    if isinstance(error, openai.APIStatusError):
        return error_words(error.response.content)
    return str(error) if isinstance(error, ReplyError) else ""


def short(error: BaseException) -> str:
    """Return an error on one line: its kind, and the server's words without secrets."""
    shown = told(storable(said(error) or str(error)))
    text = " ".join(shown.split()) or type(error).__name__
    status = f" {error.status_code}" if isinstance(error, openai.APIStatusError) else ""
    known = error.__cause__ and not isinstance(error, ReplyError | openai.APIStatusError)
    cause = f" ({type(error.__cause__).__name__})" if known else ""
    return f"{type(error).__name__}{status}: {text[:_SHOWN]}{cause}"


def refusal(error: BaseException) -> str:
    """Return the server's words where it may have refused a field; empty where it hasn't."""
    if isinstance(error, openai.APIStatusError):
        return said(error) if error.status_code in _REFUSALS else ""
    if isinstance(error, ReplyError) and error.status in (None, *_REFUSALS):
        return error.words
    return ""
