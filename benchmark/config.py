"""The schema of the configuration: a mistyped key or a value of the wrong type fails here first.

``conf/config.yaml`` composes the groups in data-flow order; ``checked`` turns what Hydra composed
into these dataclasses and holds the rules that no type says.
"""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class GGUFConfig:
    """A GGUF file that an installed package holds."""

    package: str = MISSING
    file: str = MISSING


@dataclass
class DecodingConfig:
    """See ``engines.Decoding``."""

    temperature: float = MISSING
    top_p: float = 1.0
    max_new_tokens: int = MISSING


@dataclass
class ModelConfig:
    """Which weights, how prompts are rendered and how responses are drawn."""

    name: str = MISSING
    hub_id: str = MISSING
    revision: str = MISSING
    gguf: GGUFConfig | None = None
    system_prompt: str | None = None
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)


@dataclass
class TransformersEngineConfig:
    """Runs the model in this process."""

    kind: str = "transformers"
    device: str = "auto"
    dtype: str = "auto"
    max_rows: int = 128
    token_budget: int = 2048
