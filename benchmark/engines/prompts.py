"""How a prompt is put to a model and its answer read, the same for every engine."""

import hashlib
from datetime import date
from typing import Any

import jinja2

from benchmark.config.schema import FewShotConfig, ModelConfig
from benchmark.engines.reasoning import Split, split_reasoning
from benchmark.errors import ModelError
from benchmark.store.files import with_cause

TEMPLATE_FAULTS = (  # what rendering, which runs a program, may raise
    jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip
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
    return _from_template(model, tokenizer, chat_messages(model, prompt))


def _from_template(model: ModelConfig, tokenizer: Any, messages: list[dict[str, str]]) -> list[int]:
    arguments = dict(model.chat_template_kwargs)
    template = tokenizer.get_chat_template(arguments.pop("chat_template", None))
    if "strftime_now" in template:
        day = date.fromisoformat(model.template_date)
        texts = {name: day.strftime(f"%{name}") for name in _DIRECTIVES}
        arguments["template_date_as"] = {"!": "%", **texts}
        template = _STOPPED_CLOCK + template
    tokens: list[int] = tokenizer.apply_chat_template(
        messages, chat_template=template, add_generation_prompt=True, return_dict=False, **arguments
    )
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
    found, other, alone = (_tried(model, tokenizer, part) for part in (first, second, first[-1:]))
    if isinstance(found, Exception):
        told = f"{where} can't render a {' and a '.join(m['role'] for m in first)} message"
        way_out = (
            "Set what it asks for with model.chat_template_kwargs, give another template as "
            "+model.chat_template_kwargs.chat_template, or ask with model.few_shot."
        )
        if len(first) > 1 and not isinstance(alone, Exception):
            way_out = _WITHOUT_SYSTEM
        raise ModelError(f"{told}: {with_cause(found)}. {way_out}") from found
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


def _tried(model: ModelConfig, tokenizer: Any, messages: list[dict[str, str]]) -> Any:
    """Return the tokens, or what the template, which is a program, raised."""
    try:
        return _from_template(model, tokenizer, messages)
    except TEMPLATE_FAULTS as error:
        return error
