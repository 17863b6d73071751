"""The grader ``llm_judge``: a language model behind an OpenAI-compatible endpoint decides.

Each distinct (question, references, answer) is judged once and stored with the judge's words and
tokens. The reply must be one of the allowed words and nothing else; any other is ``unparsed``. A
request that fails, or whose reply was cut off or filtered, is no verdict: it is stored nowhere, the
run stops with the reason, and the next run asks for what is missing. A judge of whose replies none
can be read stops the run as well.

Rules may come first, as in the paper: then the judge is asked for what none of them finds correct.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import polars as pl
from omegaconf import MISSING
from rich.console import Console

from benchmark.config.build import TARGET
from benchmark.config.filling import filled
from benchmark.config.rules import at_least, require
from benchmark.errors import DataError, ModelError
from benchmark.grading.extract import READING, final_answer
from benchmark.grading.in_turn import grade_in_turn
from benchmark.grading.verdict import TRUNCATED, Answer, Verdict
from benchmark.records import Outcome
from benchmark.store.rows import table_rows

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from benchmark.store.artifact import Artifact
    from benchmark.store.rows import Row

# Thoughts in tags, which end once: what an answer under judgement holds may not end them.
_THOUGHTS = re.compile(r"\A\s*<(think|thinking)>(?:(?!</?think).)*</\1>(?!.*</think)", re.DOTALL)
_AROUND = "*_`\"' \t\r\n"  # signs that may stand around a verdict
_PLACES = ("{question}", "{references}", "{answer}")
_SHOWN_CHARACTERS = 4000  # of an answer that the judge is shown
_SHOWN_REFERENCES = 20
_MOST_AT_ONCE = 10_000  # requests
# Requests that fail in a row before nothing more is asked; at least as many as are asked at once.
_FAILURES_IN_A_ROW = 20
_FIRST_REPLIES = 50  # after which a judge is given up of whose replies none could be read
NOT_UNDERSTOOD = "judge's reply not understood"

JUDGED = pl.Schema(
    {
        "key": pl.String(),  # checksum of question, references and answer
        "answer": pl.String(),
        "reply": pl.String(),  # the judge's, word for word
        "prompt_tokens": pl.Int64(),
        "completion_tokens": pl.Int64(),
        "judge": pl.String(),  # model as the server names it
    }
)
JUDGEMENTS = table_rows(JUDGED, "judgements")


class _Case(NamedTuple):
    """What is judged once."""

    question: str
    references: tuple[str, ...]
    answer: str

    @property
    def key(self) -> str:
        """Its checksum."""
        parts = "\x1f".join((self.question, *self.references, "\x1e", self.answer))
        return hashlib.sha256(parts.encode()).hexdigest()[:24]


@dataclass
class LLMJudge:
    """Asks a judge.

    Attributes:
        model: name of the judge at the endpoint.
        base_url: address of the endpoint; None takes ``OPENAI_BASE_URL``, else OpenAI.
        api_key_env: name of the environment variable that holds the key; without it no key is sent.
        prompt: wording, with ``{question}``, ``{references}`` and ``{answer}``.
        verdicts: outcome by allowed reply, correct or incorrect.
        max_tokens: longest reply in tokens, with the thoughts before it where the judge reasons.
        concurrency: number of requests at once.
        attempts: number of tries for one request, with growing waits between them.
        timeout: longest time in seconds for one request.
        after: graders by name that come first; the judge decides what none of them finds correct.
    """

    kind: ClassVar[str] = "llm_judge"
    model: str = MISSING
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    prompt: str = MISSING
    verdicts: dict[str, str] = field(default_factory=dict)
    max_tokens: int = 4096
    concurrency: int = 16
    attempts: int = 5
    timeout: float = 60.0
    after: Any = None

    def __post_init__(self) -> None:
        """Refuse a wording without its places, verdicts that are no outcomes, and no requests."""
        where = "grading.llm_judge"
        worded = self.prompt == MISSING or all(place in self.prompt for place in _PLACES)
        require(worded, f"{where}.prompt", self.prompt, f"a wording with {', '.join(_PLACES)}")
        known = bool(self.verdicts) and {*self.verdicts.values()} <= {"correct", "incorrect"}
        rule = "allowed replies, each with correct or incorrect"
        require(known, f"{where}.verdicts", self.verdicts, rule)
        at_least(1, self, where, "max_tokens", "concurrency", "attempts")
        few = self.concurrency <= _MOST_AT_ONCE
        require(few, f"{where}.concurrency", self.concurrency, f"at most {_MOST_AT_ONCE:,}")
        require(self.timeout > 0, f"{where}.timeout", self.timeout, "above 0")
        first = self.after or {}
        named = isinstance(first, Mapping) and all(
            TARGET in entry if isinstance(entry, Mapping) else hasattr(entry, "grade")
            for entry in first.values()
        )
        rule = "graders by name with their settings, such as ${dataset.grading}, or null"
        require(named, f"{where}.after", self.after, rule)

    @property
    def identity(self) -> dict[str, object]:
        """What the judgements depend on; where the judge is served doesn't change them."""
        own = {
            "kind": self.kind, "model": self.model, "verdicts": dict(self.verdicts),
            "prompt": hashlib.sha256(self.prompt.encode()).hexdigest()[:16],
            "max_tokens": self.max_tokens, "reading": READING,
        }  # fmt: skip
        first = [[name, grader.identity] for name, grader in (self.after or {}).items()]
        return own | ({"after": first} if first else {})

    def grade(
        self, answers: Sequence[Answer], artifact: "Artifact", console: Console
    ) -> list[Verdict]:
        """Return the verdicts; judgements come from ``artifact`` or are added to it.

        Raises:
            DataError: requests kept failing, or no reply can be read; what was judged is stored.
            ModelError: the endpoint refuses every request: a wrong key, model or address.
        """
        if self.after:
            graders = [*self.after.values(), replace(self, after=None)]
            return grade_in_turn(graders, answers, artifact, console)
        cases = [self._case(answer) for answer in answers]
        wanted = {case.key: case for case in cases if isinstance(case, _Case)}
        judged = artifact.fill(
            pl.DataFrame({"key": [*wanted]}, {"key": pl.String()}),
            lambda missing: self._ask_all(
                {key: wanted[key] for key in missing["key"]}, console, artifact
            ),
            JUDGEMENTS,
            "Judging answers",
        )
        replies = dict(judged.select("key", "reply").iter_rows())
        if wanted:
            self._refuse_unread([*replies.values()], artifact.folder)
        return [
            case
            if isinstance(case, Verdict)
            else Verdict(case.answer, *parse_reply(replies[case.key], self.verdicts))
            for case in cases
        ]

    def _refuse_unread(self, replies: Sequence[str], folder: Path) -> None:
        """Refuse a judge of whose replies none is a verdict; a single one may be chance.

        Raises:
            DataError: none is; the message says what they look like and what to set.
        """
        read = (parse_reply(reply, self.verdicts)[0] != "unparsed" for reply in replies)
        if len(replies) < 2 or any(read):
            return
        seen = Counter(reply[:80] for reply in replies).most_common(3)
        raise DataError(
            f"The judge {self.model} gave {len(replies)} replies, and none of them can be read: a "
            f"reply must be one of {', '.join(self.verdicts)} and nothing else. Frequent ones "
            f"begin: {', '.join(repr(reply) for reply, _ in seen)}. {_remedy(replies)} The replies "
            f"are kept in {folder}; delete it where the same settings are to be asked again."
        )

    def _case(self, answer: Answer) -> _Case | Verdict:
        if not answer.finished:
            return TRUNCATED
        found = final_answer(answer.text, answer.prompt)
        if not found:
            return Verdict(None, "unparsed", "no answer")
        return _Case(answer.prompt, answer.references, found[:_SHOWN_CHARACTERS])

    def _ask_all(
        self, cases: Mapping[str, _Case], console: Console, artifact: "Artifact"
    ) -> "Iterator[Row | None]":
        """Yield the judgements, None for requests that fail; then say what failed.

        Raises:
            DataError: some failed, or none of the first replies can be read.
        """
        from benchmark.engines.server.requests import (  # slow to import
            Endpoint,
            RequestError,
            run_all,
        )
        from benchmark.engines.server.terms import Terms

        endpoint = Endpoint(
            self.base_url,
            os.environ.get(self.api_key_env, "").strip() or "none",
            self.attempts,
            self.timeout,
            settings="grading.llm_judge",
            say=console.print,
            terms=Terms(optional=frozenset({"temperature"})),  # models that reason refuse 0
            keep=partial(_refuse_other, artifact),
        )
        failures: list[str] = []

        async def ask(client: "AsyncOpenAI", job: tuple[str, _Case]) -> "list[Row | str]":
            key, case = job
            try:
                reply = await endpoint.ask(client, self._body(case))
            except RequestError as error:
                return [str(error)]
            choice = reply.choices[0]
            if choice.finish_reason != "stop":  # only what ended by itself is a judgement
                cut = f"its reply was cut at {self.max_tokens} tokens: raise"
                return [f"{choice.error or f'{cut} grading.llm_judge.max_tokens'}."]
            spent = reply.prompt_tokens, reply.completion_tokens
            row = (key, case.answer, choice.text, *spent, reply.model)
            return [dict(zip(JUDGED, row, strict=True))]

        in_a_row, first = 0, list[str]()
        with closing(run_all(endpoint, iter(cases.items()), ask, self.concurrency)) as replies:
            for reply in replies:
                if isinstance(reply, str):
                    failures.append(reply)
                    in_a_row += 1
                    if in_a_row > max(_FAILURES_IN_A_ROW, self.concurrency):
                        break
                    yield None
                else:
                    in_a_row = 0
                    yield reply
                    first.append(reply["reply"])
                    if len(first) == _FIRST_REPLIES:
                        self._refuse_unread(first, artifact.folder)
        if failures:
            raise DataError(
                f"The judge {self.model} failed on {len(failures)} of {len(cases)} answers: "
                f"{failures[0]} The other judgements are kept; run again to ask for the rest."
            )

    def _body(self, case: _Case) -> dict[str, Any]:
        references = "; ".join(case.references[:_SHOWN_REFERENCES])
        content = filled(self.prompt, {**case._asdict(), "references": references})
        return {
            "model": self.model, "temperature": 0, "max_completion_tokens": self.max_tokens,
            "messages": [{"role": "user", "content": content}],
        }  # fmt: skip


