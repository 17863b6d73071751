"""One model on one dataset: stages 1 to 4 for any of its splits, each made when asked for.

Estimators take what they need from a ``Cell``; nothing is sampled twice, and nothing that no
estimator asks for is sampled at all. A cell also gives the cell of another dataset, for probes that
are trained elsewhere.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any, NamedTuple, TypeVar

import polars as pl
import torch
from rich.console import Console

from benchmark.capability.counts import count_outcomes, counted_grades, is_counted
from benchmark.config.schema import Config, Role, TrainingConfig
from benchmark.engines import Decoding, Engine, SampleRequest
from benchmark.errors import DataError
from benchmark.grading import Answer, Verdict, build_graders, disagreements, grade
from benchmark.grading.verdict import PASSING
from benchmark.probes.features import FeatureSet, check_finite
from benchmark.questions import load_splits
from benchmark.sampling.adaptive import StoppingRule, sample_until_narrow
from benchmark.sampling.responses import Many, sample_responses
from benchmark.sampling.seeds import sample_seed
from benchmark.store.artifact import Artifact, Row, Store, fingerprint, prompt_hash
from benchmark.store.hidden_states import HIDDEN_STATES, StoredFeatures

TRAINING: tuple[Role, ...] = ("train", "validation")
T = TypeVar("T")
_Verdicts = dict[str, dict[Answer, Verdict]]  # by grader, what it has judged


class Split(NamedTuple):
    """The records of one split, all sorted by question id.

    ``grades`` are those that count, by the first grader; ``left_out`` are its other ones.
    ``parents`` are the fingerprints of the stages that they come from.
    """

    questions: pl.DataFrame
    responses: pl.DataFrame
    grades: pl.DataFrame
    left_out: pl.DataFrame
    disagreements: pl.DataFrame
    capability: pl.DataFrame
    parents: dict[str, str]


class Cell:
    """Makes and keeps what stages 1 to 4 give for each split.

    Args:
        config: the run's.
        questions: of each split that is needed, of schema ``QUESTION``, sorted by id (stage 1).
        engine: runs the model.
        store: where artifacts lie.
        console: shows progress.
    """

    def __init__(
        self,
        config: Config,
        questions: Mapping[Role, pl.DataFrame],
        engine: Engine,
        store: Store,
        console: Console,
    ) -> None:
        self.config = config
        self.questions = questions
        self.engine = engine
        self.console = console
        self._store = store
        self._graders = build_graders(config.grading)
        self._splits: dict[Role, Split] = {}
        self._failed = 0
        self._others: dict[str, Cell] = {}
        self._kept: dict[str, Any] = {}

    def other(self, training: TrainingConfig) -> "Cell":
        """Return the same model's cell of another dataset, with what trains a probe."""
        key = fingerprint(asdict(training))
        if key not in self._others:
            dataset = training.dataset
            questions = load_splits(dataset, TRAINING)
            config = replace(self.config, dataset=dataset, grading=training.grading)
            self._others[key] = Cell(config, questions, self.engine, self._store, self.console)
        return self._others[key]

    def once(self, inputs: Mapping[str, Any], make: Callable[[], T]) -> T:
        """Return what ``make`` gives, made once for equal inputs: estimators may share it."""
        key = fingerprint(inputs)
        if key not in self._kept:
            self._kept[key] = make()
        kept: T = self._kept[key]
        return kept

    @property
    def failed_requests(self) -> int:
        """How many failed and were left out, or could not be graded; another run tries again."""
        return self._failed + sum(other.failed_requests for other in self._others.values())

    def close(self) -> None:
        """Free what the engine holds."""
        self.engine.close()

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
        inputs = {"model": self.engine.identity, **inputs}
        if stage in self.engine.precisions:
            inputs["precision"] = self.engine.precisions[stage]
        return self._store.artifact(*names, stage, inputs)

    def prompts(self, role: Role) -> dict[str, str]:
        """Return the user turn of each question, by id."""
        return dict(self.questions[role].select("question_id", "prompt").iter_rows())

    def requests(self, prompts: Mapping[str, str]) -> list[SampleRequest]:
        """Return a request for one response to each prompt."""
        seed = self.config.sampling.seed
        return [
            SampleRequest(key, prompt, (0,), (sample_seed(seed, key, 0),))
            for key, prompt in prompts.items()
        ]

    def sample(
        self, role: Role, stage: str, prompts: Mapping[str, str], k: Many, decoding: Decoding
    ) -> tuple[pl.DataFrame, Artifact]:
        """Return k responses to each prompt (stage 2) and the artifact that keeps them."""
        artifact = self.responses_artifact(role, stage, decoding)
        responses = sample_responses(
            prompts, k, engine=self.engine, decoding=decoding, seed=self.config.sampling.seed,
            artifact=artifact,
            what=f"{stage.capitalize()} ({self.config.dataset.splits[role]})",
        )  # fmt: skip
        return responses, artifact

    def responses_artifact(self, role: Role, stage: str, decoding: Decoding) -> Artifact:
        """Return where the responses of a stage are kept."""
        inputs = {"decoding": decoding.inputs, "seed": self.config.sampling.seed}
        return self.artifact(role, stage, inputs)

    def split(self, role: Role) -> Split:
        """Return questions, responses, grades and capability of a split (stages 1 to 4)."""
        if role not in self._splits:
            questions = self.questions[role]
            verdicts: _Verdicts = {name: {} for name in self._graders}
            responses, source = self._responses(role, verdicts)
            by_grader = self._grades(role, responses, source, verdicts)
            grades = next(iter(by_grader.values()))
            treatment = asdict(self.config.capability)
            counted = counted_grades(grades, treatment)
            capability = count_outcomes(counted)
            inputs = {"responses": source.fingerprint, "treatment": treatment}
            inputs["grader"] = next(iter(self._graders.values())).identity
            parents = {"responses": source.fingerprint}
            counts = self.artifact(role, "capability", inputs)
            counts.replace_table(capability, parents)
            self._splits[role] = Split(
                questions, responses, counted,
                grades.join(counted, on=["question_id", "sample_index"], how="anti"),
                disagreements(by_grader, questions), capability,
                {**parents, "capability": counts.fingerprint},
            )  # fmt: skip
        return self._splits[role]

    def _responses(self, role: Role, verdicts: _Verdicts) -> tuple[pl.DataFrame, Artifact]:
        """Return k responses to each question, or as many as adaptive sampling asks for.

        The verdicts that it takes to know that are added to ``verdicts``.
        """
        sampling, prompts = self.config.sampling, self.prompts(role)
        k = sampling.k if role == "evaluation" else sampling.k_train
        responses, source = self.sample(role, "responses", prompts, k, self.decoding())
        if role != "evaluation" or sampling.stopping is None:
            return self._answered(responses, source), source
        counts = is_counted(asdict(self.config.capability))

        def draw(more: Mapping[str, int]) -> pl.DataFrame:
            return self.sample(role, "responses", prompts, more, self.decoding())[0]

        def count(drawn: pl.DataFrame) -> pl.DataFrame:
            if self.config.capability.failed == "refuse":  # before more is asked for
                drawn = self._answered(drawn, source)
            done = drawn.filter(pl.col("finish_reason") != "error")
            return self._grade(role, next(iter(self._graders)), done, verdicts).filter(counts)

        rule = StoppingRule(k, **asdict(sampling.stopping))
        responses = sample_until_narrow(responses, rule, draw, count)
        most = rule.k_max * len(prompts)
        self.console.print(f"Adaptive sampling: {len(responses):,} responses of at most {most:,}.")
        return self._answered(responses, source), source

    def _answered(self, responses: pl.DataFrame, source: Artifact) -> pl.DataFrame:
        """Return the responses whose requests succeeded.

        Raises:
            DataError: some failed, and the configuration doesn't leave them out.
        """
        failed = responses.filter(pl.col("finish_reason") == "error")
        if failed.is_empty():
            return responses
        what = (
            f"{failed.height} of {responses.height} responses failed, the first with: "
            f"{failed['error'][0]}"
        )
        if self.config.capability.failed == "refuse" or failed.height == responses.height:
            raise DataError(
                f"{what}. The others are kept in {source.folder}; run again to ask for those that "
                f"are missing, or go on without them with capability.failed=left_out."
            )
        self._failed += failed.height
        self.console.print(f"{what}. They are left out; another run asks for them again.")
        return responses.filter(pl.col("finish_reason") != "error")

    def _grade(
        self, role: Role, name: str, responses: pl.DataFrame, verdicts: _Verdicts
    ) -> pl.DataFrame:
        grader, questions = self._graders[name], self.questions[role]
        kept = self.artifact(role, "verdicts", {"grader": grader.identity})
        return grade(responses, questions, name, grader, kept, self.console, verdicts[name])

    def _grades(
        self, role: Role, responses: pl.DataFrame, source: Artifact, verdicts: _Verdicts
    ) -> dict[str, pl.DataFrame]:
        """Return the grades of each grader (stage 3); only evaluation needs more than the first."""
        names = list(self._graders) if role == "evaluation" else list(self._graders)[:1]
        tables = {}
        for name in names:
            table = self._grade(role, name, responses, verdicts)
            self._failed += table.filter(pl.col("reason").is_in(PASSING)).height
            tables[name] = table.sort("question_id", "sample_index")
            identity = self._graders[name].identity
            inputs = {"responses": source.fingerprint, "grader": identity}
            parents = {"responses": source.fingerprint}
            self.artifact(role, "grades", inputs).replace_table(tables[name], parents)
        return tables

    def features(self, role: Role) -> FeatureSet:
        """Return the hidden states of a split's prompts with its counts, for probes.

        Layers are the embedding and every layer's output at the last prompt token.
        """
        prompts = self.prompts(role)
        hashes = {key: prompt_hash(prompt) for key, prompt in prompts.items()}
        wanted = pl.DataFrame({"question_id": [*hashes], "prompt_hash": [*hashes.values()]})

        def read(missing: pl.DataFrame) -> Iterator[Row]:
            unread = {key: prompts[key] for key in missing["question_id"]}
            self._check_same_prompts(unread, role)
            for key, states in self.engine.hidden_states(unread):
                check_finite([key], states[None])  # the store trusts what it holds
                yield {"question_id": key, "prompt_hash": hashes[key], "states": states}

        stored = self.features_artifact(role).fill(
            wanted, read, HIDDEN_STATES,
            f"Hidden states ({self.config.dataset.splits[role]})", lambda: self.engine.settings,
        )  # fmt: skip
        capability = self.split(role).capability
        counted = capability.join(wanted, on="question_id", maintain_order="left")
        places = counted.join(
            stored.unique(wanted.columns), on=wanted.columns, maintain_order="left"
        )
        return FeatureSet(
            question_ids=counted["question_id"].to_list(),
            features=StoredFeatures(places),
            n=torch.tensor(capability["n"].to_list()),
            c=torch.tensor(capability["c"].to_list()),
        )

    def _check_same_prompts(self, prompts: Mapping[str, str], role: Role) -> None:
        """Refuse to read hidden states of other prompts than responses were sampled from.

        Raises:
            DataError: a server rendered a prompt to another number of tokens than it has here.
        """
        responses = self.split(role).responses.drop_nulls("prompt_tokens")
        sampled = dict(responses.select("question_id", "prompt_tokens").unique().iter_rows())
        for key, tokens in self.engine.prompt_tokens(prompts).items():
            if sampled.get(key, tokens) != tokens:
                raise DataError(
                    f"The responses to '{key}' were sampled from a prompt of {sampled[key]} "
                    f"tokens, which has {tokens} tokens here: the server renders the chat template "
                    f"in another way, so that a probe would read another prompt. Give the server "
                    f"the model's own template, or sample with engine=transformers."
                )

    def features_artifact(self, role: Role) -> Artifact:
        """Return where the hidden states of a split's prompts are kept."""
        return self.artifact(role, "features", {"position": "last prompt token"})
