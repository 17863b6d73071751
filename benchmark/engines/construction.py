"""How an engine is made: each class is what a file of ``conf/engine`` names as ``_target_``."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from rich.console import Console

from benchmark.config.build import build
from benchmark.config.schema import ModelConfig
from benchmark.engines import Engine, StatesReader
from benchmark.engines.server.launch import LaunchedServer
from benchmark.engines.settings import ServerConfig, TransformersConfig, VLLMConfig
from benchmark.engines.weights import Weights, known_identity, local_folder
from benchmark.errors import ConfigError


class Surroundings(NamedTuple):
    """What an engine is made from beside its own settings.

    Attributes:
        model: name of the model, and how its prompts are rendered.
        weights: place and identity of the weights.
        cache: folder of what is converted once.
        folder: folder of the run, for logs.
        store: folder of all that is stored, with one below it for each model.
        console: terminal, which is told what takes long.
    """

    model: ModelConfig
    weights: Weights
    cache: Path
    folder: Path
    store: Path
    console: Console


class Startable(Protocol):
    """Settings that an engine is made from: a file of ``conf/engine``."""

    def identity(self, model: ModelConfig) -> dict[str, Any]:
        """Return what of the settings decides what is answered; it goes into all fingerprints."""

    @property
    def precisions(self) -> dict[str, str]:
        """The precision by stage (p_true, features), as ``Engine.precisions``."""

    def start(self, run: Surroundings) -> Engine:
        """Return the engine, before it does anything that takes long."""


def engine_config(entry: object) -> Startable:
    """Return the settings of an entry of ``conf/engine``; a ``ConfigError`` says what is wrong."""
    settings: Startable = build(entry, "engine", "start")
    return settings


@dataclass
class Transformers(TransformersConfig):
    """Runs the model in this process."""

    def start(self, run: Surroundings) -> Engine:
        """Return the engine; weights are read when they are first used."""
        return _in_process(self, run)


@dataclass
class Server(ServerConfig):
    """Asks an OpenAI-compatible endpoint."""

    def start(self, run: Surroundings) -> Engine:
        """Return the engine; a server that the harness starts is started at first use."""
        from benchmark.engines.server.engine import ServerEngine  # a second to import

        launched = self._launched(run)
        _tell_of_dates(run)
        return ServerEngine(
            run.model,
            self,
            known_identity(run.model, run.weights, run.cache) | self.identity(run.model),
            os.environ.get(self.api_key_env, "").strip() or "none",
            run.console,
            lambda: self._states(run),
            launched,
            _headers(self.headers or {}),
            run.store / run.model.name,
            lambda: _tokenizer(run),
        )

    def _launched(self, run: Surroundings) -> LaunchedServer | None:  # noqa: ARG002
        return None

    def _states(self, run: Surroundings) -> StatesReader:
        return _in_process(self.in_process, run)


@dataclass
class VLLM(VLLMConfig, Server):
    """Asks a server that the harness starts and stops."""

    def _launched(self, run: Surroundings) -> LaunchedServer:
        day = os.environ.get("VLLM_SYSTEM_START_DATE", run.model.template_date)
        return LaunchedServer(
            self.command,
            local_folder(run.weights, run.model.name),
            self.health_path,
            self.startup_seconds,
            run.folder / "server.log",
            run.console,
            {"VLLM_SYSTEM_START_DATE": day},  # read for gpt-oss
        )

    def _states(self, run: Surroundings) -> StatesReader:
        if self.hidden_states != "vllm":
            return super()._states(run)
        from benchmark.engines.server import vllm_states  # seconds to import

        launched, folder = self._launched(run), (run.folder / "hidden_states").resolve()
        layers = vllm_states.layers_of(launched.location, self.in_process.layers)
        found = filter(None, [str(vllm_states.CONNECTOR), os.environ.get("PYTHONPATH")])
        launched = replace(
            launched,
            command=[*launched.command, *vllm_states.arguments(layers, folder)],
            variables={**launched.variables, "PYTHONPATH": os.pathsep.join(found)},
        )
        return vllm_states.VLLMStates(
            run.model,
            self,
            _tokenizer(run),
            launched,
            folder,
            len(layers),
        )


def _in_process(settings: TransformersConfig, run: Surroundings) -> Engine:
    from benchmark.engines.in_process.engine import TransformersEngine  # seconds to import

    return TransformersEngine(run.model, settings, run.weights, run.console)


def _tokenizer(run: Surroundings) -> Any:
    from benchmark.engines.in_process.loading import load_tokenizer  # seconds to import

    return load_tokenizer(run.model, run.weights)


def _tell_of_dates(run: Surroundings) -> None:
    """Say where a server may write another day into its prompts than this process does."""
    model = run.model
    # A template that writes the date renders two days to different tokens.
    days = (model.template_date, "2000-02-29")
    first, second = (
        known_identity(replace(model, template_date=day), run.weights, run.cache)["rendering"]
        for day in days
    )
    if first != second:
        run.console.print(
            f"The chat template of {model.name} writes the date. In this process that is "
            f"{days[0]}; a server may write its own day. For gpt-oss, vLLM reads the day from the "
            f"variable VLLM_SYSTEM_START_DATE; the template of Llama 3 reads it from "
            f"model.chat_template_kwargs.date_string."
        )


def _headers(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the headers with their values; a ``ConfigError`` names a variable without one."""
    values = {header: os.environ.get(name, "").strip() for header, name in variables.items()}
    for header, value in values.items():
        if not (value and value.isascii() and value.isprintable()):
            raise ConfigError(
                f"engine.headers.{header}: the environment variable {variables[header]} holds no "
                f"value, or one that is not printable ASCII."
            )
    return values
