"""How a prompt is put to a model and its answer read, the same for every engine."""

from collections.abc import Callable, Sequence
from typing import Any

import jinja2

from benchmark.config import FewShotConfig, ModelConfig
from benchmark.engines.reasoning import Split, split_reasoning
from benchmark.errors import ModelError
from benchmark.files import with_cause

_OF_TEMPLATES = (
    jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip
_PROBES = ("What is one and one?", "Name any river.")  # questions of different words


def chat_messages(model: ModelConfig, prompt: str) -> list[dict[str, str]]:
    """Return the messages that the chat template, here or at a server, renders."""
    system = model.system_prompt
    first = [{"role": "system", "content": system}] if system is not None else []
    return [*first, {"role": "user", "content": prompt}]


def few_shot_text(few_shot: FewShotConfig, prompt: str) -> str:
    """Return the text that a base model continues."""
    return few_shot.template.replace("{question}", prompt)


def read_answer(model: ModelConfig, text: str, *, opened: bool) -> Split:
    """Return reasoning and answer of a generated text; ``opened`` as in ``split_reasoning``."""
    split = split_reasoning(text, model.reasoning, opened=opened)
    if model.few_shot is None:
        return split
    return split._replace(text=split.text.split(model.few_shot.stop)[0].strip())


Messages = list[dict[str, str]]


def check_template(model: ModelConfig, location: str, render: Callable[[Messages], Any]) -> None:
    """Refuse a chat template that can't render the prompts, or that leaves a part of them out.

    Args:
        model: its system prompt and what is handed to the template.
        location: of the tokenizer.
        render: returns the tokens of messages.

    Raises:
        ModelError: with the cause and what to do.
    """
    where = f"model={model.name}: the chat template of {location}"
    first, second = (chat_messages(model, probe) for probe in _PROBES)
    alone = _rendered(render, first[-1:])  # without a system prompt
    rendered, other = _rendered(render, first), _rendered(render, second)
    if isinstance(rendered, Exception):
        told = f"{where} can't render a {' and a '.join(m['role'] for m in first)} message"
        way_out = (
            "Set what it asks for with model.chat_template_kwargs, give another template as "
            "+model.chat_template_kwargs.chat_template, or ask with model.few_shot."
        )
        if len(first) > 1 and not isinstance(alone, Exception):
            way_out = _WITHOUT_SYSTEM
        raise ModelError(f"{told}: {with_cause(rendered)}. {way_out}") from rendered
    if rendered == other:
        raise ModelError(
            f"{where} renders every question alike: it leaves the user's message out. It may be "
            f"damaged, or ask for messages in another form; give another template as "
            f"+model.chat_template_kwargs.chat_template."
        )
    if len(first) > 1 and rendered == alone:
        raise ModelError(f"{where} leaves model.system_prompt out. {_WITHOUT_SYSTEM}")


_WITHOUT_SYSTEM = (
    "Set model.system_prompt=null, and put its words into the question with dataset.instruction."
)


def _rendered(render: Callable[[Messages], Sequence[int]], messages: Messages) -> Any:
    """Return the tokens, or what the template, which is a program, raised."""
    try:
        return render(messages)
    except _OF_TEMPLATES as error:
        return error
