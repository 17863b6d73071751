"""How a prompt is put to a model and its answer read, the same for every engine."""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

from benchmark.config.schema import FewShotConfig, ModelConfig
from benchmark.engines.reasoning import Split, split_reasoning
from benchmark.engines.templates import TemplateFault, render_all
from benchmark.errors import ModelError

_PROBES = ("What is one and one?", "Name any river.")  # questions of different words

# Templates get data but no functions, so that the clock is replaced by a macro that puts a day
# together, whatever the format: the text of each directive is data.
_STOPPED_CLOCK = """\
{%- macro strftime_now(format) -%}
{%- set parts = format.replace('%%', '%!').split('%') -%}
{{- parts[0] -}}
{%- for part in parts[1:] -%}
{%- set name = part[:2 if part[:1] in ('-', '_', '0', '^', '#') else 1] -%}
{{- template_date_as[name] if name in template_date_as
    else raise_exception('the date format ' ~ format) -}}
{{- part[name|length:] -}}
{%- endfor -%}
{%- endmacro %}
"""
_DIRECTIVES = [
    flag + name for flag in ("", *"-_0^#") for name in "aAbBcCdDeFgGhHIjklmMnprRSTuUVwWxXyYzZ"
]


def chat_messages(model: ModelConfig, prompt: str) -> list[dict[str, str]]:
    """Return the messages that the chat template, here or at a server, renders."""
    system = model.system_prompt
    first = [{"role": "system", "content": system}] if system is not None else []
    return [*first, {"role": "user", "content": prompt}]


def rendered(model: ModelConfig, tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """Return each prompt's token ids: the chat template, or solved examples, around the user turn.

    A template that writes today's date gets ``model.template_date``: the same question is the same
    prompt on every day.

    Args:
        model: how its prompts are rendered.
        tokenizer: of the model, of transformers.
        prompts: the user turns.

    Raises:
        TemplateFault: the chat template renders one of them not at all, or takes too much for it.
    """
    if (few_shot := model.few_shot) is not None:
        return [tokenizer(few_shot_text(few_shot, prompt))["input_ids"] for prompt in prompts]
    chats = [chat_messages(model, prompt) for prompt in prompts]
    ids: list[list[int]] = []
    for found in _from_template(model, tokenizer, chats):
        if isinstance(found, TemplateFault):
            raise found
        ids.append(found)
    return ids


def _from_template(
    model: ModelConfig, tokenizer: Any, chats: Sequence[list[dict[str, str]]]
) -> Iterator[list[int] | TemplateFault]:
    """Yield the token ids of each chat, or why the template renders none."""
    arguments = dict(model.chat_template_kwargs)
    template = tokenizer.get_chat_template(arguments.pop("chat_template", None))
    if "strftime_now" in template:
        day = date.fromisoformat(model.template_date)
        texts = {name: day.strftime(f"%{name}") for name in _DIRECTIVES}
        arguments["template_date_as"] = {"!": "%", **texts}
        template = _STOPPED_CLOCK + template

    def render(messages: list[dict[str, str]]) -> str:
        text: str = tokenizer.apply_chat_template(
            messages, chat_template=template, add_generation_prompt=True, tokenize=False,
            **arguments,
        )  # fmt: skip
        return text

    for text in render_all(render, chats):
        if isinstance(text, TemplateFault):
            yield text
        else:
            yield tokenizer(text, add_special_tokens=False)["input_ids"]


def rendering(model: ModelConfig, tokenizer: Any) -> str:
    """Return a checksum of the token ids that are rendered around a fixed message."""
    (ids,) = rendered(model, tokenizer, ["What is 1 + 1?"])
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


def check_template(model: ModelConfig, location: str, tokenizer: Any) -> None:
    """Refuse a chat template that can't render the prompts, or that leaves a part of them out.

    Args:
        model: its system prompt and what is handed to the template.
        location: of the tokenizer.
        tokenizer: of transformers, with a chat template.

    Raises:
        ModelError: with the cause and what to do.
    """
    where = f"model={model.name}: the chat template of {location}"
    first, second = (chat_messages(model, probe) for probe in _PROBES)
    # The first also without a system prompt.
    found, other, alone = _from_template(model, tokenizer, [first, second, first[-1:]])
    if isinstance(found, TemplateFault):
        told = f"{where} can't render a {' and a '.join(m['role'] for m in first)} message"
        way_out = (
            "Set what it asks for with model.chat_template_kwargs, give another template as "
            "+model.chat_template_kwargs.chat_template, or ask with model.few_shot."
        )
        if len(first) > 1 and not isinstance(alone, TemplateFault):
            way_out = _WITHOUT_SYSTEM
        raise ModelError(f"{told}: {found}. {way_out}")
    if found == other:
        raise ModelError(
            f"{where} renders every question alike: it leaves the user's message out. It may be "
            f"damaged, or ask for messages in another form; give another template as "
            f"+model.chat_template_kwargs.chat_template."
        )
    if len(first) > 1 and found == alone:
        raise ModelError(f"{where} leaves model.system_prompt out. {_WITHOUT_SYSTEM}")


_WITHOUT_SYSTEM = (
    "Set model.system_prompt=null, and put its words into the question with dataset.instruction."
)
