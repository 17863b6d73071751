"""What fuzz tests share: hostile texts, and a limit of CPU time that ends a hang."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import settings
from hypothesis import strategies as st

LONG = 100_000  # characters

TAGS = [
    "<think>", "</think>", "<|channel|>", "<|message|>", "<|constrain|>", "<|end|>", "<|start|>",
    "<|return|>", "final", "analysis", "<|channel|>final<|message|>",
]  # fmt: skip
LATEX = [
    "\\boxed{", "\\boxed", "\\fbox {", "\\text{", "\\mathrm{", "\\frac{1}{2}", "\\frac", "\\sqrt",
    "\\left(", "\\%", "\\$", "\\circ", "\\begin{pmatrix}", "$", "{", "}", "{}", "^", "_", "\\", "%",
]  # fmt: skip
WORDS = [
    "answer", "answer is", "answer:", "Answer ", "the ", "a ", "A", "B.", "(C)", "choice",
    "option ", "is", "it's", "than", "smaller", "larger ", "symbol ", "capital", "letter ", "which",
    "or ", "and ", "P = ", "CORRECT", "INCORRECT", "Yes", "one", "twenty-two", "cm", "per ",
]  # fmt: skip
NUMBERS = [
    "0", "3", "0.85", ".5", "85%", "1,000", "1,00", "-7", "+", "1/2", "/0", "1e400", "nan", "inf",
    "٣", "৭", "½", "²", "①", "#### ", "####", "=", "9" * 70, "_1",
]  # fmt: skip
MARKS = [
    "\x00", "\ud800", "\udfff", "\u202e", "\u200f", "\ufeff", "\u0301", "\u2028", "\x1c", "\r\n",
    "\n", "\t", " ", "  ", ".", ",", ";", ":", "!", "?", "(", ")", "[", "]", "'", '"', "*", "`",
    "|", "-", "−", "ß", "İ", "ſ", "🜚", "\U0010ffff",
]  # fmt: skip
PIECES = [*TAGS, *LATEX, *WORDS, *NUMBERS, *MARKS]

FEW = settings(max_examples=max(5, settings().max_examples // 6))  # of what takes long

pieces = st.sampled_from(PIECES)
texts = st.lists(pieces | st.text(st.characters(), max_size=4), max_size=30).map("".join)


@st.composite
def long_texts(draw: st.DrawFn) -> str:
    """One or two short texts, each as often as fits, behind and before others."""
    units = draw(st.lists(st.lists(pieces, min_size=1, max_size=2).map("".join), min_size=1,
                          max_size=2))  # fmt: skip
    share = LONG // len(units)
    middle = "".join(unit * (share // len(unit)) for unit in units)
    return draw(pieces | st.just("")) + middle + draw(pieces | st.just(""))


class HangError(AssertionError):
    """A call took far longer than it may."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail where the block takes more CPU time than that, whatever else the machine does.

    Regular expressions and Python code are interrupted; without a main thread there is no limit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise HangError(f"more than {seconds} s of CPU time")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
