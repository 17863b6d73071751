"""From what Hydra composed to the dataclasses of ``config``, refusing what breaks a rule.

Types say most rules; those that no type says are checked here, before any work begins.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, is_dataclass
from datetime import date
from math import inf
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmark.config.build import build
from benchmark.config.rules import at_least, one_of, require
from benchmark.config.schema import (
    PHASES,
    ROLES,
    Config,
    DatasetConfig,
    DecodingConfig,
    ModelConfig,
    SamplingConfig,
    near_names,
)
from benchmark.config.secrets import refuse_secrets
from benchmark.errors import ConfigError
from benchmark.records import storable

_NAME = re.compile(r"\w[\w.-]*")  # becomes a folder of the store
_OF_TEMPLATE = {  # settings of the rendering that chat_template_kwargs would override
    "add_generation_prompt", "continue_final_message", "conversation", "max_length", "padding",
    "return_assistant_tokens_mask", "return_dict", "return_tensors", "tokenize",
    "tokenizer_kwargs", "truncation",
}  # fmt: skip
_LARGEST_COUNT = 1_000_000  # of responses to a question, or of resamples: more fill the memory
_COLDEST = 1e-4  # lowest temperature above 0: logits divided by less leave the range of float32


def checked(composed: DictConfig) -> Config:
    """Return the composed configuration as dataclasses.

    Raises:
        ConfigError: a value is missing or breaks one of the rules below.
    """
    refuse_secrets(composed)
    _refuse_unknown(composed, "")
    try:
        config = OmegaConf.to_object(composed)
    except OmegaConfBaseException as error:
        raise ConfigError(str(error)) from error
    assert isinstance(config, Config)
    _check_texts(asdict(config), "")
    config.dataset = build_dataset(config.dataset, "dataset")
    _check_folders(config)
    check_model(config.model)
    build(config.engine, "engine", "start")
    _check_sampling(config.sampling)
    for name in ("unparsed", "truncated"):
        one_of(("incorrect", "left_out"), config.capability, "capability", name)
    one_of(("refuse", "left_out"), config.capability, "capability", "failed")
    at_least(1, config.statistics, "statistics", "resamples")
    _at_most(config.statistics, "statistics", "resamples")
    at_least(0, config.statistics, "statistics", "seed")
    one_of(PHASES, config, "", "phase")
    one_of(("none", "wandb"), config.tracker, "tracker", "kind")
    one_of(("offline", "online"), config.tracker, "tracker", "mode")
    require(bool(config.estimator), "estimator", [], "a list of at least one estimator")
    counted = config.dataset.counted
    weights = counted or config.model.hub_id != "none"
    require(weights, "model.hub_id", "none", "a model that can be run, but for dataset=counts")
    unjudged = not (counted and config.grading)
    config.grading = config.grading or config.dataset.grading
    require(unjudged, "grading", [*config.grading], "left out: dataset=counts was judged elsewhere")
    return config


def _refuse_unknown(node: DictConfig, where: str) -> None:
    """Refuse keys that the schema lacks: with ``+`` Hydra adds any, and nothing would read it."""
    if node._is_none() or node._is_missing() or node._is_interpolation():
        return
    known = OmegaConf.get_type(node)
    for name in node:
        key = where + str(name)
        if is_dataclass(known) and name not in (names := [part.name for part in fields(known)]):
            raise ConfigError(f"{key} is no setting.{near_names(str(name), names)}")
        part = node._get_node(name)
        if isinstance(part, DictConfig):
            _refuse_unknown(part, f"{key}.")


def build_dataset(entry: object, where: str) -> DatasetConfig:
    """Return the dataset of an entry of ``conf/dataset``.

    Raises:
        ConfigError: a setting breaks a rule; it names the key, below ``where``.
    """
    dataset: DatasetConfig = build(entry, where, "load")
    _check_name(f"{where}.name", dataset.name)
    splits, roles = dataset.splits, ROLES[:1] if dataset.counted else ROLES
    known = "evaluation" in splits and set(splits) <= set(roles)
    require(known, f"{where}.splits", splits, f"the split of evaluation, with others of {roles}")
    for role, split in splits.items():
        _check_name(f"{where}.splits.{role}", split)
    near = dataset.near_duplicates
    require(0 <= near <= 1, f"{where}.near_duplicates", near, "a share from 0 to 1")
    for name in ("limit", "train_limit", "validation_limit"):
        value = getattr(dataset, name)
        require(value is None or value >= 1, f"{where}.{name}", value, "at least 1, or null")
        given = value is None or not dataset.counted
        require(given, f"{where}.{name}", value, "null where dataset=counts: the file says all")
    return dataset


def check_model(model: ModelConfig) -> None:
    """Refuse a model's settings that break a rule.

    Raises:
        ConfigError: naming the key.
    """
    _check_name("model.name", model.name)
    one_of(("none", "think", "harmony"), model, "model", "reasoning")
    try:
        date.fromisoformat(model.template_date)
    except ValueError:
        rule = "a day, written as 2026-02-01"
        require(False, "model.template_date", model.template_date, rule)
    require(model.hub_id.strip() != "", "model.hub_id", repr(model.hub_id), "a name or a folder")
    rule = "what the chat template takes; the harness itself says how its result is used"
    for name in sorted(_OF_TEMPLATE.intersection(model.chat_template_kwargs)):
        require(False, f"model.chat_template_kwargs.{name}", model.chat_template_kwargs[name], rule)
    decoding, where = model.decoding, "model.decoding"
    warm = decoding.temperature == 0 or _COLDEST <= decoding.temperature < inf
    rule = f"0, or at least {_COLDEST} and finite"
    require(warm, f"{where}.temperature", decoding.temperature, rule)
    require(0 < decoding.top_p <= 1, f"{where}.top_p", decoding.top_p, "in (0, 1]")
    at_least(1, decoding, where, "max_new_tokens")
    _check_optional(decoding, where)
    if model.few_shot is not None:
        template, stop, where = model.few_shot.template, model.few_shot.stop, "model.few_shot"
        held = "{question}" in template
        require(held, f"{where}.template", template[-80:], "with {question} in it")
        require(len(stop) == 1, f"{where}.stop", repr(stop), "one character")


def _check_optional(decoding: DecodingConfig, where: str) -> None:
    """Refuse settings of decoding out of their range; null is neutral."""
    signed = ("at least -2 and at most 2, or null", lambda value: -2 <= value <= 2)
    rules: dict[str, tuple[str, Callable[[float], bool]]] = {
        "top_k": ("at least 1, or null for all tokens", lambda value: value >= 1),
        "min_p": ("in [0, 1], or null", lambda value: 0 <= value <= 1),
        "repetition_penalty": ("above 0 and finite, or null", lambda value: 0 < value < inf),
        "presence_penalty": signed,
        "frequency_penalty": signed,
    }
    for name, (rule, holds) in rules.items():
        value = getattr(decoding, name)
        require(value is None or holds(value), f"{where}.{name}", value, rule)


def _check_sampling(sampling: SamplingConfig) -> None:
    at_least(1, sampling, "sampling", "k", "k_train")
    _at_most(sampling, "sampling", "k", "k_train")
    stopping, where = sampling.stopping, "sampling.stopping"
    if stopping is not None:
        rule = f"at least sampling.k={sampling.k}, the responses that every question gets"
        require(sampling.k <= stopping.k_max, f"{where}.k_max", stopping.k_max, rule)
        _at_most(stopping, where, "k_max")
        require(0 < stopping.width < 1, f"{where}.width", stopping.width, "in (0, 1)")
        at_least(1, stopping, where, "round")


def _at_most(node: object, where: str, *names: str) -> None:
    for name in names:
        value = getattr(node, name)
        require(value <= _LARGEST_COUNT, f"{where}.{name}", value, f"at most {_LARGEST_COUNT:,}")


def _check_name(key: str, name: str) -> None:
    rule = "letters, digits, '_', '-' and '.', not '.' first: it names a folder"
    require(_NAME.fullmatch(name) is not None, key, name, rule)


def _check_texts(value: object, key: str) -> None:
    """Refuse texts that neither files nor requests can hold, at any depth."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            require(isinstance(name, str), f"{key}.{name}", item, "below a key that is a text")
            _check_texts(name, key)
            _check_texts(item, f"{key}.{name}".removeprefix("."))
    elif isinstance(value, list):
        for item in value:
            _check_texts(item, key)
    elif isinstance(value, str):
        whole = storable(value) == value and "\0" not in value
        require(whole, key, ascii(value), "text in UTF-8, without NUL")


def _check_folders(config: Config) -> None:
    """Refuse folders in the home of somebody who doesn't exist."""
    paths, dataset = config.paths, config.dataset
    folders = {
        "paths.outputs": paths.outputs, "paths.cache": paths.cache,
        "dataset.path": getattr(dataset, "path", None),
        "dataset.hub_root": getattr(dataset, "hub_root", None),
        "model.hub_id": config.model.hub_id,
    }  # fmt: skip
    for key, folder in folders.items():
        named = not key.startswith("paths.") or bool(str(folder).strip())
        require(named, key, repr(folder), "a folder; '.' is the current one")
        check_folder(key, folder or "")


def check_folder(key: str, folder: str) -> None:
    """Refuse a folder in the home of somebody who doesn't exist, and what is no path.

    Raises:
        ConfigError: naming key and folder.
    """
    try:
        Path(folder).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"{key}={folder} is in no user's home: {error} Set the variable HOME, or name a folder "
            f"without '~'."
        ) from error
    _check_texts(folder, key)
