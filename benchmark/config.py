"""The schema of the configuration: a mistyped key or a value of the wrong type fails here first.

``conf/config.yaml`` composes the groups in data-flow order. ``checked`` turns what Hydra composed
into these dataclasses and holds the rules that no type says.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmark.errors import ConfigError

Role = Literal["evaluation", "train", "validation"]
ROLES: tuple[Role, ...] = get_args(Role)
_NAME = re.compile(r"\w[\w.-]*")  # becomes a folder of the store
_COLDEST = 1e-4  # below it, dividing logits leaves the range of float32


@dataclass
class SourceConfig:
    """Where the rows of one split come from; see ``questions.hub``.

    Attributes:
        hub_id: of the dataset on the Hugging Face Hub, or its folder in ``paths.hub_root``.
        configs: the dataset's configurations, one after another; empty takes its default.
        split: as the hub names it.
        revision: pinned commit of the hub id.
        reader: which one of ``questions.READERS`` reads a row.
        without: splits of this dataset whose questions are left out.
        held_out: this many questions, chosen by their content, form a split of their own.
        part: which side of that cut this is: rest or held_out.
        unanswered: what a row without a reference answer gets: refuse or drop.
    """

    hub_id: str = MISSING
    configs: list[str] = field(default_factory=list)
    split: str = MISSING
    revision: str | None = None
    reader: str = MISSING
    without: list[str] = field(default_factory=list)
    held_out: int = 0
    part: str = "rest"
    unanswered: str = "refuse"


@dataclass
class DatasetConfig:
    """Where questions come from and how they are worded; see ``questions``.

    Attributes:
        name: names the dataset's folder in the store.
        loader: which loader of ``questions`` reads it.
        licence: of the rows.
        sources: where the rows of each split come from, for the loader ``hub``.
        hub_root: folder that mirrors the Hub's datasets; None takes the Hub.
        splits: split of each role: evaluation, train, validation.
        limit: number of evaluation questions; None for all.
        train_limit: number of questions that probes are trained on.
        validation_limit: number of questions that probes are chosen on.
        seed: of the order whose first ``limit`` questions are taken.
        instruction: the answer format that every prompt asks for.
        prompts: wording of the questions: per family, or ``question`` and ``choice``.
    """

    name: str = MISSING
    loader: str = MISSING
    licence: str = MISSING
    sources: dict[str, SourceConfig] = field(default_factory=dict)
    hub_root: str | None = None
    splits: dict[str, str] = MISSING
    limit: int | None = None
    train_limit: int | None = None
    validation_limit: int | None = None
    seed: int = 0
    instruction: str = ""
    prompts: dict[str, str] = field(default_factory=dict)


@dataclass
class GGUFConfig:
    """A GGUF file that an installed package holds, or puts together where ``file`` is None."""

    package: str = MISSING
    file: str | None = None


@dataclass
class DecodingConfig:
    """How responses are drawn; see ``engines.Decoding``."""

    temperature: float = MISSING
    top_p: float = MISSING
    max_new_tokens: int = MISSING


@dataclass
class FewShotConfig:
    """How a base model, which has no chat template, is asked.

    Attributes:
        template: solved examples, then ``{question}`` in the same form.
        stop: a character that ends an answer, as it does in the examples.
    """

    template: str = MISSING
    stop: str = "\n"


@dataclass
class ModelConfig:
    """Which weights, how prompts are rendered and how responses are drawn.

    Attributes:
        name: names the model's folder in the store.
        hub_id: on the Hugging Face Hub, or a local folder.
        revision: pinned commit of the hub id.
        gguf: taken instead of the hub where the package is installed.
        system_prompt: None leaves it to the chat template.
        chat_template_kwargs: handed to the chat template.
        few_shot: in place of a chat template, for base models.
        reasoning: how reasoning is told from the answer: none, think or harmony.
        decoding: of the sampled responses.
    """

    name: str = MISSING
    hub_id: str = MISSING
    revision: str | None = None
    gguf: GGUFConfig | None = None
    system_prompt: str | None = None
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    few_shot: FewShotConfig | None = None
    reasoning: str = "none"
    decoding: DecodingConfig = field(default_factory=DecodingConfig)


@dataclass
class TransformersConfig:
    """How the model runs in this process; see ``engines.transformers``.

    Attributes:
        device: auto takes an accelerator where there is one.
        device_map: None, or how accelerate spreads the model over devices, for example auto.
        dtype: auto, float32, bfloat16 or float16; auto is bfloat16 where the device computes it.
        max_rows: rows that a decoding batch aims at.
        token_budget: prompt tokens of one prefill pass.
    """

    kind: str = "transformers"
    device: str = "auto"
    device_map: str | None = None
    dtype: str = "auto"
    max_rows: int = 128
    token_budget: int = 2048


@dataclass
class ServerConfig:
    """An OpenAI-compatible endpoint; see ``engines.server``.

    Attributes:
        base_url: up to and including the API's version.
        model: as the server names it.
        api_key_env: environment variable with the key; without it no key is sent.
        concurrency: requests at once.
        samples_per_request: n of a request; a request that fails loses them all.
        top_logprobs: most probable tokens that P(True) sums over; most servers give 20.
        attempts: for one request, with growing waits, before it is recorded as an error.
        timeout: seconds for one request.
        in_process: how hidden states are read, which no endpoint gives.
    """

    kind: str = "server"
    base_url: str | None = None
    model: str = MISSING
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = 64
    samples_per_request: int = 8
    top_logprobs: int = 20
    attempts: int = 6
    timeout: float = 1800.0
    in_process: TransformersConfig = field(default_factory=TransformersConfig)


@dataclass
class VLLMConfig(ServerConfig):
    """A server that the harness starts and stops; see ``engines.launch``.

    Attributes:
        command: program and arguments; ``{location}`` and ``{port}`` are filled in.
        tensor_parallel_size: accelerators that share the model, for the command.
        health_path: below the server's root, answers with status 200 once the server is ready.
        startup_seconds: that it may take.
    """

    kind: str = "vllm"
    command: list[str] = field(default_factory=list)
    tensor_parallel_size: int = 1
    health_path: str = "health"
    startup_seconds: float = 1800.0


EngineConfig = TransformersConfig | ServerConfig | VLLMConfig
ENGINES: dict[str, type[Any]] = {
    "transformers": TransformersConfig,
    "server": ServerConfig,
    "vllm": VLLMConfig,
}


@dataclass
class SamplingConfig:
    """How many responses are drawn.

    Attributes:
        k: responses per evaluation question.
        k_train: responses per training and validation question.
        seed: every (question, sample) derives its own from it.
    """

    k: int = MISSING
    k_train: int = MISSING
    seed: int = 0


@dataclass
class CapabilityConfig:
    """How responses without an answer count in the expected accuracy: incorrect or left_out.

    A response whose request failed is never counted: ``failed`` is refuse, which stops the run, or
    left_out, which goes on with the others.
    """

    unparsed: str = "incorrect"
    truncated: str = "incorrect"
    failed: str = "refuse"


@dataclass
class PassAtKConfig:
    """The k of pass@k; those above the fewest responses that count for a question are left out."""

    k_values: list[int] = MISSING


@dataclass
class StatisticsConfig:
    """The bootstrap over questions."""

    resamples: int = 1000
    seed: int = 0


@dataclass
class TrackerConfig:
    """Where results are logged beside the run's folder; see ``tracking``."""

    kind: str = "none"
    project: str = "capcal"
    entity: str | None = None
    mode: str = "offline"


