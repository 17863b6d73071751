"""A stand-in for W&B's server that keeps what ``wandb sync`` uploads."""

import gzip
import json
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class WandbServer:
    """Keeps runs by their ids, with what is said of them, and their history by line.

    Args:
        stalled: whether it can be reached, but answers no question; or the part of a path whose
            requests it doesn't answer.
    """

    def __init__(self, *, stalled: bool | str = False) -> None:
        self.runs: dict[str, dict[str, Any]] = defaultdict(dict)
        self.history: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
        self.files: set[str] = set()
        self.requests = 0
        self._ended = threading.Event()
        self._stalled = stalled
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.handle_error = lambda *_: None  # a client that hangs up is no fault
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "WandbServer":
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def wait(self, path: str) -> None:
        """Return at once, or at the server's end where it is stalled."""
        if self._stalled is True or (self._stalled and self._stalled in path):
            self._ended.wait()

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Return the data of a GraphQL operation."""
        if operation == "UpsertBucket":
            return {"upsertBucket": {"bucket": self._bucket(variables), "inserted": True}}
        if operation == "CreateArtifact":
            artifact = {"id": "a", "state": "COMMITTED"}
            artifact["artifactSequence"] = {"latestArtifact": {"id": "a"}}
            return {"createArtifact": {"artifact": artifact}}
        if operation == "CreateRunFiles":
            files = [
                {"name": name, "uploadUrl": f"{self.url}/{variables['run']}/{name}"}
                for name in variables["files"]
            ]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        return {}

    def _bucket(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables["name"]
        self.runs[name].update({k: v for k, v in variables.items() if v is not None})
        project = {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": "me"}}
        bucket = {"id": name, "name": name, "project": project, "config": "{}"}
        return bucket | {"historyLineCount": len(self.history[name])}

    def store(self, run: str, name: str, chunk: dict[str, Any]) -> None:
        """Keep a chunk of one of a run's streamed files."""
        if name == "wandb-history.jsonl":
            for number, line in enumerate(chunk["content"], chunk["offset"]):
                self.history[run][number] = json.loads(line)


def _handler(server: WandbServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self._reply({})

        def do_PUT(self) -> None:
            self._body()
            server.wait(self.path)
            server.files.add(self.path.removeprefix("/"))
            self._reply({})

        def do_POST(self) -> None:
            server.requests += 1
            body = self._body()
            server.wait(self.path)
            if self.path == "/graphql":
                asked = json.loads(body)
                data = server.answer(asked["operationName"], asked.get("variables") or {})
                self._reply({"data": data})
            elif self.path.endswith("/file_stream"):
                for name, chunk in json.loads(body).get("files", {}).items():
                    server.store(self.path.split("/")[-2], name, chunk)
                self._reply({})
            else:
                self._reply({})

        def _body(self) -> bytes:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

        def _reply(self, answer: dict[str, Any]) -> None:
            data = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler
