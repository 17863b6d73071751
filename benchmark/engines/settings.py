"""Settings of engines: the fields of ``conf/engine`` and the rules that they keep."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from omegaconf import MISSING

from benchmark.config.rules import at_least, one_of, require
from benchmark.config.schema import ModelConfig

_COUNTS = ("concurrency", "samples_per_request", "top_logprobs", "attempts")
_MOST_AT_ONCE = 10_000  # requests: each is a task with a connection of its own
_SHORTEST_DEADLINE = 1800.0  # seconds; a short reply may wait long for its turn
_SLOWEST_SERVER = 1000.0  # tokens per second, for all requests together
_HEADER = re.compile(r"[A-Za-z0-9-]+")
_OWN_FIELDS = frozenset({  # of a request, which the harness itself sets
    "model", "messages", "prompt", "n", "seed", "stop", "stream", "max_tokens",
    "max_completion_tokens", "logprobs", "top_logprobs", "temperature", "top_p", "top_k", "min_p",
    "repetition_penalty", "repeat_penalty", "presence_penalty", "frequency_penalty",
    "chat_template_kwargs",
})  # fmt: skip


@dataclass
class TransformersConfig:
    """How the model runs in this process; see ``engines.in_process``.

    Attributes:
        device: name of the device, such as cuda:1; auto takes an accelerator where there is one.
        device_map: None, or how accelerate spreads the model over devices, for example auto.
        dtype: auto, float32, bfloat16 or float16; auto is bfloat16 where the device computes it.
        max_rows: number of rows that a decoding batch aims at.
        token_budget: number of prompt tokens in one prefill pass.
        layers: 1 keeps the hidden states of all layers, n those of every n-th, from the embedding
            on.
    """

    device: str = "auto"
    device_map: str | None = None
    dtype: str = "auto"
    max_rows: int = 128
    token_budget: int = 2048
    layers: int = 1

    def __post_init__(self) -> None:
        """Refuse settings that break a rule."""
        at_least(1, self, "engine", "max_rows", "token_budget", "layers")
        one_of(("auto", "float32", "bfloat16", "float16"), self, "engine", "dtype")

    def identity(self, model: ModelConfig) -> dict[str, Any]:  # noqa: ARG002
        """Return no setting: none of them changes what the model answers."""
        return {}

    @property
    def precisions(self) -> dict[str, str]:
        """The precision of the stages that are computed in this process: all that need one."""
        return _precisions(self, "p_true", "features")


@dataclass
class ServerConfig:
    """An OpenAI-compatible endpoint; see ``engines.server``.

    Attributes:
        base_url: address of the API, up to and including its version, or a list of the addresses of
            servers that share the requests for one model.
        model: name of the model at the server.
        api_key_env: name of the environment variable with the key; no key is sent where it isn't
            set.
        concurrency: number of requests that are under way at once.
        samples_per_request: number of samples that one request asks for; if it fails, all of them
            fail.
        top_logprobs: number of most probable tokens that P(True) sums over; most servers give 20.
        attempts: number of attempts at one request, with growing waits between them, before it is
            recorded as an error.
        timeout: longest time in seconds that one attempt may take; None derives it: see
            ``deadline``.
        extra_body: fields that are added to every request: a vendor's own options.
        headers: names of headers that are added to every request, each with the name of the
            environment variable that holds its value.
        in_process: settings of the model in this process that reads hidden states, which no
            endpoint gives.
    """

    base_url: Any = None
    model: str = MISSING
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = 64
    samples_per_request: int = 8
    top_logprobs: int = 20
    attempts: int = 6
    timeout: float | None = None
    extra_body: dict[str, Any] | None = None
    headers: dict[str, str] | None = None
    in_process: Any = None

    def __post_init__(self) -> None:
        """Refuse settings that break a rule."""
        self.in_process = self.in_process or TransformersConfig()
        at_least(1, self, "engine", *_COUNTS)
        few = self.concurrency <= _MOST_AT_ONCE
        require(few, "engine.concurrency", self.concurrency, f"at most {_MOST_AT_ONCE:,}")
        require(self.timeout is None or self.timeout > 0, "engine.timeout", self.timeout, "above 0")
        taken = sorted(_OWN_FIELDS.intersection(self.extra_body or {}))
        rule = "without these fields: requests take them from the settings of model and engine"
        require(not taken, "engine.extra_body", taken, rule)
        _check_headers(self.headers or {})
        self._check_server()

    @property
    def urls(self) -> list[str]:
        """The addresses of all servers, without a slash at their end."""
        given = self.base_url if isinstance(self.base_url, list) else [self.base_url or ""]
        return [str(url).rstrip("/") for url in given]

    def deadline(self, max_new_tokens: int) -> float:
        """Return the longest time in seconds that one attempt may take.

        Where ``timeout`` is None it is ``max_new_tokens * concurrency * samples_per_request`` over
        1,000 tokens per second, and at least 1,800 s: a server that draws so much for all of its
        requests together finishes them even if each sample is as long as it may be.
        """
        if self.timeout is not None:
            return self.timeout
        most_tokens = max_new_tokens * self.concurrency * self.samples_per_request
        return max(_SHORTEST_DEADLINE, most_tokens / _SLOWEST_SERVER)

    def _check_server(self) -> None:
        rule = "given, as http://host:port/v1 or https://.., or a list of these"
        for url in self.urls or [""]:
            require(re.match(r"https?://[^/]", url) is not None, "engine.base_url", url, rule)
        twice = sorted({url for url in self.urls if self.urls.count(url) > 1})
        require(not twice, "engine.base_url", twice, "given once each")

    def identity(self, model: ModelConfig) -> dict[str, Any]:
        """Return what of the settings decides which model answers, and how.

        Fields that are added to every request may change what it draws. A name at the server other
        than the model's own may stand for other weights than those of ``model.hub_id``.
        """
        known = {"extra_body": self.extra_body} if self.extra_body else {}
        return (
            known if self.model in (model.hub_id, model.name) else {**known, "served": self.model}
        )

    @property
    def precisions(self) -> dict[str, str]:
        """The precision in which hidden states are read; a server's own isn't known."""
        return _precisions(self.in_process, "features")


@dataclass
class VLLMConfig(ServerConfig):
    """A server that the harness starts and stops; see ``engines.launch``.

    Attributes:
        command: program and its arguments; ``{location}`` and ``{port}`` are filled in.
        tensor_parallel_size: number of accelerators that share the model, for the command.
        health_path: path below the server's root that answers with status 200 once it is ready.
        startup_seconds: longest time in seconds that the server may take to start.
        hidden_states: in_process, or vllm: what reads them; see ``engines.server.vllm_states``.
    """

    command: list[str] = field(default_factory=list)
    tensor_parallel_size: int = 1
    health_path: str = "health"
    startup_seconds: float = 1800.0
    hidden_states: str = "in_process"

    @property
    def precisions(self) -> dict[str, str]:
        """What reads hidden states; a server's precision isn't known."""
        return {"features": "vllm"} if self.hidden_states == "vllm" else super().precisions

    def identity(self, model: ModelConfig) -> dict[str, Any]:
        """Return the fields that are added to every request; the weights are the model's own."""
        return super().identity(replace(model, name=self.model))

    def _check_server(self) -> None:
        one_of(("in_process", "vllm"), self, "engine", "hidden_states")
        require(bool(self.command), "engine.command", "[]", "a program with its arguments")


def layer_step(engine: Mapping[str, Any]) -> int:
    """Return every which layer's hidden states an entry of ``conf/engine`` keeps."""
    return int((engine.get("in_process") or engine).get("layers", 1))


def _precisions(config: TransformersConfig, *stages: str) -> dict[str, str]:
    from benchmark.engines.device import find_dtype  # torch takes seconds to import

    return dict.fromkeys(stages, str(find_dtype(config.device, config.dtype))[len("torch.") :])


def _check_headers(variables: Mapping[str, str]) -> None:
    for header in variables:
        known = _HEADER.fullmatch(header) is not None
        require(known, "engine.headers", header, "a mapping of header names, such as X-Team")
