"""Hidden states that a server leaves in files: read as those of the very prompts, or refused."""

import json
from types import SimpleNamespace
from uuid import uuid4

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from benchmark.config.schema import ModelConfig
from benchmark.engines import Decoding, SampleRequest
from benchmark.engines.prompts import rendered
from benchmark.engines.server.engine import ServerEngine
from benchmark.engines.server.vllm_states import VLLMStates, arguments, layers_of
from benchmark.engines.settings import TransformersConfig, VLLMConfig
from benchmark.errors import ConfigError, ModelError
from tests.conftest import tiny_tokenizer
from tests.engines.server.scripted import ScriptedServer

PROMPTS = {f"q{i}": f"What is {i}?" for i in range(5)}
LAYERS, WIDTH = 3, 4


def reader(server, folder, stopped):
    launched = SimpleNamespace(
        base_url=lambda: server.url, alive=lambda: None, stop=lambda: stopped.append(True)
    )
    config = VLLMConfig(
        model="served", command=["x"], concurrency=3, attempts=1, timeout=5, hidden_states="vllm"
    )
    return VLLMStates(ModelConfig(name="m"), config, tiny_tokenizer(), launched, folder, LAYERS)


def states_of(tokens, layers=LAYERS):
    return torch.full((layers, WIDTH), float(sum(tokens)), dtype=torch.bfloat16)


def writing(folder, *, tokens=lambda ids: ids, layers=LAYERS, written=True, place=None):
    """Return what makes a server leave states as vLLM does."""

    def leave(reply, body):
        path = (place or folder) / f"{uuid4()}.safetensors"
        path.with_name(f"{path.name}.lock").touch()
        ids = tokens(body["prompt"])
        if written:
            save_file(
                {"hidden_states": states_of(ids, layers), "token_ids": torch.tensor(ids)}, path
            )
        return reply | {"kv_transfer_params": {"hidden_states_path": str(path)}}

    return leave


def test_each_prompt_gets_the_states_that_the_server_left(tmp_path):
    stopped = []
    with ScriptedServer(always=writing(tmp_path)) as server:
        made = reader(server, tmp_path, stopped)
        found = dict(made.hidden_states(PROMPTS))
        sent = [body["prompt"] for body in server.bodies]
    for key, prompt in PROMPTS.items():
        (tokens,) = rendered(ModelConfig(name="m"), tiny_tokenizer(), [prompt])
        assert tokens in sent
        assert torch.equal(found[key], states_of(tokens))
        assert made.prompt_tokens(PROMPTS)[key] == len(tokens)
    assert stopped == []  # the next split's states are read there, too
    made.close()
    assert stopped == [True]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("always", "message"),
    [
        (lambda folder: writing(folder, tokens=lambda ids: ids[:-1]), "other tokens than those"),
        (lambda folder: writing(folder, tokens=lambda ids: [1, *ids]), "other tokens than those"),
        (lambda folder: writing(folder, tokens=lambda ids: ids[::-1]), "other tokens than those"),
        (lambda folder: writing(folder, layers=LAYERS + 1), "gives 4 layers, not 3"),
        (lambda folder: writing(folder, written=False), "wrote no hidden states"),
        (lambda folder: writing(folder, place=folder.parent), "gives no hidden states"),
        (lambda _: None, "gives no hidden states"),
        (lambda _: lambda reply, _body: reply | {"kv_transfer_params": {}}, "no hidden states"),
        (lambda _: lambda *_: b"{}", "can't be read"),
    ],
)  # fmt: skip
def test_what_are_no_states_of_the_prompt_is_refused(tmp_path, always, message):
    with (
        ScriptedServer(always=always(tmp_path)) as server,
        pytest.raises(ModelError, match=message),
    ):
        list(reader(server, tmp_path, []).hidden_states(PROMPTS))


def test_the_servers_arguments_name_all_layers_but_the_last(tiny_model, tmp_path):
    assert layers_of(str(tiny_model), 1) == [0, 1, 2]
    assert layers_of(str(tiny_model), 2) == [0, 2]
    said = arguments([0, 2], tmp_path)
    speculative, transfer = json.loads(said[1]), json.loads(said[3])
    layers = speculative["draft_model_config"]["hf_config"]["eagle_aux_hidden_state_layer_ids"]
    assert layers == [0, 2]
    assert transfer["kv_connector_extra_config"] == {"shared_storage_path": str(tmp_path)}


def test_what_reads_the_states_is_part_of_their_name():
    settings = {"model": "m", "command": ["x"], "in_process": TransformersConfig(dtype="float32")}
    assert VLLMConfig(**settings).precisions == {"features": "float32"}
    assert VLLMConfig(**settings, hidden_states="vllm").precisions == {"features": "vllm"}
    with pytest.raises(ConfigError, match="hidden_states"):
        VLLMConfig(**settings, hidden_states="server")


def test_one_server_at_a_time_holds_the_accelerator():
    running = []

    def launched(name):
        return SimpleNamespace(
            base_url=lambda: running.append(name) or server.url, alive=lambda: None,
            stop=lambda: name in running and running.remove(name),
        )  # fmt: skip

    class States:
        own = launched("states")

        def hidden_states(self, prompts):
            assert running == []
            self.own.base_url()
            yield from ((key, torch.zeros(1, 1)) for key in prompts)

        def close(self):
            self.own.stop()

    with ScriptedServer() as server:
        config = VLLMConfig(model="served", command=["x"], concurrency=1)
        made = ServerEngine(
            ModelConfig(name="m"), config, {}, "key", Console(quiet=True), States,
            launched("samples"),
        )  # fmt: skip
        asked = [SampleRequest("q", "Question?", (0,), (1,))]
        list(made.sample(asked, Decoding(1.0, 1.0, 5)))
        assert set(running) == {"samples"}
        running[:] = ["samples"]
        list(made.hidden_states(PROMPTS))
        assert running == ["states"]
        list(made.sample(asked, Decoding(1.0, 1.0, 5)))
        assert set(running) == {"samples"}
        running[:] = ["samples"]
        list(made.hidden_states(PROMPTS))
        made.close()
        assert running == []
