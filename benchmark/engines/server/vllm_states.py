"""Hidden states from a vLLM that the harness starts for them, in place of a model in this process.

vLLM gives the output of every layer through a connector (``in_vllm``), which leaves them in files.
The last layer's are missing: vLLM gives them before the model's final norm, which probes don't
read. The server that samples isn't this one: to keep states takes a multiple of its cache.
"""

import fcntl
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import openai
import torch
import transformers
from safetensors.torch import load

from benchmark.config.schema import ModelConfig
from benchmark.engines.prompts import rendered
from benchmark.engines.server.bodies import token_body
from benchmark.engines.server.launch import LaunchedServer
from benchmark.engines.server.requests import Endpoint, RequestError, run_all
from benchmark.engines.settings import VLLMConfig
from benchmark.errors import ModelError

CONNECTOR = Path(__file__).parent / "in_vllm"  # where vLLM's Python finds the connector


@dataclass
class VLLMStates:
    """Reads hidden states through a server of its own.

    Attributes:
        model: settings of the model: how prompts are rendered.
        config: settings of the server and of the requests.
        tokenizer: tokenizer of the model, of transformers.
        launched: the server, with the arguments of ``arguments``.
        folder: folder that the server writes into; it is on this machine.
        layers: number of layers that are read, the embedding included.
    """

    model: ModelConfig
    config: VLLMConfig
    tokenizer: Any
    launched: LaunchedServer
    folder: Path
    layers: int

    def prompt_tokens(self, prompts: Mapping[str, str]) -> dict[str, int]:
        """Return the number of tokens of each rendered prompt, by key."""
        return {key: len(tokens) for key, tokens in self._rendered(prompts).items()}

    def _rendered(self, prompts: Mapping[str, str]) -> dict[str, list[int]]:
        tokens = rendered(self.model, self.tokenizer, [*prompts.values()])
        return dict(zip(prompts, tokens, strict=True))

    def hidden_states(self, prompts: Mapping[str, str]) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield, per key, the last prompt token's states [L, D]: embedding, then each layer.

        Raises:
            ModelError: the server can't be started, or gives no states, or those of other tokens.
        """
        endpoint = Endpoint(
            self.launched.base_url(), "none", self.config.attempts, self.config.deadline(1),
            self.launched.alive,
        )  # fmt: skip
        tokens = self._rendered(prompts)

        async def ask(client: openai.AsyncOpenAI, key: str) -> list[tuple[str, torch.Tensor]]:
            body = token_body(self.config.model) | {"prompt": tokens[key]}
            try:
                reply = await endpoint.ask(client, body)
            except RequestError as error:
                raise ModelError(f"The hidden states of '{key}' can't be read: {error}.") from error
            path = None if reply.states is None else Path(reply.states)
            if path is None or path.parent != self.folder:
                raise ModelError(
                    "The server gives no hidden states; set engine.hidden_states=in_process."
                )
            found = await anyio.to_thread.run_sync(_taken, path)
            if found["token_ids"].tolist() != tokens[key]:
                raise ModelError(f"The server read other tokens than those of '{key}'.")
            states = found["hidden_states"]
            if len(states) != self.layers:
                raise ModelError(f"The server gives {len(states)} layers, not {self.layers}.")
            return [(key, states)]

        yield from run_all(endpoint, iter(tokens), ask, self.config.concurrency)

    def close(self) -> None:
        """Stop the server; it starts again when it is needed."""
        self.launched.stop()

    @property
    def settings(self) -> dict[str, Any]:
        """How it ran, for manifests."""
        return {"way": "vllm", "layers": self.layers}


def layers_of(location: str, step: int) -> list[int]:
    """Return the numbers of the layers that are read of a model, the embedding's first."""
    config = transformers.AutoConfig.from_pretrained(location).get_text_config(decoder=True)
    return [*range(0, config.num_hidden_layers, step)]


def arguments(layers: list[int], folder: Path) -> list[str]:
    """Return the arguments of ``vllm serve`` that keep these layers' states."""
    speculative = {
        "method": "extract_hidden_states",
        "num_speculative_tokens": 1,
        "draft_model_config": {"hf_config": {"eagle_aux_hidden_state_layer_ids": layers}},
    }
    connector = {
        "kv_connector": "LastTokenStates",
        "kv_connector_module_path": "capcal_last_token",
        "kv_role": "kv_producer",
        "kv_connector_extra_config": {"shared_storage_path": str(folder)},
    }
    return [
        "--speculative-config", json.dumps(speculative),
        "--kv-transfer-config", json.dumps(connector),
    ]  # fmt: skip


def _taken(path: Path) -> dict[str, torch.Tensor]:
    """Return what a file holds once it is written, and remove it."""
    lock = path.with_name(f"{path.name}.lock")
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_SH)  # until the server has written it
    try:
        found: dict[str, torch.Tensor] = load(path.read_bytes())
    except FileNotFoundError as error:
        raise ModelError(f"The server wrote no hidden states to {path}.") from error
    path.unlink()
    lock.unlink()
    return found
