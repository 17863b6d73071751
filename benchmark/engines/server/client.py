"""The client that requests go through: what a server does to it has bounds.

A whole reply must come in time, fit its cap on tokens once it is decompressed, and come from the
server that was asked: prompts and keys go nowhere else.
"""

import json
import os
import re
import zlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx2

from benchmark.engines.server.replies import ReplyError
from benchmark.errors import ModelError
from benchmark.redaction import redacted, redacted_data

_ENVELOPE_BYTES = 2**22  # of a reply beside its texts; also of an error, or a list of models
_TOKEN_BYTES = 256  # of a token's text, written as JSON, in an answer or in reasoning
_LOGPROB_BYTES = 1024  # of a token with its log probability and its bytes as numbers
_ECHO = 8  # some servers repeat the request, escaped, in the reply
_REDIRECTS = 3  # to the same server, of one request
_KEPT = (307, 308)  # redirects that keep method and body of a request
_ESCAPED = re.compile(rb"\\u00[0-7]", re.IGNORECASE)  # a character in JSON that needs no escape
_GZIP_OR_ZLIB = 47  # for zlib: find out which of the two it is


class GuardedClient(httpx2.AsyncClient):
    """Sends requests; whatever the server answers, each ends in time and in bounded memory.

    Args:
        seconds: longest time that a request may take, from its first byte to the reply's last.
        settings: part of the configuration that messages send the user to.
    """

    def __init__(self, seconds: float, settings: str) -> None:
        super().__init__(
            headers={"Accept-Encoding": "gzip, deflate"},
            timeout=seconds,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
        )
        self._seconds = seconds
        self._settings = settings

    async def send(self, request: httpx2.Request, **_: Any) -> httpx2.Response:
        """Return a reply that has been read to its end.

        Raises:
            ModelError: it is a redirect to another server.
            ReplyError: it is larger than its cap on tokens allows, or can't be decompressed.
            httpx2.RequestError: it didn't come, or not in time.
        """
        try:
            with anyio.fail_after(self._seconds):
                for _attempt in range(_REDIRECTS + 1):
                    response = await super().send(request, stream=True, follow_redirects=False)
                    try:
                        if not response.has_redirect_location:
                            return await _whole(request, response)
                        request = self._redirected(request, response)
                    finally:
                        await response.aclose()
        except TimeoutError as error:
            told = f"no whole reply in {self._seconds:g} s"
            raise httpx2.ReadTimeout(told, request=request) from error
        raise ReplyError(f"the server redirected more than {_REDIRECTS} times")

    def _redirected(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Request:
        """Return the request at the address that the same server names.

        Raises:
            ModelError: it names another server, or the request would lose its body.
        """
        here = _origin(request.url)
        try:
            target = request.url.join(response.headers["location"])
            there = _origin(target)
        except (httpx2.InvalidURL, ValueError):
            target, there = None, "an address that is none"
        if target is None or target.userinfo or here != there:
            raise ModelError(
                f"{here} redirects to {there}. Prompts and keys are sent to no other server than "
                f"the one that was named: if it is the right one, set {self._settings}.base_url to "
                f"its address."
            )
        if response.status_code not in _KEPT and request.method != "GET":
            raise ModelError(
                f"{here} redirects to its path {target.path} with status {response.status_code}, "
                f"which drops the request's text. Set {self._settings}.base_url to the API's "
                f"address; most end with its version, as /v1."
            )
        headers = {name: text for name, text in request.headers.items() if name != "host"}
        return self.build_request(
            request.method, target, headers=headers, content=request.content,
            extensions=request.extensions,
        )  # fmt: skip


def check_address(base_url: str | None, settings: str) -> None:
    """Refuse an address that no request can be sent to, or that holds a login.

    Args:
        base_url: address of the API; None stands for the variable ``OPENAI_BASE_URL``.
        settings: part of the configuration that messages send the user to.

    Raises:
        ModelError: with the address, unless it holds a login.
    """
    url = base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com"
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # the port is out of range
        parts, good = None, False
    if "@" in (url if parts is None else parts.netloc):
        raise ModelError(
            f"The address for {settings}.base_url holds a login, which would reach files and logs. "
            f"Put the key into an environment variable and name it as {settings}.api_key_env."
        )
    if not good or not url.isprintable() or " " in url:
        raise ModelError(
            f"{settings}.base_url={url!a} is no address: write it as http://host:port/v1."
        )


def check_sendable(secrets: Mapping[str, str]) -> None:
    """Refuse what no header can hold, without showing it; headers' values by their names."""
    for name, secret in secrets.items():
        if not (secret.isascii() and secret.isprintable()):
            raise ModelError(
                f"The environment variable for {name} holds characters that can't be sent: "
                f"other than ASCII, or a line break."
            )


def most_bytes(body: Mapping[str, Any], sent: int) -> int:
    """Return how many bytes the reply to a request may have.

    Args:
        body: fields of the request.
        sent: number of its bytes.
    """
    tokens = int(body.get("max_completion_tokens") or body.get("max_tokens") or 0)
    top = int(body.get("top_logprobs") or body.get("logprobs") or 0)
    each = _TOKEN_BYTES + (top + 1) * _LOGPROB_BYTES if top else _TOKEN_BYTES
    return _ENVELOPE_BYTES + _ECHO * sent + int(body.get("n", 1)) * (tokens + 1) * each


async def _whole(request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
    """Return the response with its content, decompressed.

    Raises:
        ReplyError: it is too large, or can't be decompressed.
    """
    body = json.loads(request.content) if request.content else {}
    most = most_bytes(body, len(request.content))
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise ReplyError(f"the reply is compressed as {encoding[:20]!r}, which wasn't asked for")
    packed = encoding not in ("", "identity")
    try:
        content = await _read(response, most, packed=packed)
    except zlib.error as error:
        raise ReplyError(f"the reply can't be decompressed: {error}") from error
    try:
        content = _redacted(content)
    except RecursionError as error:
        failed = response.status_code if response.is_error else None
        raise ReplyError("the reply's JSON is nested too deeply", status=failed) from error
    dropped = (b"content-encoding", b"content-length", b"transfer-encoding")
    headers = [(name, text) for name, text in response.headers.raw if name.lower() not in dropped]
    return httpx2.Response(
        response.status_code, headers=headers, content=content, request=request,
        extensions=response.extensions,
    )  # fmt: skip


async def _read(response: httpx2.Response, most: int, *, packed: bool) -> bytes:
    """Return the content, of which no more than ``most`` bytes are ever held."""
    too_large = ReplyError(
        f"the reply has more than {most:,} bytes, which no answer within the cap on tokens has"
    )
    unpacker = zlib.decompressobj(_GZIP_OR_ZLIB) if packed else None
    content, received = bytearray(), 0
    async for chunk in response.aiter_raw():
        received += len(chunk)
        content += (
            chunk if unpacker is None else unpacker.decompress(chunk, most + 1 - len(content))
        )
        if max(len(content), received) > most:
            raise too_large
    if unpacker is not None and received and not unpacker.eof:
        raise ReplyError("the compressed reply ends early")
    return bytes(content)


def _redacted(content: bytes) -> bytes:
    """Return the content without secrets: a server may send back what it got, in any spelling."""
    encoding = json.detect_encoding(content)
    if not encoding.startswith("utf-8"):  # JSON may be read as UTF-16, where no search finds a word
        content = content.decode(encoding, errors="replace").encode(errors="replace")
    text = content.decode(errors="surrogateescape")
    without = redacted(text)
    if without == text and not _ESCAPED.search(content):  # the usual case, and fast
        return content
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return without.encode(errors="surrogateescape")
    cleaned = redacted_data(data)
    return content if cleaned == data else json.dumps(cleaned).encode()


def _origin(url: httpx2.URL) -> str:
    port = url.port or {"http": 80, "https": 443}.get(url.scheme, 0)
    return f"{url.scheme}://{url.host}:{port}"
