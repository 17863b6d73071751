"""What a hostile server answers: attacks by name, played by the scripted server.

An attack is called with the handler of a request, whose ``wfile`` is the raw connection, and the
request's body. ``ENDLESS`` ones end when the client hangs up.
"""

import base64
import gzip
import html
import json
import os
import signal
import time
import urllib.parse
import zlib

MANY = 64 * 2**20  # bytes that a small reply is decompressed to: more than any cap of the tests


def head(*lines, status="200 OK"):
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()


def whole(data, *lines, status="200 OK"):
    return head(f"Content-Length: {len(data)}", "Connection: close", *lines, status=status) + data


def sent(data):
    """Return an attack that sends bytes, or whatever bytes a function yields, and hangs up."""

    def attack(handler, body):
        for part in data(handler, body) if callable(data) else [data]:
            handler.wfile.write(part)
            handler.wfile.flush()

    return attack


def repeated(first, part, seconds=0.0):
    """Return an attack that never ends."""

    def parts(*_):
        yield first
        while True:
            yield part
            time.sleep(seconds)

    return sent(parts)


def packed(kind, encoding):
    data = {"gzip": gzip.compress, "deflate": zlib.compress}[kind](b" " * MANY)
    return sent(whole(data, f"Content-Encoding: {encoding}"))


def redirect(location, status="307 Temporary Redirect"):
    def parts(handler, _):
        port = handler.server.server_address[1]
        yield whole(
            b"", f"Location: {location.format(port=port, path=handler.path)}", status=status
        )

    return sent(parts)


def dies(handler, _):
    """Be killed in the middle of a reply."""
    handler.wfile.write(head("Content-Length: 1000") + b'{"choices": [')
    handler.wfile.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def waits(header, status="429 Too Many Requests", *lines):
    words = json.dumps({"error": {"message": "slow down"}}).encode()
    return sent(whole(words, f"Retry-After: {header}", *lines, status=status))


def echo(spelled, status="401 Unauthorized", form="{}"):
    """Return an attack that sends the key back, spelled in some way, as the words of an error."""

    def parts(handler, _):
        key = handler.headers["Authorization"].removeprefix("Bearer ")
        words = form.format(spelled(key))
        yield whole(json.dumps({"error": {"message": words}}).encode(), status=status)

    return sent(parts)


def echo_text(handler, body):
    """Answer well, with the key in the text."""
    key = handler.headers["Authorization"]
    choices = [
        {"index": i, "finish_reason": "stop", "message": {"content": f"{key} {body['seed'] + i}"}}
        for i in range(body.get("n", 1))
    ]
    usage = {"prompt_tokens": 7, "completion_tokens": 9}
    reply = {"model": body["model"], "choices": choices, "usage": usage, "key": key}
    handler.wfile.write(whole(json.dumps(reply).encode()))


def echo_raw(handler, _):
    """Send the key back with every character escaped as JSON may do, which no search finds."""
    key = "".join(f"\\u{ord(c):04x}" for c in handler.headers["Authorization"])
    words = f'{{"error": {{"message": "{key}"}}}}'.encode()
    handler.wfile.write(whole(words, status="400 Bad Request"))


