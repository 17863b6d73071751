"""Which fields of a request an endpoint takes: learnt from its refusals, applied to every request.

Servers agree on the core of OpenAI's protocol only. A request says all that could change what is
sampled, in the words of every kind of server; what one of them refuses is left out for it where
the request means the same without, and is an error where it doesn't.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

_CORE = frozenset({"model", "messages", "prompt", "max_tokens"})
_CAP = "max_completion_tokens"
_NEUTRAL: Mapping[str, tuple[float, ...]] = {
    "temperature": (1,), "top_p": (1,), "top_k": (-1, 0), "min_p": (0,), "repetition_penalty": (1,),
    "presence_penalty": (0,), "frequency_penalty": (0,),
}  # fmt: skip
# Fields that only save time or tokens, and second names, for another kind of server, of what a
# request says already.
_SPARE = frozenset({
    "n", "seed", "logprobs", "top_logprobs", "chat_template_kwargs",
    "repeat_penalty", "repeat_last_n", "samplers", "mirostat", "dynatemp_range",
    "return_token_ids", "return_tokens_as_token_ids", "logprob_token_ids",
})  # fmt: skip
_COUNTS = ("n", "top_logprobs", "logprobs")
_CONSEQUENCES = {
    "n": "one request is sent for each sample",
    "seed": "its runs can't be repeated to the bit",
    "chat_template_kwargs": "its chat template's own settings apply",
    "logprobs": "P(True) can't be read",
    "top_logprobs": "P(True) can't be read",
}


@dataclass(frozen=True)
class Terms:
    """Which fields an endpoint takes.

    Attributes:
        left_out: names of fields that it refuses and that requests can do without.
        most: largest value that it takes of each field that is a count.
        short_cap: whether it reads ``max_tokens`` in place of ``max_completion_tokens``.
        zero_top_k: whether 0, in place of -1, means all tokens in ``top_k``.
        optional: names of fields that the caller can do without, whatever their value.
    """

    left_out: frozenset[str] = frozenset()
    most: Mapping[str, int] = field(default_factory=dict)
    short_cap: bool = False
    zero_top_k: bool = False
    optional: frozenset[str] = frozenset()

    def applied(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a request as the endpoint takes it."""
        sent = {}
        for name, value in body.items():
            if name in self.left_out and self.spared(name, body):
                continue
            if name == "top_logprobs" and "logprobs" in self.left_out:
                continue
            if name == "top_k" and value == -1 and self.zero_top_k:
                sent[name] = 0
            elif name in self.most and isinstance(value, int):
                sent[name] = min(value, self.most[name])
            else:
                sent["max_tokens" if name == _CAP and self.short_cap else name] = value
        return sent

    def spared(self, name: str, body: Mapping[str, Any]) -> bool:
        """Tell whether a request means the same without one of its fields."""
        if name == "reasoning_effort":  # chat_template_kwargs say the same, unless refused
            return "chat_template_kwargs" in body and "chat_template_kwargs" not in self.left_out
        return name in _SPARE | self.optional or body[name] in _NEUTRAL.get(name, ())

    def named(self, body: Mapping[str, Any], words: str) -> str | None:
        """Return the field of a request that a refusal names, first one that can be spared."""
        sent = self.applied(body)
        names = [name for name in body if name in sent and name not in _CORE]
        found = [name for name in names if _spelled(name).search(words)]
        found.sort(key=lambda name: name != _CAP and not self.spared(name, body))
        return found[0] if found else None

    def refusing(self, name: str, body: Mapping[str, Any], words: str) -> "Terms | None":
        """Return what is left after a refusal of a field; None where nothing can stand for it."""
        value = self.applied(body).get(name)
        if name == _CAP:
            return replace(self, short_cap=True)
        if name in _COUNTS and not isinstance(value, bool) and isinstance(value, int) and value > 1:
            numbers = [int(number) for number in re.findall(r"\d{1,6}", words)]
            smaller = max((n for n in numbers if 0 < n < value), default=max(1, value // 2))
            return replace(self, most={**self.most, name: smaller})
        if name == "top_k" and value == -1:
            return replace(self, zero_top_k=True)
        if self.spared(name, body):
            return replace(self, left_out=self.left_out | {name})
        return None

    def bare(self, body: Mapping[str, Any]) -> "Terms":
        """Return terms that leave out of a request all that it can be without."""
        return replace(self, left_out=self.left_out | {n for n in body if self.spared(n, body)})

    def news(self, before: "Terms") -> Iterator[str]:
        """Yield what these terms add to earlier ones, one line for each consequence."""
        more = self.left_out - before.left_out
        for name in sorted(more & _CONSEQUENCES.keys()):
            yield f"refuses {name}: {_CONSEQUENCES[name]}"
        if plain := sorted(more - _CONSEQUENCES.keys()):
            yield f"refuses {', '.join(plain)}: left out, so that its own values apply"
        for name, most in self.most.items():
            if name not in self.left_out and before.most.get(name) != most:
                yield f"takes {name} up to {most}"
        if self.short_cap and not before.short_cap:
            yield f"takes max_tokens in place of {_CAP}"


def _spelled(name: str) -> re.Pattern[str]:
    """Return what finds a field in a refusal: ``top_k``, or ``topK`` as some write it."""
    first, *others = name.split("_")
    camel = first + "".join(part.capitalize() for part in others)
    return re.compile(rf"(?<![\w\\])({name}|{camel})(?!\w)")
