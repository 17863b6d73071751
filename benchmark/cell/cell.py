"""One model on one dataset: what its stages returned for each split, each made when asked for.

Estimators take what they need from a ``Cell``; nothing is sampled twice, and nothing that no
estimator asks for is sampled at all. The stages are functions that a cell is given: those of
``stages`` ask a model, those of ``counted`` have read a file, those of a plan ask nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, NoReturn, TypeVar, cast

import polars as pl
from rich.console import Console

from benchmark.cell.asked import HIDDEN, Asked
from benchmark.cell.watching import Drawn, Grade, Watch, unwatched
from benchmark.config.schema import Config, DatasetConfig, Role, TrainingConfig
from benchmark.engines import Decoding, Engine, SampleRequest
from benchmark.engines.settings import layer_step
from benchmark.errors import DataError
from benchmark.probes.features import FeatureSet
from benchmark.sampling.responses import RESPONSES, Many, sample_responses
from benchmark.sampling.seeds import sample_seed
from benchmark.store.artifact import Artifact, Store, fingerprint
from benchmark.store.hidden_states import HIDDEN_STATES
from benchmark.store.rows import Row

TRAINING: tuple[Role, ...] = ("train", "validation")
RESPONSES_OF = "responses/"  # stands before dataset and split among a cell's parents
T = TypeVar("T")


class Split(NamedTuple):
    """The records of one split, all sorted by question id.

    ``grades`` are those that count, by the first grader; ``left_out`` are its other ones.
    ``parents`` are the fingerprints of the stages that they come from. ``failed`` counts requests
    that failed and were left out, and responses that could not be graded.
    """

    questions: pl.DataFrame
    responses: pl.DataFrame
    grades: pl.DataFrame
    left_out: pl.DataFrame
    disagreements: pl.DataFrame
    capability: pl.DataFrame
    parents: dict[str, str]
    failed: int = 0


@dataclass(frozen=True)
class KnownModel:
    """A model that is only known: whoever asks it anything is refused.

    Attributes:
        identity: see ``Engine``.
        precisions: see ``Engine``.
        refusal: message for whoever asks.
    """

    identity: Mapping[str, Any]
    precisions: Mapping[str, str]
    refusal: str = "There is no model to be asked in this cell; `requests` asks nothing."

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse whatever else an engine has.

        Raises:
            DataError: always.
        """
        raise DataError(self.refusal)


@dataclass(frozen=True)
class Stages:
    """The functions that make what a cell holds.

    Attributes:
        questions: function that returns the questions of some splits of a dataset.
        split: function that returns the records of a split.
        features: function that returns the hidden states of a split's prompts with its counts.
    """

    questions: Callable[[DatasetConfig, Sequence[Role]], Mapping[Role, pl.DataFrame]]
    split: Callable[["Cell", Role], Split]
    features: Callable[["Cell", Role], FeatureSet]


