"""How a prompt is put to a model and its answer read, the same for every engine."""

import hashlib
import re
from datetime import date
from typing import Any

from benchmark.config import FewShotConfig, ModelConfig
from benchmark.engines.reasoning import Split, split_reasoning

_CLOCK = re.compile(r"""strftime_now\(\s*(["'])(.+?)\1\s*\)""")
# Templates get data but no functions, so that the clock is replaced by a macro that looks it up.
_STOPPED_CLOCK = """\
{%- macro strftime_now(format) -%}
{{ days[format] if format in days else raise_exception('the date format ' ~ format) }}
{%- endmacro -%}
"""


def chat_messages(model: ModelConfig, prompt: str) -> list[dict[str, str]]:
    """Return the messages that the chat template, here or at a server, renders."""
    system = model.system_prompt
    first = [{"role": "system", "content": system}] if system is not None else []
    return [*first, {"role": "user", "content": prompt}]


def rendered(model: ModelConfig, tokenizer: Any, prompt: str) -> list[int]:
    """Return a prompt's token ids: the chat template, or solved examples, around the user turn.

    A template that writes today's date gets ``model.template_date``: the same question is the same
    prompt on every day.

    Args:
        model: how its prompts are rendered.
        tokenizer: of the model, of transformers.
        prompt: the user turn.
    """
    if model.few_shot is not None:
        ids: list[int] = tokenizer(few_shot_text(model.few_shot, prompt))["input_ids"]
        return ids
    template, day = tokenizer.get_chat_template(), date.fromisoformat(model.template_date)
    arguments = dict(model.chat_template_kwargs)
    if "strftime_now" in template:
        arguments["days"] = {text: day.strftime(text) for _, text in _CLOCK.findall(template)}
        template = _STOPPED_CLOCK + template
    tokens: list[int] = tokenizer.apply_chat_template(
        chat_messages(model, prompt), chat_template=template, add_generation_prompt=True,
        return_dict=False, **arguments,
    )  # fmt: skip
    return tokens


def rendering(model: ModelConfig, tokenizer: Any) -> str:
    """Return a checksum of the token ids that are rendered around a fixed message."""
    ids = rendered(model, tokenizer, "What is 1 + 1?")
    return hashlib.sha256(repr(ids).encode()).hexdigest()[:16]


def few_shot_text(few_shot: FewShotConfig, prompt: str) -> str:
    """Return the text that a base model continues."""
    return few_shot.template.replace("{question}", prompt)


def read_answer(model: ModelConfig, text: str, *, opened: bool) -> Split:
    """Return reasoning and answer of a generated text; ``opened`` as in ``split_reasoning``."""
    split = split_reasoning(text, model.reasoning, opened=opened)
    if model.few_shot is None:
        return split
    return split._replace(text=split.text.split(model.few_shot.stop)[0].strip())
