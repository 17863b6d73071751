"""Chat templates, which are programs from elsewhere, run within limits of time and memory.

They run in a fork of this process, which the kernel ends once its processor time is used up:
whatever a template does, nothing of it goes on, fills the memory or changes this process.
"""

import gc
import math
import os
import resource
import signal
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeVar

from benchmark.store.files import with_cause

Item = TypeVar("Item")
_SECONDS = 5  # of processor time for one text; usual templates take a millisecond
_MEMORY = 2**28  # bytes for a template, beyond what the process holds
_CHARACTERS = 2**23  # of one text; the longest prompts that models read have fewer
_HEAD = struct.Struct("?q")  # whether a text follows or a fault, and its length in bytes
_PARALLEL = "TOKENIZERS_PARALLELISM"  # unless it is set, tokenizers warn of every fork


class TemplateFault(RuntimeError):  # noqa: N818 - it says what is wrong with a template
    """Why a template gave no text."""


def render_all(
    render: Callable[[Item], str], items: Sequence[Item]
) -> Iterator[str | TemplateFault]:
    """Yield the text that a function, which runs a template, gives of each item, or its fault.

    Args:
        render: runs in a fork of this process.
        items: what it renders, one after another; after one that takes too long, none is tried.
    """
    reading, writing = os.pipe()
    known = os.environ.get(_PARALLEL)
    os.environ[_PARALLEL] = known or "false"
    child = os.fork()
    if child == 0:
        _run(render, items, writing)
    if known is None:
        del os.environ[_PARALLEL]
    os.close(writing)
    done = 0
    try:
        with os.fdopen(reading, "rb") as pipe:
            for found in _received(pipe):
                done += 1
                yield found
    finally:
        os.kill(child, signal.SIGKILL)  # where nobody wants the rest
        _, status = os.waitpid(child, 0)
    for _ in range(len(items) - done):
        yield TemplateFault(_death(status))


def _received(pipe: BinaryIO) -> Iterator[str | TemplateFault]:
    while len(head := pipe.read(_HEAD.size)) == _HEAD.size:
        good, size = _HEAD.unpack(head)
        text = pipe.read(size).decode("utf-8", "surrogatepass")
        yield text if good else TemplateFault(text)


def _run(render: Callable[[Item], str], items: Sequence[Item], descriptor: int) -> NoReturn:
    """Write what each item gives, and end this process without anything else."""
    try:
        gc.disable()  # what the parent holds is not to be finalised here
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        _limit_memory()
        with os.fdopen(descriptor, "wb", buffering=0) as pipe:
            for item in items:
                used = math.ceil(time.process_time())
                _, hard = resource.getrlimit(resource.RLIMIT_CPU)
                resource.setrlimit(resource.RLIMIT_CPU, (used + _SECONDS, hard))
                good, text = _tried(render, item)
                data = text.encode("utf-8", "surrogatepass")
                pipe.write(_HEAD.pack(good, len(data)))
                pipe.write(data)
    finally:
        os._exit(0)


def _tried(render: Callable[[Item], str], item: Item) -> tuple[bool, str]:
    try:
        text = render(item)
    except MemoryError:
        return False, f"it takes more than {_MEMORY >> 20} MB of memory"
    except Exception as error:  # noqa: BLE001 - a template is a program: it may raise anything
        return False, with_cause(error)
    if len(text) > _CHARACTERS:
        return False, f"it gives {len(text):,} characters; at most {_CHARACTERS:,} are read"
    return True, text


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    held = Path("/proc/self/statm")
    if held.exists():  # elsewhere the size of the text alone is limited
        used = int(held.read_text().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY, hard))


def _death(status: int) -> str:
    number = os.waitstatus_to_exitcode(status)
    if number == -signal.SIGXCPU:
        return f"it takes more than {_SECONDS} s of processor time"
    return f"it ended the process that ran it ({number})"