@dataclass
class PathsConfig:
    """Where results and converted models are kept, and where a mirror of the Hub lies, if any."""

    outputs: str = MISSING
    hub_root: str | None = None
    cache: str = MISSING


@dataclass
class Config:
    """One run: a model on a dataset, with the estimators and applications to evaluate."""

    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    engine: dict[str, Any] = field(default_factory=dict)
    grading: dict[str, Any] = field(default_factory=dict)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    capability: CapabilityConfig = field(default_factory=CapabilityConfig)
    estimator: dict[str, Any] = field(default_factory=dict)
    application: dict[str, Any] = field(default_factory=dict)
    statistics: StatisticsConfig = field(default_factory=StatisticsConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


def register_schema() -> None:
    """Make the schema known to Hydra as ``schema``, the first entry of ``conf/config.yaml``."""
    ConfigStore.instance().store(name="schema", node=Config)


def checked(composed: DictConfig) -> Config:
    """Return the composed configuration as dataclasses.

    Raises:
        ConfigError: a value is missing or breaks one of the rules below.
    """
    try:
        config = OmegaConf.to_object(composed)
    except OmegaConfBaseException as error:
        raise ConfigError(str(error)) from error
    assert isinstance(config, Config)
    decoding = config.model.decoding
    _require(config.sampling.k >= 1, "sampling.k", config.sampling.k, "at least 1")
    _require(
        config.sampling.k_train >= 1, "sampling.k_train", config.sampling.k_train, "at least 1"
    )
    _require(
        decoding.temperature == 0 or decoding.temperature >= _COLDEST,
        "model.decoding.temperature", decoding.temperature, f"0 or at least {_COLDEST}",
    )  # fmt: skip
    for group, name in (("model", config.model.name), ("dataset", config.dataset.name)):
        rule = "letters, digits, '_', '-' and '.', not '.' first: it names a folder"
        _require(_NAME.fullmatch(name) is not None, f"{group}.name", name, rule)
    splits = config.dataset.splits
    _require(set(splits) == set(ROLES), "dataset.splits", splits, f"a split for each of {ROLES}")
    _require(0 < decoding.top_p <= 1, "model.decoding.top_p", decoding.top_p, "in (0, 1]")
    _require(
        decoding.max_new_tokens >= 1,
        "model.decoding.max_new_tokens", decoding.max_new_tokens, "at least 1",
    )  # fmt: skip
    forms = ("none", "think", "harmony")
    reasoning = config.model.reasoning
    _require(reasoning in forms, "model.reasoning", reasoning, f"one of {forms}")
    for name in ("limit", "train_limit", "validation_limit"):
        value = getattr(config.dataset, name)
        _require(value is None or value >= 1, f"dataset.{name}", value, "at least 1, or null")
    if config.model.few_shot is not None:
        few_shot, where = config.model.few_shot, "model.few_shot"
        held = "{question}" in few_shot.template
        _require(held, f"{where}.template", few_shot.template[-80:], "with {question} in it")
        _require(len(few_shot.stop) == 1, f"{where}.stop", repr(few_shot.stop), "one character")
    engine_config(config.engine)
    _require(
        config.statistics.resamples >= 1,
        "statistics.resamples", config.statistics.resamples, "at least 1",
    )  # fmt: skip
    _require(config.statistics.seed >= 0, "statistics.seed", config.statistics.seed, "at least 0")
    kinds, modes = ("none", "wandb"), ("offline", "online")
    _require(config.tracker.kind in kinds, "tracker.kind", config.tracker.kind, f"one of {kinds}")
    _require(config.tracker.mode in modes, "tracker.mode", config.tracker.mode, f"one of {modes}")
    for name in ("unparsed", "truncated"):
        value, hows = getattr(config.capability, name), ("incorrect", "left_out")
        _require(value in hows, f"capability.{name}", value, f"one of {hows}")
    failed, hows = config.capability.failed, ("refuse", "left_out")
    _require(failed in hows, "capability.failed", failed, f"one of {hows}")
    for name, source in config.dataset.sources.items():
        where, parts, hows = f"dataset.sources.{name}", ("rest", "held_out"), ("refuse", "drop")
        _require(source.part in parts, f"{where}.part", source.part, f"one of {parts}")
        _require(
            source.unanswered in hows, f"{where}.unanswered", source.unanswered, f"one of {hows}"
        )
        _require(source.held_out >= 0, f"{where}.held_out", source.held_out, "at least 0")
    _require(bool(config.estimator), "estimator", [], "a list of at least one estimator")
    return config


def engine_config(entry: Mapping[str, Any]) -> EngineConfig:
    """Return the engine's settings as the dataclass of their kind.

    Raises:
        ConfigError: an unknown kind or key, or a value out of range.
    """
    kind = entry.get("kind")
    _require(kind in ENGINES, "engine.kind", kind, f"one of {(*ENGINES,)}")
    config: EngineConfig = typed(dict(entry), ENGINES[str(kind)], "engine")
    in_process = config if isinstance(config, TransformersConfig) else config.in_process
    for name in ("max_rows", "token_budget"):
        value = getattr(in_process, name)
        _require(value >= 1, f"engine.{name}", value, "at least 1")
    dtypes = ("auto", "float32", "bfloat16", "float16")
    _require(in_process.dtype in dtypes, "engine.dtype", in_process.dtype, f"one of {dtypes}")
    if isinstance(config, ServerConfig):
        for name in ("concurrency", "samples_per_request", "top_logprobs", "attempts"):
            value = getattr(config, name)
            _require(value >= 1, f"engine.{name}", value, "at least 1")
        _require(config.timeout > 0, "engine.timeout", config.timeout, "above 0")
        if isinstance(config, VLLMConfig):
            _require(bool(config.command), "engine.command", "[]", "a program with its arguments")
        else:
            url = config.base_url or ""
            rule = "given, as http://host:port/v1 or https://.."
            _require(re.match(r"https?://[^/]", url) is not None, "engine.base_url", url, rule)
            if "@" in url.split("://")[1].split("/")[0]:
                raise ConfigError(
                    "engine.base_url holds a login, which would reach files and logs; put the key "
                    "into an environment variable and name it with engine.api_key_env."
                )
    return config


def typed(node: object, schema: type, where: str) -> Any:
    """Return a group's entry as its dataclass, for groups whose entries differ in kind.

    Raises:
        ConfigError: a key is unknown, missing, or of the wrong type.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), node)
        return OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{where}: {str(error).splitlines()[0]}") from error


def _require(holds: bool, key: str, value: object, rule: str) -> None:
    if not holds:
        raise ConfigError(f"{key}={value} is not allowed: it must be {rule}.")