CHUNKED = head("Transfer-Encoding: chunked")
JSON_START = b'{"choices": [{"message": {"content": "'
SPELLINGS = {
    "plain": str,
    "bearer": lambda key: f"Bearer {key}",
    "url": lambda key: urllib.parse.quote(key, safe=""),
    "url plus": urllib.parse.quote_plus,
    "json": lambda key: json.dumps(json.dumps(key)),
    "json in json": lambda key: json.dumps(json.dumps(json.dumps(key))),
    "url twice": lambda key: urllib.parse.quote(urllib.parse.quote(key, safe=""), safe=""),
    "html": lambda key: "".join(f"&#{ord(c)};" for c in key),
    "html names": html.escape,
    "every character": lambda key: "".join(f"\\u{ord(c):04X}" for c in key),
    "mixed": lambda key: urllib.parse.quote(key[:9]) + json.dumps(html.escape(key[9:]))[1:-1],
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "basic": lambda key: base64.b64encode(f"user:{key}".encode()).decode(),
    "basic, another place": lambda key: base64.b64encode(f"me:{key}:x".encode()).decode(),
    "url-safe base64": lambda key: base64.urlsafe_b64encode(f"u:{key}".encode()).decode(),
    "hex": lambda key: key.encode().hex(),
    "upper case": str.upper,
    "repr": repr,
    "every byte": lambda key: "".join(f"%{b:02X}" for b in key.encode()),
}
ECHOES = {f"echo {name}": echo(spelled) for name, spelled in SPELLINGS.items()} | {
    "echo in a 400": echo(str, "400 Bad Request"),
    "echo in a 500": echo(str, "500 Internal Server Error"),
    "echo of a long line": echo(str, "400 Bad Request", "x" * 290 + "{}" + "y" * 9000),
    "echo escaped": echo_raw,
    "echo in a page": sent(
        lambda handler, _: [
            whole(f"<html>{handler.headers['Authorization']}</html>".encode(), status="403 No")
        ]
    ),
    "echo in a good reply": echo_text,
}
# Attack and what the run says of it.
BOUNDS = {
    "gzip bomb": (packed("gzip", "gzip"), "more than"),
    "deflate bomb": (packed("deflate", "deflate"), "more than"),
    "gzip bomb by another name": (packed("gzip", "X-GZip"), "more than"),
    "brotli": (sent(whole(b"\x8b\x00\x80", "Content-Encoding: br")), "compressed as 'br'"),
    "zstandard": (sent(whole(b"\x28\xb5", "Content-Encoding: zstd")), "compressed as 'zstd'"),
    "packed twice": (packed("gzip", "gzip, gzip"), "compressed as 'gzip, gzip'"),
    "no gzip at all": (sent(whole(b"{}", "Content-Encoding: gzip")), "can't be decompressed"),
    "half a gzip": (
        sent(whole(gzip.compress(b"{}" * 999)[:-9], "Content-Encoding: gzip")), "ends early",
    ),
    "endless chunks": (
        repeated(
            CHUNKED + b"28\r\n" + JSON_START.ljust(40) + b"\r\n",
            b"10000\r\n" + b"a" * 65536 + b"\r\n",
        ),
        "more than",
    ),
    "endless content": (
        repeated(head("Content-Length: 1000000000000"), b" " * 65536), "more than",
    ),
    "no length": (repeated(head("Connection: close"), b"[" * 65536), "more than"),
    "drip": (repeated(head("Content-Length: 100000"), b" ", 0.05), "Timeout"),
    "dripping chunks": (repeated(CHUNKED, b"1\r\n \r\n", 0.05), "Timeout"),
    "dripping header": (repeated(b"HTTP/1.1 200 OK\r\nX: ", b"a", 0.05), "Timeout"),
    "no end of continue": (repeated(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.01), "Timeout"),
    "silence": (repeated(b"", b"", 0.1), "Timeout"),
    "huge header": (sent(head("X: " + "a" * 2**20)), "APIConnectionError"),
    "endless headers": (repeated(b"HTTP/1.1 200 OK\r\n", b"X: a\r\n" * 999), "APIConnectionError"),
    "closed in the body": (
        sent(head("Content-Length: 1000") + JSON_START), "APIConnectionError",
    ),
    "closed in a chunk": (sent(CHUNKED + b"fff\r\n" + JSON_START), "APIConnectionError"),
    "no HTTP": (sent(b"\x16\x03\x01\x02\x00" * 99), "APIConnectionError"),
    "deep JSON": (sent(whole(b"[" * 10**6)), "unreadable reply"),
    "long number": (sent(whole(b'{"choices": ' + b"9" * 10**6 + b"}")), "unreadable reply"),
}  # fmt: skip
# Redirect and what the run says of it; None where it is followed.
REDIRECTS = {
    "redirect to another host": (redirect("http://localhost:{port}{path}"), "http://localhost"),
    "redirect to another port": (redirect("http://127.0.0.1:9{path}"), "http://127.0.0.1:9."),
    "redirect to another scheme": (redirect("https://127.0.0.1:{port}{path}"), "https://127"),
    "redirect without a scheme": (redirect("//localhost:{port}{path}"), "http://localhost"),
    "redirect with a login": (redirect("http://a:b@127.0.0.1:{port}{path}"), "redirects to"),
    "redirect that looks alike": (
        redirect("http://127.0.0.1:{port}@localhost:{port}{path}"), "redirects to",
    ),
    "redirect to nowhere": (redirect("http://[::1"), "redirects to an address that is none"),
    "redirect to a file": (redirect("file:///etc/passwd"), "redirects to file://"),
    "permanent redirect": (
        redirect("http://localhost:{port}{path}", "308 Permanent Redirect"), "http://localhost",
    ),
    "redirect that drops the text": (redirect("{path}/", "302 Found"), "drops the request's text"),
    "redirect to see another": (redirect("{path}/", "303 See Other"), "drops the request's text"),
    "circle of redirects": (redirect("{path}"), "redirected more than 3 times"),
}  # fmt: skip
WAITS = {
    header: waits(header)
    for header in ("7200", "0", "-5", "NaN", "inf", "1e9", "soon", "", "9" * 19, "٣", "5, 6")
} | {
    "Thu, 01 Jan 1970 00:00:00 GMT": waits("Thu, 01 Jan 1970 00:00:00 GMT"),
    "Fri, 31 Dec 9999 23:59:59 GMT": waits("Fri, 31 Dec 9999 23:59:59 GMT"),
    "Fri, 31 Dec 99999 23:59:59 GMT": waits("Fri, 31 Dec 99999 23:59:59 GMT"),
}
ATTACKS = {
    **ECHOES,
    **{name: attack for name, (attack, _) in (BOUNDS | REDIRECTS).items()},
    "dies in the body": dies,
}
