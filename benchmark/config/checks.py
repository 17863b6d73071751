"""The rules of the configuration that no type says; each fails before any work begins.

``checked`` turns what Hydra composed into the dataclasses of ``config``, the rules kept.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import date
from math import inf
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmark.config.schema import (
    ENGINES,
    ROLES,
    Config,
    DatasetConfig,
    DecodingConfig,
    EngineConfig,
    ModelConfig,
    SamplingConfig,
    ServerConfig,
    TransformersConfig,
    VLLMConfig,
    typed,
)
from benchmark.errors import ConfigError
from benchmark.records import storable

_NAME = re.compile(r"\w[\w.-]*")  # becomes a folder of the store
_OF_TEMPLATE = {  # settings of the rendering that chat_template_kwargs would override
    "add_generation_prompt", "continue_final_message", "conversation", "max_length", "padding",
    "return_assistant_tokens_mask", "return_dict", "return_tensors", "tokenize",
    "tokenizer_kwargs", "truncation",
}  # fmt: skip
_MOST = 1_000_000  # responses to a question, or resamples: more would fill the memory
_MOST_AT_ONCE = 10_000  # requests: each is a task with its connection
_HEADER = re.compile(r"[A-Za-z0-9-]+")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_OWN_FIELDS = frozenset({  # of a request, which the harness itself sets
    "model", "messages", "prompt", "n", "seed", "stop", "stream", "max_tokens",
    "max_completion_tokens", "logprobs", "top_logprobs", "temperature", "top_p", "top_k", "min_p",
    "repetition_penalty", "repeat_penalty", "presence_penalty", "frequency_penalty",
    "chat_template_kwargs",
})  # fmt: skip
_COLDEST = 1e-4  # below it, dividing logits leaves the range of float32


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
    _check_texts(asdict(config), "")
    _check_folders(config)
    check_dataset(config.dataset, "dataset")
    check_model(config.model)
    engine_config(config.engine)
    _check_sampling(config.sampling)
    for name in ("unparsed", "truncated"):
        _one_of(("incorrect", "left_out"), config.capability, "capability", name)
    _one_of(("refuse", "left_out"), config.capability, "capability", "failed")
    _at_least(1, config.statistics, "statistics", "resamples")
    resamples = config.statistics.resamples
    _require(resamples <= _MOST, "statistics.resamples", resamples, f"at most {_MOST:,}")
    _at_least(0, config.statistics, "statistics", "seed")
    _one_of(("none", "wandb"), config.tracker, "tracker", "kind")
    _one_of(("offline", "online"), config.tracker, "tracker", "mode")
    _require(bool(config.estimator), "estimator", [], "a list of at least one estimator")
    counted = config.dataset.counted
    weights = counted or config.model.hub_id != "none"
    _require(weights, "model.hub_id", "none", "a model that can be run, but for dataset=counts")
    judged = not (counted and config.grading)
    _require(judged, "grading", [*config.grading], "left out: dataset=counts was judged elsewhere")
    return config


def check_dataset(dataset: DatasetConfig, where: str) -> None:
    """Refuse a dataset's settings that break a rule.

    Raises:
        ConfigError: naming the key, below ``where``.
    """
    _check_name(f"{where}.name", dataset.name)
    splits, roles = dataset.splits, ROLES[:1] if dataset.counted else ROLES
    _require(set(splits) == set(roles), f"{where}.splits", splits, f"a split for each of {roles}")
    for role, split in splits.items():
        _check_name(f"{where}.splits.{role}", split)
    for name in ("limit", "train_limit", "validation_limit"):
        value = getattr(dataset, name)
        _require(value is None or value >= 1, f"{where}.{name}", value, "at least 1, or null")
        given = value is None or not dataset.counted
        _require(given, f"{where}.{name}", value, "null where dataset=counts: the file says all")
    for name, source in dataset.sources.items():
        _one_of(("rest", "held_out"), source, f"{where}.sources.{name}", "part")
        _one_of(("refuse", "drop"), source, f"{where}.sources.{name}", "unanswered")
        _at_least(0, source, f"{where}.sources.{name}", "held_out")


def check_model(model: ModelConfig) -> None:
    """Refuse a model's settings that break a rule.

    Raises:
        ConfigError: naming the key.
    """
    _check_name("model.name", model.name)
    _one_of(("none", "think", "harmony"), model, "model", "reasoning")
    _check_date("model.template_date", model.template_date)
    _require(model.hub_id.strip() != "", "model.hub_id", repr(model.hub_id), "a name or a folder")
    rule = "what the chat template takes; the harness itself says how its result is used"
    for name in sorted(_OF_TEMPLATE.intersection(model.chat_template_kwargs)):
        _require(
            False, f"model.chat_template_kwargs.{name}", model.chat_template_kwargs[name], rule
        )
    decoding, where = model.decoding, "model.decoding"
    warm = decoding.temperature == 0 or _COLDEST <= decoding.temperature < inf
    rule = f"0, or at least {_COLDEST} and finite"
    _require(warm, f"{where}.temperature", decoding.temperature, rule)
    _require(0 < decoding.top_p <= 1, f"{where}.top_p", decoding.top_p, "in (0, 1]")
    _at_least(1, decoding, where, "max_new_tokens")
    _check_optional(decoding, where)
    if model.few_shot is not None:
        template, stop, where = model.few_shot.template, model.few_shot.stop, "model.few_shot"
        held = "{question}" in template
        _require(held, f"{where}.template", template[-80:], "with {question} in it")
        _require(len(stop) == 1, f"{where}.stop", repr(stop), "one character")


def _check_date(where: str, value: str) -> None:
    try:
        date.fromisoformat(value)
    except ValueError:
        raise ConfigError(f"{where}={value} is not a day, as in 2026-02-01.") from None


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
        _require(value is None or holds(value), f"{where}.{name}", value, rule)


def _check_sampling(sampling: SamplingConfig) -> None:
    _at_least(1, sampling, "sampling", "k", "k_train")
    for name in ("k", "k_train"):
        value = getattr(sampling, name)
        _require(value <= _MOST, f"sampling.{name}", value, f"at most {_MOST:,}")
    stopping, where = sampling.stopping, "sampling.stopping"
    if stopping is not None:
        rule = f"at least sampling.k={sampling.k}, the responses that every question gets"
        enough = sampling.k <= stopping.k_max <= _MOST
        _require(enough, f"{where}.k_max", stopping.k_max, f"{rule}, and at most {_MOST:,}")
        _require(0 < stopping.width < 1, f"{where}.width", stopping.width, "in (0, 1)")
        _at_least(1, stopping, where, "round")


def engine_config(entry: Mapping[str, Any]) -> EngineConfig:
    """Return the engine's settings as the dataclass of their kind.

    Raises:
        ConfigError: an unknown kind or key, or a value out of range.
    """
    kind = entry.get("kind")
    _require(kind in ENGINES, "engine.kind", kind, f"one of {(*ENGINES,)}")
    config: EngineConfig = typed(dict(entry), ENGINES[str(kind)], "engine")
    check_in_process(config if isinstance(config, TransformersConfig) else config.in_process)
    if isinstance(config, ServerConfig):
        _check_server(config)
    return config


def check_in_process(config: TransformersConfig) -> None:
    """Refuse settings that break a rule, of the engine that runs the model in this process.

    Raises:
        ConfigError: naming the key.
    """
    _one_of(("transformers",), config, "engine", "kind")
    _at_least(1, config, "engine", "max_rows", "token_budget")
    _one_of(("auto", "float32", "bfloat16", "float16"), config, "engine", "dtype")


def _check_server(config: ServerConfig) -> None:
    counts = ("concurrency", "samples_per_request", "top_logprobs", "attempts")
    _at_least(1, config, "engine", *counts)
    most = config.concurrency <= _MOST_AT_ONCE
    _require(most, "engine.concurrency", config.concurrency, f"at most {_MOST_AT_ONCE:,}")
    _require(config.timeout > 0, "engine.timeout", config.timeout, "above 0")
    taken = sorted(_OWN_FIELDS.intersection(config.extra_body or {}))
    rule = "without these fields: requests take them from the settings of model and engine"
    _require(not taken, "engine.extra_body", taken, rule)
    for header, variable in (config.headers or {}).items():
        known = _HEADER.fullmatch(header) is not None
        _require(known, "engine.headers", header, "a mapping of header names, such as X-Team")
        if not _VARIABLE.fullmatch(variable):  # it may be the secret itself
            raise ConfigError(
                f"engine.headers.{header} must be the name of an environment variable, in capital "
                f"letters, such as MY_TOKEN: values of headers never stand in a configuration."
            )
    if isinstance(config, VLLMConfig):
        _require(bool(config.command), "engine.command", "[]", "a program with its arguments")
        return
    url = config.base_url or ""
    rule = "given, as http://host:port/v1 or https://.."
    _require(re.match(r"https?://[^/]", url) is not None, "engine.base_url", url, rule)
    if "?" in url or "@" in url.split("://")[1].split("/")[0]:
        raise ConfigError(
            "engine.base_url holds a login or a query, which would reach files and logs; put the "
            "key into an environment variable and name it with engine.api_key_env."
        )


def _check_name(key: str, name: str) -> None:
    rule = "letters, digits, '_', '-' and '.', not '.' first: it names a folder"
    _require(_NAME.fullmatch(name) is not None, key, name, rule)


def _check_texts(value: object, key: str) -> None:
    """Refuse texts that neither files nor requests can hold, at any depth."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            _require(isinstance(name, str), f"{key}.{name}", item, "below a key that is a text")
            _check_texts(name, key)
            _check_texts(item, f"{key}.{name}".removeprefix("."))
    elif isinstance(value, list):
        for item in value:
            _check_texts(item, key)
    elif isinstance(value, str):
        whole = storable(value) == value and "\0" not in value
        _require(whole, key, ascii(value), "text in UTF-8, without NUL")


def _check_folders(config: Config) -> None:
    """Refuse folders in the home of somebody who doesn't exist."""
    paths, dataset = config.paths, config.dataset
    folders = {
        "paths.outputs": paths.outputs, "paths.cache": paths.cache, "dataset.path": dataset.path,
        "dataset.hub_root": dataset.hub_root, "model.hub_id": config.model.hub_id,
    }  # fmt: skip
    for key, folder in folders.items():
        named = not key.startswith("paths.") or bool(str(folder).strip())
        _require(named, key, repr(folder), "a folder; '.' is the current one")
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


def _at_least(least: int, node: object, where: str, *names: str) -> None:
    for name in names:
        value = getattr(node, name)
        _require(value >= least, f"{where}.{name}", value, f"at least {least}")


def _one_of(allowed: tuple[str, ...], node: object, where: str, name: str) -> None:
    value = getattr(node, name)
    _require(value in allowed, f"{where}.{name}", value, f"one of {allowed}")


def _require(holds: bool, key: str, value: object, rule: str) -> None:
    if not holds:
        raise ConfigError(f"{key}={value} is not allowed: it must be {rule}.")
