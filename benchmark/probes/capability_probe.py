"""A probe that left the harness: its numbers, its card and the model whose hidden states it reads.

The pipeline exports one from every cell with a probe; ``capcal score`` and other programs load it.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import yaml
from numpy.typing import NDArray

from benchmark.config.checks import check_model
from benchmark.config.composing import CONF, own_folders
from benchmark.config.schema import ModelConfig, typed
from benchmark.engines import Engine
from benchmark.engines.settings import TransformersConfig
from benchmark.engines.weights import find_weights
from benchmark.errors import ConfigError, DataError, ModelError, StoreError
from benchmark.probes.probe import TrainedProbe
from benchmark.progress import meter
from benchmark.records import storable
from benchmark.store.artifact import read_json
from benchmark.terminal import Terminal

_CARD = "card.json"
_FORMAT = 2  # of the card
_QUESTION = "{question}"


@dataclass(frozen=True)
class CapabilityProbe:
    """Predicts the expected accuracy of a model on questions, from one pass over each prompt.

    Attributes:
        probe: the numbers.
        model: how prompts are rendered, and where the weights come from.
        identity: of the very weights and the rendering, as fingerprints have it.
        template: what the model was asked in training, with ``{question}`` in it; None where the
            training questions were worded in several ways, so that only whole prompts can be read.
        training: of each training and validation split: dataset, split, number of questions and
            the fingerprint of its prompts and counts.
        validation: the probe's ``train_brier`` and ``validation_brier``, as it was chosen by.
        engine: runs the model; made from ``model`` by ``load``.
    """

    probe: TrainedProbe
    model: ModelConfig
    identity: dict[str, Any]
    template: str | None
    training: list[dict[str, Any]]
    validation: dict[str, float]
    engine: Engine | None = field(default=None, compare=False)

    def save(self, folder: Path) -> None:
        """Write ``probe.safetensors`` and ``card.json`` into ``folder``.

        A local folder of the model's is written as an absolute path.
        """
        self.probe.save(folder)
        local = Path(self.model.hub_id).expanduser()
        hub_id = str(local.resolve()) if local.is_dir() else self.model.hub_id
        card = {
            "format": _FORMAT,
            "capcal": version("capcal"),
            "model": asdict(self.model) | {"hub_id": hub_id},
            "identity": self.identity,
            "position": "last prompt token",
            "probe": self.probe.card(),
            "template": self.template,
            "training": self.training,
            "validation": self.validation,
        }
        text = json.dumps(card, indent=2, ensure_ascii=False)
        (folder / _CARD).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(
        cls,
        folder: str | Path,
        engine: TransformersConfig | None = None,
        cache: str | Path = "~/.cache/capcal",
    ) -> "CapabilityProbe":
        """Return an exported probe with its model, whose weights are read at first use.

        Args:
            folder: that ``save`` wrote.
            engine: where and in which precision the model runs.
            cache: folder of converted models.

        Raises:
            ConfigError: a value of ``engine`` is out of range.
            StoreError: the folder holds no probe, or a damaged one.
            ModelError: the weights can't be had, or are not those the probe was trained on.
        """
        settings = engine or TransformersConfig()
        folder = Path(folder).expanduser()
        card = _read_card(folder)
        probe, model = TrainedProbe.load(folder, card["probe"]), card["model"]
        try:
            console = Terminal(stderr=True)
            weights = find_weights(model, Path(cache).expanduser(), console)
        except ModelError as error:
            raise ModelError(f"{error} The model is that of {folder / _CARD}.") from error
        from benchmark.engines.in_process.engine import TransformersEngine  # seconds to import

        running = TransformersEngine(model, replace(settings, layers=probe.step), weights)
        # Cards that were written before renderings were known name none.
        if running.identity != {"rendering": running.identity["rendering"], **card["identity"]}:
            raise ModelError(
                f"The probe in '{folder}' was trained on {card['identity']['weights']}, but "
                f"{model.name} is now {running.identity['weights']}: other weights, another chat "
                "template or other settings. Train it again, or bring back the model it knows."
            )
        return cls(
            probe=probe,
            model=model,
            identity=card["identity"],
            template=card["template"],
            training=card["training"],
            validation=card["validation"],
            engine=running,
        )

    def predict(self, questions: Sequence[str]) -> NDArray[np.float64]:
        """Return the confidence in each bare question, [N] in [0, 1].

        Each is worded as the training questions were.

        Raises:
            DataError: what is no text or empty, or a probe whose training questions were worded
                in several ways.
        """
        if self.template is None:
            raise DataError(
                "This probe was trained on questions that were worded in several ways; give whole "
                "prompts, as the model is asked them: predict_prompts([..]), or 'prompt' in place "
                "of 'question'."
            )
        _check_texts("Question", questions)
        return self.predict_prompts([self.template.replace(_QUESTION, q) for q in questions])

    def predict_prompts(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Return the confidence in each prompt (the whole user turn), [N] in [0, 1].

        Raises:
            DataError: what is no text or empty.
        """
        _check_texts("Prompt", prompts)
        assert self.engine is not None, "load the probe"
        states: dict[str, torch.Tensor] = {}
        keyed = {str(place): prompt for place, prompt in enumerate(prompts)}
        with meter(Terminal(stderr=True), "Hidden states", len(keyed)) as progress:
            for key, layers in self.engine.hidden_states(keyed):
                # A probe on vLLM's states has one layer less: the last.
                states[key] = self.probe.predict(layers[None, : self.probe.layers])
                progress.advance()
        return np.array([states[key].item() for key in keyed], dtype=np.float64)


