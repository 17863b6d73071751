"""The schema of the configuration: a mistyped key or a value of the wrong type fails here first.

``conf/config.yaml`` composes the groups in data-flow order. The rules that no type says are in
``checks``; an entry that names its class is built by ``build``.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from benchmark.config.misread import refuse_numbers
from benchmark.config.trainer import TrainerConfig
from benchmark.errors import ConfigError
from benchmark.records import Question

_UNKNOWN_KEY = (ConfigKeyError, ConfigAttributeError)  # what OmegaConf raises for one
Role = Literal["evaluation", "train", "validation"]
ROLES: tuple[Role, ...] = get_args(Role)
PHASES = ("whole", "sample", "evaluate")  # of ``Config.phase``


@dataclass
class DatasetConfig(ABC):
    """Where questions come from; each kind of dataset is a class with settings of its own.

    Attributes:
        name: name of the dataset, and of its folder in the store.
        licence: licence of the rows.
        grading: graders by name, used unless ``grading=[...]`` chooses others; the first decides.
        splits: name of the split that each role takes: evaluation, train, validation.
        limit: number of evaluation questions; None for all.
            train_limit: number of questions that probes are trained on; None for all.
        validation_limit: number of questions that probes are chosen on; None for all.
        seed: seed of the order whose first ``limit`` questions are taken.
        near_duplicates: largest share, in [0, 1], of a split's questions that may nearly be
            questions of another split.
        instruction: sentence in every prompt that asks for a form of answer.
            prompts: wording of the questions, by the names that the dataset's class gives them.
        counted: whether responses were sampled and judged elsewhere, so that no model is run.
    """

    name: str = MISSING
    licence: str = "not stated"
    grading: dict[str, Any] = field(default_factory=dict, metadata={"entries": "kept"})
    splits: dict[str, str] = MISSING
    limit: int | None = None
    train_limit: int | None = None
    validation_limit: int | None = None
    seed: int = 0
    near_duplicates: float = 0.05
    instruction: str = ""
    prompts: dict[str, str] = field(default_factory=dict)
    counted: ClassVar[bool] = False

    @abstractmethod
    def load(self, split: str) -> list[Question]:
        """Return all questions of a split, in any order.

        Raises:
            ConfigError: there is no such split.
            DataError: a row breaks its contract.
        """

    @property
    def files(self) -> list[Path]:
        """The files that rows are read from; the cell's fingerprint covers their content."""
        return []

    @property
    def revisions(self) -> set[tuple[str, str | None]]:
        """Datasets of the Hub, each with its revision; the fingerprint covers their commits."""
        return set()


def file_name(path: str) -> str:
    """Return a file's name without its ending, as a name of the store: ``${stem:path}``.

    Examples:
        >>> file_name("data/My questions (2).jsonl")
        'My_questions__2_'
    """
    return re.sub(r"[^\w.-]", "_", Path(path).stem).lstrip(".-") or "file"


@dataclass
class TrainingConfig:
    """Another dataset that probes are trained and chosen on, and what grades it.

    Attributes:
        dataset: settings of the dataset, with their class as ``_target_``; see ``DatasetConfig``.
        grading: graders by name; an empty mapping takes the dataset's own.
    """

    dataset: Any = MISSING
    grading: dict[str, Any] = field(default_factory=dict)


@dataclass
class GGUFConfig:
    """A GGUF file that an installed package holds.

    Attributes:
        package: name of the package that holds the file, or makes it where ``file`` is None.
        file: name of the file in the package.
        hub_id: hub id of the weights in the file. Where the model's hub id is another one, the
            model isn't taken from the package. None stands for any id, but for no local folder.
        revision: revision of that hub id.
    """

    package: str = MISSING
    file: str | None = None
    hub_id: str | None = None
    revision: str | None = None

    def stands_for(self, hub_id: str, revision: str | None) -> bool:
        """Return whether it holds the weights of this hub id and revision."""
        if Path(hub_id).expanduser().is_dir():
            return False
        return self.hub_id is None or (self.hub_id, self.revision) == (hub_id, revision)


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
        stop: character that ends an answer, as it does in the examples.
    """

    template: str = MISSING
    stop: str = "\n"


@dataclass
class ModelConfig:
    """Which weights, how prompts are rendered and how responses are drawn.

    Attributes:
        name: name of the model, and of its folder in the store.
        hub_id: id on the Hugging Face Hub, or a local folder.
        revision: commit of the hub id that is taken.
        gguf: file in an installed package, taken in place of the Hub if it stands for ``hub_id``.
        system_prompt: text of the system message; None leaves it to the chat template.
        chat_template_kwargs: arguments for the chat template.
        template_date: day, YYYY-MM-DD, for templates that write today's date.
        few_shot: solved examples in place of a chat template, for base models.
        reasoning: how reasoning is told from the answer: none, think or harmony.
        decoding: how the responses are drawn.
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
class StoppingConfig:
    """When a question has enough responses; see ``stopping``.

    Attributes:
        k_max: largest number of responses to one question.
        width: width, in (0, 1), of the 95 % interval of its expected accuracy at which a question
            has enough responses.
        round: number of counted responses between two looks at a question's interval.
    """

    k_max: int = MISSING
    width: float = MISSING
    round: int = MISSING


@dataclass
class SamplingConfig:
    """How many responses are drawn.

    Attributes:
        k: number of responses to each evaluation question; with ``stopping`` the smallest number.
        k_train: number of responses to each training and validation question.
        seed: seed from which every sample of every question derives its own.
        stopping: rule of adaptive sampling of evaluation questions; None draws ``k`` for each.
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
    """Where results are logged beside the run's folder: kind is none or wandb; see ``tracking``."""

    kind: str = "none"
    project: str = "capcal"
    entity: str | None = None
    mode: str = "offline"


WANDB_SETTINGS: dict[str, Any] = {  # so that W&B gets nothing of the machine or the code
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
    ``phase`` is whole; sample, which only asks the model for what the cell needs; or evaluate,
    which makes the cell from what is stored and asks no model.
    """

    grid: str = "multirun"
    phase: str = "whole"
    dataset: Any = field(default_factory=dict)  # once it is checked, a DatasetConfig
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


OmegaConf.register_new_resolver("stem", lambda path: file_name(str(path)), replace=True)


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
        told = f"{where}.{key}: {why}" if key else f"{where}: {why}"
        known = error.object_type if is_dataclass(error.object_type) else schema
        names = [part.name for part in fields(known)] if isinstance(error, _UNKNOWN_KEY) else []
        raise ConfigError(f"{told}.{near_names(str(error.key), names)}") from error


def near_names(wrong: str, names: Iterable[str]) -> str:
    """Return a sentence with the names that a mistyped one is near to; empty where none is."""
    near = get_close_matches(wrong, [*names])
    return f" Near names: {', '.join(near)}." if near else ""


@cache  # since it takes two milliseconds
def _structured(schema: type) -> Any:
    return OmegaConf.structured(schema)
