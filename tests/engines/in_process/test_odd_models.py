"""Models, tokenizers and settings that are not as most are, and that people have."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    CONFIG_MAPPING,
    AutoModelForImageTextToText,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen3VLTextConfig,
)

from benchmark.config.schema import FewShotConfig, ModelConfig
from benchmark.engines import Decoding
from benchmark.engines.in_process.engine import TransformersEngine
from benchmark.engines.settings import TransformersConfig
from benchmark.engines.weights import Weights
from benchmark.errors import ModelError
from tests.conftest import tiny_tokenizer
from tests.engines.in_process.architectures import build
from tests.engines.in_process.test_engine import PLAIN, PROMPTS, asked, request, saved_engine


def test_a_prompt_with_a_token_that_the_model_does_not_know_is_refused(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<|extra|>", "Maybe"])
    engine = saved_engine("llama", tmp_path, tokenizer)
    assert len(list(engine.sample([request("one", range(4))], Decoding(1, 1, 4)))) == 4
    odd = request("odd", range(1), "a <|extra|> b")
    with pytest.raises(ModelError, match=r"'odd' has the token '<\|extra\|>' \(101\)"):
        list(engine.sample([odd], Decoding(1, 1, 2)))
    with pytest.raises(ModelError, match="'odd' has the token"):
        list(engine.hidden_states({"odd": odd.prompt}))
    with pytest.raises(ModelError, match=r"no token spells.*Maybe"):
        list(engine.choice_probabilities(asked(), ["Yes", "Maybe"], PLAIN))


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
def test_an_empty_prompt_is_refused_and_does_not_read_its_neighbour(
    architecture: str, tmp_path: Path
) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    engine = saved_engine(architecture, tmp_path, tokenizer)
    with pytest.raises(ModelError, match="'two' has no tokens"):
        list(engine.hidden_states({"one": "xy", "two": "", "three": "abc"}))
    shortest = {"one": "x", "two": "yz"}
    states = dict(engine.hidden_states(shortest))
    for key, prompt in shortest.items():
        ((_, alone),) = engine.hidden_states({key: prompt})
        torch.testing.assert_close(alone, states[key], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("words", [{"<unk>": 0, "a": 1}, {"<unk>": 150, "a": 1}])
def test_a_tokenizer_of_other_words_does_not_keep_the_model_from_being_checked(
    tmp_path: Path, words: dict[str, int]
) -> None:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="<unk>")), unk_token="<unk>",
        chat_template="{% for message in messages %}{{ message['content'] }}{% endfor %}",
    )  # fmt: skip
    build("gemma2").save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    config = ModelConfig(name="tiny", hub_id=str(tmp_path), few_shot=FewShotConfig("a", "b"))
    settings = TransformersConfig(device="cpu", dtype="float32")
    engine = TransformersEngine(config, settings, Weights(str(tmp_path), None, "tiny"))
    assert len(list(engine.sample([request("one", range(3), "a")], PLAIN))) == 3
    assert engine.settings["way"] == "batched"


def test_a_configuration_that_asks_for_tuples_does_not_keep_a_model_from_running(
    tmp_path: Path,
) -> None:
    model = build("llama")
    model.config.return_dict = False
    engine = saved_engine(model, tmp_path)
    assert len(list(engine.sample([request("one", range(3))], Decoding(1, 1, 4)))) == 3


SIGHT = {"hidden_size": 16, "intermediate_size": 16, "image_size": 28, "patch_size": 14,
         "num_attention_heads": 2}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "sight"),
    [
        ("mistral3", MistralConfig, {"num_hidden_layers": 1, "head_dim": 8}),
        ("llava", LlamaConfig, {"num_hidden_layers": 1}),
        ("qwen3_vl", Qwen3VLTextConfig, {"depth": 1, "num_heads": 2, "out_hidden_size": 32,
                                         "deepstack_visual_indexes": [0]}),
    ],
)  # fmt: skip
def test_a_model_that_reads_images_too_is_sampled_as_it_says_itself(name, text, sight, tmp_path):
    sizes = {
        "vocab_size": 101, "hidden_size": 32, "intermediate_size": 48, "head_dim": 8,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    }  # fmt: skip
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
    more = {"rope_parameters": rope} if name == "qwen3_vl" else {}
    vision = SIGHT | sight
    config = CONFIG_MAPPING[name]().to_dict() | {"text_config": text(**sizes, **more).to_dict()}
    kinds = CONFIG_MAPPING[name]().vision_config
    config["vision_config"] = type(kinds)(**vision).to_dict()
    torch.manual_seed(1)
    model = AutoModelForImageTextToText.from_config(CONFIG_MAPPING[name].from_dict(config))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    engine = saved_engine(model.eval(), tmp_path)
    states = dict(engine.hidden_states(PROMPTS))
    assert engine.settings["way"] == "packed"
    for key, prompt in PROMPTS.items():
        tokens = torch.tensor([engine._tokens({key: prompt})[key]])
        with torch.inference_mode():
            output = model(tokens, use_cache=False, output_hidden_states=True)
        expected = torch.stack([layer[0, -1] for layer in output.hidden_states])
        torch.testing.assert_close(states[key], expected, rtol=1e-3, atol=1e-3)