def common_template(questions: pl.DataFrame) -> str | None:
    """Return the wording that all prompts share, with ``{question}`` in it; None for several.

    Args:
        questions: of schema ``QUESTION``.
    """
    rows = list(questions["prompt", "question"].iter_rows())
    prompt, question = rows[0]
    pieces = prompt.split(question)
    for last in range(len(pieces) - 1, 0, -1):  # the question stands last, where it is twice
        before, after = question.join(pieces[:last]), question.join(pieces[last:])
        if all(prompt == f"{before}{question}{after}" for prompt, question in rows):
            return f"{before}{_QUESTION}{after}"
    return None


def _check_texts(kind: str, texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise DataError(f"{kind}s are given as a list, not as the single text {texts[:80]!a}.")
    for place, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip() or storable(text) != text:
            raise DataError(
                f"{kind} {place} must be a text in UTF-8 that is not empty: {ascii(text)[:80]}"
            )


def _read_card(folder: Path) -> dict[str, Any]:
    """Return the card, its model typed, the rest as ``save`` writes it.

    Raises:
        StoreError: naming the part that isn't.
    """
    path = folder / _CARD
    try:
        card = read_json(path)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"'{folder}' holds no exported probe ({error}); give the folder probes/<estimator> of "
            "a run."
        ) from error
    if not isinstance(card, dict) or card.get("format") != _FORMAT:
        raise StoreError(f"{path} is not a card of format {_FORMAT}; export the probe again.")
    template, identity, training = (card.get(key) for key in ("template", "identity", "training"))
    whole = {
        "identity": isinstance(identity, dict) and isinstance(identity.get("weights"), str),
        "template": template is None or (isinstance(template, str) and _QUESTION in template),
        "training": isinstance(training, list) and all(isinstance(t, dict) for t in training),
        **{key: isinstance(card.get(key), dict) for key in ("validation", "probe", "model")},
    }
    if wrong := [key for key, holds in whole.items() if not holds or key not in card]:
        told = json.dumps(card.get(wrong[0], "nothing"))[:80]
        raise StoreError(f"{path}: {wrong[0]} can't be {told}; export the probe again.")
    try:
        model = typed(_escaped(card["model"]), ModelConfig, "model")
        check_model(model)
        _check_package(model)
    except (ConfigError, RecursionError) as error:  # nested deeper than Python goes
        fault = str(error).removesuffix(".")
        raise StoreError(f"{path}: {fault}; export the probe again.") from error
    return {**card, "model": model}


def _escaped(value: Any) -> Any:
    """Return JSON in which OmegaConf finds no interpolation: a card reads no environment."""
    if isinstance(value, dict):
        return {key: _escaped(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_escaped(part) for part in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


def _check_package(model: ModelConfig) -> None:
    """Refuse a package that a card names and no model of the configuration: it would be imported.

    Raises:
        ConfigError: naming those that are known.
    """
    files = [path for folder in (CONF, *own_folders()) for path in folder.glob("model/*.yaml")]
    entries = [yaml.safe_load(path.read_text(encoding="utf-8")) or {} for path in files]
    known = sorted({entry["gguf"]["package"] for entry in entries if entry.get("gguf")})
    if model.gguf is not None and model.gguf.package not in known:
        raise ConfigError(
            f"model.gguf.package={model.gguf.package!a} is none of the packages of conf/model and "
            f"CAPCAL_CONF, {known}"
        )
