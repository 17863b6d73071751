"""A real HTTP server that speaks OpenAI's protocol and can be told to misbehave.

It answers at once. The text of sample i of a request is a function of prompt and seed + i, so that
tests can tell which samples came from where.
"""

import hashlib
import json
import secrets
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.engines.server.hostile import ATTACKS

WORDS = ["red", "blue", "tree", "lamp", "nine", "salt", "wind", "moon"]


class ScriptedServer(ThreadingHTTPServer):
    """Attributes: ``script``, faults to play one after another, then none; ``faults``, always.

    Either may be attacks of ``hostile``: the former as functions, the latter by name.

    ``refuse`` returns status and body of a refusal of a request, or None; ``ignored`` are fields
    that change nothing; ``most`` is how many log probabilities a token gets; ``reshape`` changes a
    reply to anything but the check, and may return bytes; ``always`` changes every reply;
    ``count`` tells the tokens of a prompt.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(
        self, *faults, script=(), failing=(), models=("served",), port=0, refuse=None, ignored=(),
        most=20, reshape=None, always=None, owner="x", count=lambda _: 7,
    ):  # fmt: skip
        super().__init__(("127.0.0.1", port), Handler)
        self.faults, self.script, self.failing = set(faults), list(script), set(failing)
        self.models, self.refuse, self.ignored, self.most = models, refuse, set(ignored), most
        self.reshape, self.always, self.owner = reshape, always, owner
        self.count = count
        self.headers = []
        self.attack = next((ATTACKS[name] for name in faults if name in ATTACKS), None)
        self.lock = threading.Lock()
        self.asked = Counter()  # samples asked for and answered, by prompt
        self.bodies, self.keys, self.times = [], set(), []
        self.checked = 0
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def next_fault(self):
        with self.lock:
            return self.script.pop(0) if self.script else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


def greedy(body):
    """Tell whether only the most probable token is left."""
    cold = body.get("temperature", 1) == 0 or body.get("top_p", 1) < 1e-3
    return cold or body.get("top_k", -1) == 1 or body.get("min_p", 0) == 1


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.endswith("/models"):
            self._send(200, {"object": "list", "data": [
                {"id": m, "object": "model", "created": 0, "owned_by": self.server.owner}
                for m in self.server.models]})  # fmt: skip
        else:
            self._send(200, {"status": "ok"})

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = str(body.get("prompt") or body["messages"][-1]["content"])
        check = "random words" in prompt
        with server.lock:
            server.bodies.append(body)
            server.times.append(time.monotonic())
            server.keys.add(self.headers["Authorization"])
            server.headers.append(self.headers)
        fault = None if check else server.next_fault()
        if any(word in prompt for word in server.failing) and not check:
            fault = "500"
        attack = fault if callable(fault) else server.attack
        if attack and not check:
            self.close_connection = True
            with suppress(OSError):  # the client has hung up
                attack(self, body)
            return
        if self._refused(body) or self._misbehave(fault):
            return
        body = {k: v for k, v in body.items() if k not in server.ignored}
        if "no logprobs" in server.faults:
            body = {k: v for k, v in body.items() if "logprobs" not in k}
        if "slow" in server.faults and not check:
            time.sleep(0.05)
        n = 1 if "ignores n" in server.faults else body.get("n", 1)
        reply = self._reply(body, prompt, n)
        for change in (server.always, None if check else server.reshape):
            reply = change(reply, body) if change else reply
        data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        if fault == "truncated json":
            data = data[: len(data) // 2]
        if not check:
            with server.lock:
                server.asked[prompt] += n
        self._send_bytes(200, data)

    def _refused(self, body):
        server = self.server
        refusal = server.refuse and server.refuse(body)
        if body["model"] not in server.models:
            refusal = 404, {"error": {"message": f"no model {body['model']}"}}
        elif {"no logprobs", "refuse"} <= server.faults and "logprobs" in body:
            refusal = 400, {"error": {"message": "logprobs are not supported"}}
        if refusal:
            self._send(*refusal)
        return refusal

    def _misbehave(self, fault):
        """Play a fault; tell whether that was all of the answer."""
        if fault in ("500", "503"):
            self._send(int(fault), {"error": {"message": "overloaded"}})
        elif fault == "400":
            self._send(400, {"error": {"message": "this prompt is refused"}})
        elif fault and fault.startswith("429"):
            headers = {"Retry-After": fault.split()[1]} if " " in fault else {}
            self._send(429, {"error": {"message": "slow down"}}, headers)
        elif fault == "reset":
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices": [')
            self.close_connection = True
        elif fault == "hang":
            time.sleep(2.0)
            self.close_connection = True
        elif fault == "no choices":
            self._send(200, {"choices": [], "usage": {}})
        else:
            return False
        return True

    def _reply(self, body, prompt, n):
        chat = "messages" in body
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        choices = []
        for index in range(n):
            words = self._words(prompt, body, index)[:limit]
            text = " ".join(words)
            choice = {"index": index, "finish_reason": "length" if len(words) == limit else "stop"}
            if chat:
                choice["message"] = {"role": "assistant", "content": text}
            else:
                choice["text"] = text
            if body.get("logprobs"):
                top = {"Yes": -0.5, " yes": -2.0, "No": -1.5, "Maybe": -6.0}
                # Two tokens may have the same text.
                tops = [{"token": t, "logprob": p} for t, p in [*top.items(), ("No", -4.5)]]
                tops += [{"token": f"t{i}", "logprob": -19.0} for i in range(20)]
                tops = tops[: min(self.server.most, body.get("top_logprobs", 0))]
                content = [{"token": w, "logprob": -1.0, "top_logprobs": tops} for w in words]
                completion = {"tokens": words, "top_logprobs": [top] * len(words)}
                choice["logprobs"] = {"content": content} if chat else completion
            choices.append(choice)
        total = sum(len(self._words(prompt, body, i)[:limit]) for i in range(n))
        reply = {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"]}
        usage = {"usage": {"prompt_tokens": self.server.count(prompt), "completion_tokens": total}}
        return reply | {"choices": choices} | ({} if "no usage" in self.server.faults else usage)

    def _words(self, prompt, body, index):
        seed = body["seed"] if "seed" in body else secrets.token_hex()
        if "one text" in self.server.faults or greedy(body):
            seed, index = 0, 0
        if "own seeds" not in self.server.faults and isinstance(seed, int):  # as vLLM counts on
            seed, index = seed + index, 0
        digest = hashlib.sha256(f"{prompt}/{seed}/{index}".encode()).digest()
        if "judges" in self.server.faults and "NOT_ATTEMPTED" in prompt:
            return [("CORRECT", "INCORRECT")[digest[0] % 2]]
        words = [WORDS[byte % len(WORDS)] for byte in digest[: 3 + digest[0] % 5]]
        return words * (40 if "random words" in prompt else 1)

    def _send(self, status, body, headers=None):
        self._send_bytes(status, json.dumps(body).encode(), headers)

    def _send_bytes(self, status, data, headers=None):
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, *_):
        pass


def main():
    """Run a server on a given port, with faults: what the tests start as a process of its own."""
    port, *faults = sys.argv[1:]
    if "dies" in faults:
        print("ValueError: no such weights")
        print("\n" * 50)
        sys.exit(3)
    server = ScriptedServer(*faults, port=int(port))
    print("ready", flush=True)
    server.thread.join()


if __name__ == "__main__":
    main()
