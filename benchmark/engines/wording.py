"""How a prompt is put to a model and its answer read, the same for every engine."""

from benchmark.config import FewShotConfig, ModelConfig
from benchmark.engines.reasoning import Split, split_reasoning


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
