"""The schema of the configuration: a mistyped key or a value of the wrong type fails here first.

``conf/config.yaml`` composes the groups in data-flow order. The rules that no type says are in
``rules``.
"""

from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, get_args

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmark.config.misread import refuse_numbers
from benchmark.config.trainer import TrainerConfig
from benchmark.errors import ConfigError

Role = Literal["evaluation", "train", "validation"]
ROLES: tuple[Role, ...] = get_args(Role)


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
        unanswered: what a row with a null, or without a reference answer, gets: refuse or drop.
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
class ColumnsConfig:
    """What the columns of a file of counts are called; see ``counts``.

    Attributes:
        question_id: names the question.
        n: how many responses were judged.
        c: how many of them were correct.
        question: its text, to be shown where the file has it.
        confidences: one column per confidence source; None takes every other column of numbers.
    """

    question_id: str = "question_id"
    n: str = "n"
    c: str = "c"
    question: str = "question"
    confidences: list[str] | None = None


@dataclass
class DatasetConfig:
    """Where questions come from and how they are worded; see ``questions``.

    Attributes:
        name: names the dataset's folder in the store.
        loader: which loader of ``questions`` reads it.
        licence: of the rows.
        sources: where the rows of each split come from, for the loader ``hub``.
        hub_root: folder that mirrors the Hub's datasets; None takes the Hub.
        path: of a file of counts, for the loader ``counts``.
        columns: of that file.
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
    path: str | None = None
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    splits: dict[str, str] = MISSING
    limit: int | None = None
    train_limit: int | None = None
    validation_limit: int | None = None
    seed: int = 0
    instruction: str = ""
    prompts: dict[str, str] = field(default_factory=dict)

    @property
    def counted(self) -> bool:
        """Whether responses were sampled and judged elsewhere, so that no model is run."""
        return self.loader == "counts"


@dataclass
class TrainingConfig:
    """Another dataset that probes are trained and chosen on, and what grades it."""

    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    grading: dict[str, Any] = field(default_factory=dict)


@dataclass
class GGUFConfig:
    """A GGUF file that an installed package holds, or puts together where ``file`` is None."""

    package: str = MISSING
    file: str | None = None


@dataclass
class DecodingConfig:
    """How responses are drawn; see ``engines.Decoding``. None is neutral."""

    temperature: float = MISSING
    top_p: float = MISSING
    max_new_tokens: int = MISSING
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None


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
        template_date: the day, YYYY-MM-DD, that a template which writes today's date gets.
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
    template_date: str = "2026-02-01"
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
        extra_body: fields that are added to every request: a vendor's own options.
        headers: added to every request: the environment variable that holds each one's value.
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
    extra_body: dict[str, Any] | None = None
    headers: dict[str, str] | None = None
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
class StoppingConfig:
    """When a question has enough responses; see ``stopping``.

    Attributes:
        k_max: the most responses to one question.
        width: a question stops once the 95 % interval of its expected accuracy is this narrow.
        round: counted responses between two looks at a question's interval.
    """

    k_max: int = MISSING
    width: float = MISSING
    round: int = MISSING


@dataclass
class SamplingConfig:
    """How many responses are drawn.

    Attributes:
        k: responses per evaluation question; with ``stopping`` the fewest.
        k_train: responses per training and validation question.
        seed: every (question, sample) derives its own from it.
        stopping: of adaptive sampling of evaluation questions; None draws ``k`` for each.
    """

    k: int = MISSING
    k_train: int = MISSING
    seed: int = 0
    stopping: StoppingConfig | None = None


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


WANDB_SETTINGS: dict[str, Any] = {  # of every W&B run: nothing of the machine or the code
    "silent": True,
    "console": "off",
    "save_code": False,
    "disable_git": True,
    "x_save_requirements": False,
    "x_disable_machine_info": True,
    "x_disable_stats": True,
}


@dataclass
class PathsConfig:
    """Where results and converted models are kept, and where a mirror of the Hub lies, if any."""

    outputs: str = MISSING
    hub_root: str | None = None
    cache: str = MISSING


@dataclass
class Config:
    """One run: a model on a dataset, with the estimators and applications to evaluate.

    ``grid`` names what the run is a part of: the folder of its multirun, its group in W&B.
    """

    grid: str = "multirun"
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    engine: dict[str, Any] = field(default_factory=dict)
    grading: dict[str, Any] = field(default_factory=dict)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    capability: CapabilityConfig = field(default_factory=CapabilityConfig)
    estimator: dict[str, Any] = field(default_factory=dict)
    application: dict[str, Any] = field(default_factory=dict)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    statistics: StatisticsConfig = field(default_factory=StatisticsConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


@cache
def register_schema() -> None:
    """Make the schema known to Hydra as ``schema``, the first entry of ``conf/config.yaml``."""
    ConfigStore.instance().store(name="schema", node=Config)


def typed(node: Any, schema: type, where: str) -> Any:
    """Return a group's entry as its dataclass, for groups whose entries differ in kind.

    Raises:
        ConfigError: a key is unknown, missing, or of the wrong type.
    """
    try:
        merged = OmegaConf.merge(_structured(schema), node)
        raw: Any = OmegaConf.create(node)
        refuse_numbers(merged, OmegaConf.to_container(raw), where)
        return OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        why, key = str(error).splitlines()[0], error.full_key
        raise ConfigError(
            f"{where}: {f'{key}: ' if key and key not in why else ''}{why}"
        ) from error


@cache
def _structured(schema: type) -> Any:
    """Return a dataclass as OmegaConf reads it, for two milliseconds."""
    return OmegaConf.structured(schema)