def _remedy(replies: Sequence[str]) -> str:
    """Return which setting may mend replies of which none can be read."""
    if not any(map(str.strip, replies)):
        why = "They are empty, as those of a model that reasons may be: raise {0}.max_tokens"
    elif all(reply.lstrip().startswith("<") for reply in replies):
        why = "They begin with thoughts: let the judge's server part them (--reasoning-parser)"
    else:
        why = "Let {0}.prompt ask for these words, set {0}.verdicts to those that the judge uses"
    return f"{why}, or set another {{0}}.model.".format("grading.llm_judge")


def _refuse_other(artifact: "Artifact", name: str) -> None:
    """Refuse a judge that the server calls otherwise than those whose judgements are stored."""
    known = sorted(set(artifact.read_table(JUDGED)["judge"].drop_nulls()))
    if known and name not in known:
        raise ModelError(
            f"The judge's server calls its model {name!r}, but the stored judgements are of "
            f"{known[0]!r}: verdicts of two models would be mixed. Set grading.llm_judge.model to "
            f"the one that is meant; or delete {artifact.folder} to have all answers judged anew."
        )


def parse_reply(reply: str, verdicts: Mapping[str, str]) -> tuple[Outcome, str]:
    """Return outcome and reason of a judge's reply, which must be one allowed word.

    Case, white space, Markdown's asterisks, quotes and one final full stop don't count, nor do
    thoughts that the reply begins with. A reply with several verdicts, or one that quotes a verdict
    in other words, is none: what is judged may try to write the verdict itself.

    Examples:
        >>> parse_reply("**Correct.**", {"CORRECT": "correct", "INCORRECT": "incorrect"})
        ('correct', 'judge: CORRECT')
        >>> parse_reply("It is not correct", {"CORRECT": "correct"})[0]
        'unparsed'
    """
    word = _THOUGHTS.sub("", reply, count=1).strip(_AROUND).removesuffix(".").strip(_AROUND)
    folded = " ".join(word.upper().replace("_", " ").split())
    for allowed, outcome in verdicts.items():
        exact = word.isascii() == allowed.isascii()  # of letters that only look alike
        if exact and folded == " ".join(allowed.upper().replace("_", " ").split()):
            return outcome, f"judge: {allowed}"  # type: ignore[return-value]
    return "unparsed", NOT_UNDERSTOOD