class Cell:
    """Remembers what the stages returned, and asks the model in the name of estimators.

    Args:
        config: configuration of the run.
        questions: table of each split that is needed, of schema ``QUESTION``, sorted by id.
        model: engine that runs the model, or what is known of a model that is not asked.
        store: place of all artifacts.
        console: console that shows progress.
        stages: functions that make what is asked for.
        watch: function that looks at long work while it goes on.
    """

    def __init__(
        self,
        config: Config,
        questions: Mapping[Role, pl.DataFrame],
        model: Engine | KnownModel,
        store: Store,
        console: Console,
        stages: Stages,
        watch: Watch = unwatched,
    ) -> None:
        self.watch = watch
        self.config = config
        self.questions = questions
        self.console = console
        self._model = model
        self._store = store
        self._stages = stages
        self._splits: dict[Role, Split] = {}
        self._others: dict[str, Cell] = {}
        self._kept: dict[str, Any] = {}

    @property
    def engine(self) -> Engine:
        """What runs the model; one that is only known refuses to be asked."""
        return cast(Engine, self._model)

    def other(self, training: TrainingConfig) -> "Cell":
        """Return the same model's cell of another dataset, with what trains a probe."""
        key = fingerprint(asdict(training))
        if key not in self._others:
            questions = self._stages.questions(training.dataset, TRAINING)
            config = replace(self.config, dataset=training.dataset, grading=training.grading)
            self._others[key] = Cell(
                config, questions, self._model, self._store, self.console, self._stages, self.watch
            )
        return self._others[key]

    def once(self, inputs: Mapping[str, Any], make: Callable[[], T]) -> T:
        """Return what ``make`` gives, made once for equal inputs: estimators may share it."""
        key = fingerprint(inputs)
        if key not in self._kept:
            self._kept[key] = make()
        kept: T = self._kept[key]
        return kept

    def split(self, role: Role) -> Split:
        """Return questions, responses, grades and capability of a split (stages 1 to 4)."""
        if role not in self._splits:
            self._splits[role] = self._stages.split(self, role)
        return self._splits[role]

    def features(self, role: Role) -> FeatureSet:
        """Return the hidden states of a split's prompts with its counts, for probes.

        Layers are the embedding and every layer's output at the last prompt token.
        """
        return self._stages.features(self, role)

    @property
    def parents(self) -> dict[str, str]:
        """Fingerprints of what the cell is made from, by stage.

        ``responses`` are those to the evaluation questions, ``responses/<dataset>/<split>`` those
        that something was trained on.
        """
        found = dict(self.split("evaluation").parents)
        for cell in (self, *self._others.values()):
            for role, split in cell._splits.items():
                if role != "evaluation" and "responses" in split.parents:
                    dataset = cell.config.dataset
                    name = f"{RESPONSES_OF}{dataset.name}/{dataset.splits[role]}"
                    found[name] = split.parents["responses"]
        return found

    @property
    def layer_step(self) -> int:
        """Every which layer's hidden states are kept, by the settings of the engine."""
        return layer_step(self.config.engine)

    @property
    def failed_requests(self) -> int:
        """How many failed and were left out, or could not be graded; another run tries again."""
        own = sum(split.failed for split in self._splits.values())
        return own + sum(other.failed_requests for other in self._others.values())

    def close(self) -> None:
        """Free what the engine holds."""
        if not isinstance(self._model, KnownModel):
            self._model.close()

    def decoding(self, max_new_tokens: int | None = None) -> Decoding:
        """Return the model's decoding settings, or the same with another cap.

        A model that reasons keeps its own cap, which holds the reasoning as well.
        """
        decoding = Decoding(**asdict(self.config.model.decoding))
        if max_new_tokens is not None and self.config.model.reasoning == "none":
            decoding = replace(decoding, max_new_tokens=max_new_tokens)
        return decoding

    def artifact(self, role: Role, stage: str, inputs: Mapping[str, Any]) -> Artifact:
        """Return where a stage of a split is kept; its inputs include the model's identity."""
        names = self.config.model.name, self.config.dataset.name, self.config.dataset.splits[role]
        inputs = {"model": self._model.identity, **inputs}
        if stage in self._model.precisions:
            inputs["precision"] = self._model.precisions[stage]
        return self._store.artifact(*names, stage, inputs)

    def prompts(self, role: Role) -> dict[str, str]:
        """Return the user turn of each question, by id."""
        return dict(self.questions[role].select("question_id", "prompt").iter_rows())

    def replies(
        self, role: Role, kind: str, prompts: Mapping[str, str], k: int, decoding: Decoding
    ) -> Asked:
        """Return what asks for k replies to each prompt, kept in the stage called ``kind``."""
        inputs = {"decoding": decoding.inputs, "seed": self.config.sampling.seed}
        artifact = self.artifact(role, kind, inputs)
        return Asked(kind, artifact, RESPONSES, prompts, k, decoding.max_new_tokens)

    def responses(self, role: Role) -> Asked:
        """Return what asks for the responses to a split's questions, the most that it may take."""
        sampling = self.config.sampling
        k = sampling.k if role == "evaluation" else sampling.k_train
        if role == "evaluation" and sampling.stopping is not None:
            k = sampling.stopping.k_max
        return self.replies(role, "responses", self.prompts(role), k, self.decoding())

    def hidden_states(self, role: Role) -> Asked:
        """Return what asks for the hidden states of a split's prompts."""
        inputs: dict[str, Any] = {"position": "last prompt token"}
        if self.layer_step > 1:
            inputs["every_nth_layer"] = self.layer_step
        artifact = self.artifact(role, "features", inputs)
        return Asked(HIDDEN, artifact, HIDDEN_STATES, self.prompts(role), cap=0)

    def sample(
        self,
        asked: Asked,
        decoding: Decoding,
        k: Many | None = None,
        grade: Grade | None = None,
    ) -> pl.DataFrame:
        """Return the replies that are asked for, or others of them, of schema ``RESPONSE``.

        ``grade`` tells what watches them how many are correct so far.
        """
        name = f"live/{asked.dataset}/{asked.split}/{asked.kind}"
        with self.watch(name, "drawn", Drawn(asked, grade).look):
            return sample_responses(
                asked.prompts, asked.k if k is None else k, engine=self.engine,
                decoding=decoding, seed=self.config.sampling.seed, artifact=asked.artifact,
                what=f"{asked.kind.capitalize()} ({asked.split})",
            )  # fmt: skip

    def ask(
        self,
        asked: Asked,
        produce: Callable[[dict[str, str]], Iterable[Row | None]],
        what: str,
    ) -> pl.DataFrame:
        """Return a row for each prompt, null where it could not be made, in the prompts' order.

        Args:
            asked: the prompts, and the place where the rows are kept.
            produce: function that makes the rows of those prompts that the artifact lacks, each
                with its question_id; None stands for a request that failed.
            what: name of the work in the progress line.
        """
        keys = asked.keys
        hashes = dict(keys.iter_rows())

        def made(missing: pl.DataFrame) -> Iterable[Row | None]:
            for row in produce({key: asked.prompts[key] for key in missing["question_id"]}):
                yield row and {**row, "prompt_hash": hashes[row["question_id"]]}

        held = asked.artifact.fill(keys, made, asked.rows, what, lambda: self.engine.settings)
        held = held.unique(keys.columns)
        return keys.join(held, on=keys.columns, how="left", maintain_order="left")

    def requests(self, prompts: Mapping[str, str]) -> list[SampleRequest]:
        """Return a request for one response to each prompt."""
        seed = self.config.sampling.seed
        return [
            SampleRequest(key, prompt, (0,), (sample_seed(seed, key, 0),))
            for key, prompt in prompts.items()
        ]
