"""A probe on the hidden states of the question's last prompt token."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import combinations, permutations
from typing import Any

import polars as pl
from omegaconf import MISSING

from benchmark.cell.asked import Asked
from benchmark.cell.cell import TRAINING, Cell
from benchmark.config.checks import build_dataset
from benchmark.config.schema import Role, TrainingConfig
from benchmark.estimators.estimator import Estimator
from benchmark.probes import CapabilityProbe, ProbeSettings, TrainedProbe, bank
from benchmark.probes.capability_probe import common_template
from benchmark.probes.features import join
from benchmark.probes.settings import ByLightning
from benchmark.questions import refuse_overlap
from benchmark.records import CONFIDENCE, ChosenProbe, Estimate
from benchmark.store.artifact import fingerprint, prompt_hash


@dataclass
class Probe(Estimator):
    """Trained on training counts; layer, pooling and setting are chosen on validation questions.

    Attributes:
        train_on: datasets whose train and validation splits are used, all together; without any,
            those of the evaluated dataset.
        settings: settings of the training, and those that are tried.
    """

    train_on: dict[str, TrainingConfig] = field(default_factory=dict)
    settings: ProbeSettings = MISSING

    def __post_init__(self) -> None:
        """Refuse datasets whose settings break a rule; each is graded as it says itself."""
        for name, training in self.train_on.items():
            where = f"train_on.{name}.dataset"
            training.dataset = build_dataset(training.dataset, where)
            training.grading = training.grading or training.dataset.grading

    @property
    def roles(self) -> tuple[Role, ...]:
        """The splits of the evaluated dataset that are needed beside the evaluated one."""
        return () if self.train_on else TRAINING

    @property
    def hidden_states(self) -> bool:
        """True: they are all that it reads."""
        return True

    def check(self, cell: Cell, role: Role = "evaluation") -> None:
        """Refuse a question that is in two of the splits that are trained, chosen and judged on.

        Where another split is estimated, to fit a curve, it must not be trained on; the probe may
        be chosen on it.

        Raises:
            DataError: two splits share a question by content; it names them.
            ConfigError: the probe is trained on devices that this machine doesn't have.
        """
        sources = self._sources(cell)
        if self.settings.by_steps:
            from benchmark.probes.training import make_trainer  # Lightning takes seconds to import

            make_trainer(cell.config.trainer)
        for source, other in permutations(sources, 2):
            _refuse_overlap(source, "train", other, "validation")
        for source, other in combinations(sources, 2):
            for part in TRAINING:
                _refuse_overlap(source, part, other, part)
        for source in sources:
            if source is not cell:  # whose own splits are disjoint
                for part in TRAINING if role == "evaluation" else TRAINING[:1]:
                    _refuse_overlap(source, part, cell, role)

    def prepare(self, cell: Cell) -> None:
        """Sample the responses that train."""
        for source in self._sources(cell):
            for role in TRAINING:
                source.split(role)

    def requests(self, cell: Cell, role: Role = "evaluation") -> Iterable[Asked]:
        """Yield the hidden states, and the responses to other datasets' questions."""
        yield cell.hidden_states(role)
        for source in self._sources(cell):
            for part in TRAINING:
                if source is not cell:
                    yield source.responses(part)
                yield source.hidden_states(part)

    def collect(self, cell: Cell, role: Role = "evaluation") -> None:
        """Read the hidden states of all questions; the probe is trained elsewhere."""
        cell.features(role)
        for source in self._sources(cell):
            for part in TRAINING:
                source.features(part)

    def estimate(self, cell: Cell, role: Role = "evaluation") -> Estimate:
        """Return the probe's confidence in each question; reading the prompt is its cost."""
        self.prepare(cell)
        cell.split(role)
        sources = self._sources(cell)
        probe = cell.once(asdict(self), lambda: self._train(cell))
        asked = cell.features(role)
        read = (
            cell.split(role).responses.group_by("question_id").agg(pl.col("prompt_tokens").first())
        )
        table = pl.DataFrame(
            {
                "question_id": asked.question_ids,
                "confidence": probe.predict(asked.features).tolist(),
            }
        ).join(read, on="question_id")
        table = table.with_columns(
            sample_index=pl.lit(0, pl.Int64), status=pl.lit("ok"),
            completion_tokens=pl.lit(0, pl.Int64),
        )  # fmt: skip
        selection = probe.selection
        assert selection is not None  # it was just trained
        exported = CapabilityProbe(
            probe,
            cell.config.model,
            {k: v for k, v in cell.engine.identity.items() if k != "extra_body"},
            common_template(pl.concat([s.questions["train"] for s in sources])),
            [_described(source, part) for source in sources for part in TRAINING],
            probe.validation(),
        )
        return Estimate(
            table.select(list(CONFIDENCE)),
            trained_on=sum(len(source.split("train").capability) for source in sources),
            probes={"": ChosenProbe(selection, exported)},
        )

    def _train(self, cell: Cell) -> TrainedProbe:
        self.check(cell)
        sources = self._sources(cell)
        train, validation = (join([s.features(part) for s in sources]) for part in TRAINING)
        test = cell.features("evaluation")
        if not self.settings.by_steps:
            return bank.train_probe(train, validation, self.settings, test)
        decisive = {
            "settings": asdict(self.settings),
            "trainer": cell.config.trainer.decisive,
            "training": [_described(source, part) for source in sources for part in TRAINING],
            "features": [
                source.hidden_states(part).artifact.fingerprint
                for source in sources
                for part in TRAINING
            ],
        }
        kept = sources[0].artifact("train", "probe", decisive)
        with kept.lock():
            by_steps = ByLightning(
                cell.config.trainer, kept.folder, cell.config.tracker, cell.config.grid
            )
            return bank.train_probe(train, validation, self.settings, test, by_steps)

    def _sources(self, cell: Cell) -> list[Cell]:
        return [cell.other(training) for training in self.train_on.values()] or [cell]


def _refuse_overlap(a: Cell, role_of_a: Role, b: Cell, role_of_b: Role) -> None:
    refuse_overlap(
        a.questions[role_of_a],
        b.questions[role_of_b],
        (
            f"{role_of_a} of dataset={a.config.dataset.name}",
            f"{role_of_b} of dataset={b.config.dataset.name}",
        ),
        b.config.dataset.near_duplicates,
    )


def _described(source: Cell, role: Role) -> dict[str, Any]:
    """Return what a probe was trained or chosen on, with the fingerprint of its content."""
    counts = source.split(role).capability.select("question_id", "n", "c")
    hashes = {key: prompt_hash(prompt) for key, prompt in source.prompts(role).items()}
    content = [[hashes[key], n, c] for key, n, c in counts.iter_rows()]
    return {
        "dataset": source.config.dataset.name,
        "split": source.config.dataset.splits[role],
        "used_for": "training" if role == "train" else "choice of layer, pooling and setting",
        "questions": counts.height,
        "responses": int(counts["n"].sum()),
        "fingerprint": fingerprint({"content": content}),
    }
