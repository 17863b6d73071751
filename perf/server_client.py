"""The server client: 20,000 requests, 512 at once, against a local server that answers at once.

    python perf/server_client.py [--requests 20000] [--n 8]

Prints loss, duplicates, the client's own CPU time per response and the peak memory.
"""

import argparse
import asyncio
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator

from measured import Result, parser, peak_mb, tell
from rich.console import Console

from benchmark.config.schema import ModelConfig
from benchmark.engines import Decoding, SampleRequest
from benchmark.engines.server.engine import ServerEngine
from benchmark.engines.settings import ServerConfig

TEXT = "The answer is forty-two, since six times seven is that. "


def serve(port) -> None:
    """Answer every request at once with n texts, as bare as HTTP allows."""

    async def connection(reader, writer) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET"):
                    writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                    continue
                fields = dict(
                    line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line
                )
                body = json.loads(await reader.readexactly(int(fields[b"content-length"])))
                choices = [
                    {"finish_reason": "stop", "message": {"content": f"{TEXT}{body['seed']}/{i}"}}
                    for i in range(body["n"])
                ]
                tokens = min(40, body["max_completion_tokens"])
                usage = {"prompt_tokens": 9, "completion_tokens": tokens * body["n"]}
                data = json.dumps({"choices": choices, "usage": usage}).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
                    + str(len(data)).encode() + b"\r\n\r\n" + data
                )  # fmt: skip
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(connection, "127.0.0.1", 0, backlog=1024)
        port.value = server.sockets[0].getsockname()[1]
        await server.serve_forever()

    asyncio.run(main())


def main() -> None:
    """Run the requests and print what they cost."""
    command = parser(__doc__)
    command.add_argument("--requests", type=int, default=20_000)
    command.add_argument("--n", type=int, default=8)
    options = command.parse_args()
    if options.smoke:
        options.requests = 200
    tell(measure(options), options)


def measure(options: argparse.Namespace) -> Iterator[Result]:
    """Yield what the requests cost, if none was lost or doubled."""
    context = multiprocessing.get_context("spawn")
    port = context.Value("i", 0)
    server = context.Process(target=serve, args=(port,), daemon=True)
    server.start()
    while not port.value:
        time.sleep(0.01)
    config = ServerConfig(
        base_url=f"http://127.0.0.1:{port.value}/v1", model="m", concurrency=512,
        samples_per_request=options.n,
    )  # fmt: skip
    engine = ServerEngine(ModelConfig(name="m"), config, {}, "none", Console(), None)
    samples = tuple(range(options.n))
    requests = [
        SampleRequest(f"q{i}", f"Question {i}?", samples, tuple(i * options.n + j for j in samples))
        for i in range(options.requests)
    ]
    start, cpu = time.perf_counter(), time.process_time()
    seen = set()
    count = 0
    for response in engine.sample(requests, Decoding(0.7, 0.95, 64)):
        count += response.finish_reason == "stop"
        seen.add((response.question_id, response.sample_index))
    seconds, spent = time.perf_counter() - start, time.process_time() - cpu
    server.kill()
    wanted = options.requests * options.n
    if not len(seen) == count == wanted:
        sys.exit(f"{wanted} responses were asked for, {count} came, {len(seen)} of them different.")
    yield Result(
        f"the server client, {options.requests:,} requests of n = {options.n}, 512 at once",
        f"{1000 * spent / wanted:.2f} ms CPU a response ({1000 * spent / options.requests:.1f} ms "
        f"a request), {seconds:.0f} s, none lost",
        peak_mb=peak_mb(),
    )


if __name__ == "__main__":
    main()
