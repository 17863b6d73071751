r"""The command ``capcal grade``: tries a grader on responses from standard input.

It prints a line for each response: outcome, answer and rule, with tabs between.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from benchmark.grading import Verdict, grade_text, named_graders
from benchmark.grading.extract import visible
from benchmark.redaction import told

_DESCRIPTION = """\
Grade responses as a run would. Standard input is one response; with --lines, each of its lines is
one. For each a line is printed: outcome, answer and the rule that decided, with tabs between.
"""


class _Parser(argparse.ArgumentParser):
    """Tells a fault in the manner of all commands, in one line."""

    def error(self, message: str) -> NoReturn:
        if message.endswith("--reference: expected one argument"):
            message += "; one that begins with a dash is given as --reference=-1"
        _report(f"{message}. See capcal grade --help.")
        self.exit(2)


def main(arguments: Sequence[str]) -> int:
    """Grade standard input; return the exit status, 1 after a fault that its user can mend."""
    parser = _parser()
    settings = parser.parse_args(arguments)
    try:
        for text in (settings.grader, settings.prompt, *settings.reference):
            text.encode()  # what isn't UTF-8 comes as halves of surrogate pairs
        for response in _responses(lines=settings.lines):
            verdict = grade_text(settings.grader, response, settings.reference, settings.prompt)
            sys.stdout.write(_shown(verdict))
        sys.stdout.flush()
    except UnicodeEncodeError as error:
        _report(f"{error.object!a} is not text in UTF-8.")
    except UnicodeDecodeError as error:
        _report(f"Standard input is not text in UTF-8: byte {error.start + 1} is wrong.")
    except ValueError as error:
        _report(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads the rest
    except OSError as error:
        _report(f"Standard input or output: {error.strerror}.")
    except KeyboardInterrupt:
        return 130
    else:
        return 0
    return 1


def _parser() -> _Parser:
    parser = _Parser(prog="capcal grade", description=_DESCRIPTION, allow_abbrev=False)
    names = ", ".join(named_graders())
    parser.add_argument("--grader", required=True, metavar="NAME", help=f"one of {names}")
    parser.add_argument(
        "--reference", required=True, action="append", metavar="TEXT",
        help="an accepted answer; give it again for another one",
    )  # fmt: skip
    parser.add_argument(
        "--prompt", default="", metavar="TEXT", help="what was asked, where a response repeats it"
    )
    parser.add_argument("--lines", action="store_true", help="take each line as one response")
    return parser


def _responses(*, lines: bool) -> list[str]:
    """Return the responses on standard input.

    Raises:
        ValueError: there is no standard output or input, or the input is empty or not UTF-8.
    """
    if sys.stdout is None:
        raise ValueError("There is no standard output to write to.")
    if sys.stdin is None or sys.stdin.isatty():
        raise ValueError("Give the response on standard input: capcal grade ... < response.txt")
    text = sys.stdin.buffer.read().decode("utf-8-sig")
    if not text:
        raise ValueError("Standard input is empty: it should hold the response.")
    return text.removesuffix("\n").split("\n") if lines else [text]


def _shown(verdict: Verdict) -> str:
    fields = (verdict.outcome, verdict.answer or "", verdict.rule or "")
    return "\t".join(visible(" ".join(field.split())) for field in fields) + "\n"


def _report(message: str) -> None:
    sys.stderr.write(f"Error: {told(' '.join(message.split()))}\n")
