"""Whether an answer equals a reference, within limits of time and memory.

This runs in the worker processes of ``grading.math_verify``, which may be killed at any moment.
"""

import multiprocessing
import os
import re
import resource
import signal
import threading
import time
from collections.abc import Sequence
from functools import lru_cache
from math import ceil
from pathlib import Path
from types import FrameType
from typing import Literal

from benchmark.grading.mathematics.answers import readings
from benchmark.grading.mathematics.equality import equal
from benchmark.grading.mathematics.nodes import Node
from benchmark.grading.mathematics.text import normalise, split_qualifier
from benchmark.grading.mathematics.values import TooLargeError

Judgement = tuple[Literal["correct", "incorrect", "unparsed"], str]


class TimeLimitError(BaseException):
    """Raised in the middle of a comparison; no ``except Exception`` of a library swallows it."""


_expired = False


def _expire(_: int, __: FrameType | None) -> None:
    global _expired
    _expired = True
    raise TimeLimitError


def limit_worker(memory_mb: int) -> None:
    """Bound what this process may allocate beyond what it holds, and make time limits work.

    It ends with the process that started it, which may be killed.
    """
    signal.signal(signal.SIGPROF, _expire)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    held = Path("/proc/self/statm")
    if held.exists():
        used = int(held.read_text().split()[0]) * resource.getpagesize()
        limit = used + memory_mb * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def judge_pair(reference: str, answer: str, seconds: float) -> Judgement:
    """Return whether the answer equals the reference, and by which rule or why it can't be told.

    Args:
        reference: LaTeX without ``$``.
        answer: LaTeX without ``$``.
        seconds: longest CPU time in seconds.
    """
    global _expired
    _expired = False
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        judgement = _judged(reference, answer)
    except TimeLimitError:
        return "unparsed", "time limit"
    except TooLargeError as error:
        return "unparsed", str(error)
    except MemoryError:
        return "unparsed", "memory limit"
    except RecursionError:
        return "unparsed", "nested too deeply"
    except Exception as error:  # noqa: BLE001 - what sympy raises is not ours to list
        return "unparsed", f"sympy failed: {type(error).__name__}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return ("unparsed", "time limit") if _expired else judgement


def judge_pairs(pairs: Sequence[tuple[str, str]], seconds: float) -> list[Judgement]:
    """Return the judgement of each (reference, answer), each with its own time limit.

    The kernel ends this process where a comparison doesn't stop at its limit, in one long
    multiplication for example.
    """
    judgements = []
    for reference, answer in pairs:
        most = ceil(time.process_time() + 2 * seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        judgements.append(judge_pair(reference, answer, seconds))
    return judgements


def _judged(reference: str, answer: str) -> Judgement:
    gold, gold_condition = _written(reference)
    given, given_condition = _written(answer)
    if gold_condition and given_condition and gold_condition != given_condition:
        return "incorrect", "another condition"
    if given and (gold == given or _letters(gold) == _letters(given) != ""):
        return "correct", "same text"
    golds, answers = _read(gold, reference=True), _read(given, reference=False)
    if any(equal(left, right) for left in golds for right in answers):
        return "correct", "equal"
    if answers:
        return "incorrect", "not equal" if golds else "reference not understood"
    if not re.search(r"\w", given):
        return "unparsed", "no mathematics" if given else "empty"
    if not golds and gold.replace(" ", "") == given.replace(" ", ""):
        return "correct", "same text"
    return "incorrect", "not read as a whole"


@lru_cache(maxsize=4096)
def _written(latex: str) -> tuple[str, str]:
    return split_qualifier(normalise(latex))


@lru_cache(maxsize=4096)
def _read(text: str, *, reference: bool) -> list[Node]:
    return readings(text, reference=reference)


def _letters(text: str) -> str:
    """Return the letters of a text that holds nothing else, in a font or without."""
    return text.replace('"', "") if re.fullmatch('[A-Za-z"]+', text) else ""
