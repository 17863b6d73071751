from pathlib import Path

import pytest
import torch
from scipy.stats import chi2_contingency
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmark.config import EngineConfig, ModelConfig
from benchmark.engines import Decoding, Response, SampleRequest
from benchmark.engines.tokens import sample_seed
from benchmark.engines.transformers import TransformersEngine
from benchmark.engines.weights import Weights
from benchmark.errors import ModelError

PROMPTS = {"one": "What is 1 + 1?", "two": "Name a colour, please.", "three": "Hi"}


def request(key: str, samples: range, prompt: str | None = None) -> SampleRequest:
    seeds = tuple(sample_seed(0, key, index) for index in samples)
    return SampleRequest(key, prompt or PROMPTS[key], tuple(samples), seeds)


def by_sample(responses: list[Response]) -> dict[tuple[str, int], str]:
    return {(r.question_id, r.sample_index): r.text for r in responses}


def test_every_sample_comes_once_with_its_counts(tiny_engine: TransformersEngine) -> None:
    requests = [request(key, range(50)) for key in PROMPTS]
    responses = list(tiny_engine.sample(requests, Decoding(1.0, 0.95, 6)))
    assert len(responses) == len(by_sample(responses)) == 150
    assert all(1 <= r.completion_tokens <= 6 for r in responses)
    assert {r.finish_reason for r in responses} == {"stop", "length"}
    for response in responses:
        assert (response.finish_reason == "length") <= (response.completion_tokens == 6)
        assert response.seed == sample_seed(0, response.question_id, response.sample_index)


def test_samples_do_not_depend_on_what_else_is_in_the_batch(
    tiny_engine: TransformersEngine,
) -> None:
    decoding = Decoding(1.0, 0.9, 8)
    together = by_sample(
        list(tiny_engine.sample([request(key, range(20)) for key in PROMPTS], decoding))
    )
    alone: dict[tuple[str, int], str] = {}
    for key in PROMPTS:
        for index in range(0, 20, 3):
            alone |= by_sample(
                list(tiny_engine.sample([request(key, range(index, index + 1))], decoding))
            )
    assert alone
    assert all(together[key] == text for key, text in alone.items())


def test_greedy_samples_equal_generate(tiny_engine: TransformersEngine, tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    found = by_sample(
        list(tiny_engine.sample([request(key, range(2)) for key in PROMPTS], Decoding(0, 1, 12)))
    )
    for key, prompt in PROMPTS.items():
        tokens = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt",
            return_dict=True,
        )  # fmt: skip
        output = model.generate(**tokens, do_sample=False, max_new_tokens=12)
        new = output[0, tokens["input_ids"].shape[1] :]
        assert found[key, 0] == found[key, 1] == tokenizer.decode(new, skip_special_tokens=True)


def test_sampled_frequencies_are_those_of_generate(
    tiny_engine: TransformersEngine, tiny_model: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokens = tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPTS["one"]}], add_generation_prompt=True,
        return_tensors="pt", return_dict=True,
    )  # fmt: skip
    torch.manual_seed(0)
    output = model.generate(
        **tokens, do_sample=True, temperature=1.0, top_p=0.9, top_k=0, max_new_tokens=1,
        num_return_sequences=1500,
    )  # fmt: skip
    reference = tokenizer.batch_decode(
        output[:, tokens["input_ids"].shape[1] :], skip_special_tokens=True
    )
    ours = [
        r.text for r in tiny_engine.sample([request("one", range(1500))], Decoding(1.0, 0.9, 1))
    ]
    common = [
        text for text in set(ours) | set(reference) if ours.count(text) + reference.count(text) > 20
    ]
    assert len(common) > 20
    table = [[texts.count(text) for text in common] for texts in (ours, reference)]
    assert chi2_contingency(table).pvalue > 1e-3


def test_hidden_states_equal_transformers_for_either_padding_side_and_any_batch(
    tiny_engine: TransformersEngine, tiny_model: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.pad_token = tokenizer.eos_token
    found = dict(tiny_engine.hidden_states(PROMPTS))
    for side in ("left", "right"):
        tokens = tokenizer.apply_chat_template(
            [[{"role": "user", "content": prompt}] for prompt in PROMPTS.values()],
            add_generation_prompt=True, return_tensors="pt", return_dict=True, padding=True,
            tokenizer_kwargs={"padding_side": side},
        )  # fmt: skip
        states = model(**tokens, output_hidden_states=True).hidden_states
        last = tokens["attention_mask"].cumsum(-1).argmax(-1)
        for row, key in enumerate(PROMPTS):
            expected = torch.stack([layer[row, last[row]] for layer in states])
            torch.testing.assert_close(found[key], expected, rtol=1e-5, atol=1e-5)
    for key, prompt in PROMPTS.items():
        ((_, alone),) = tiny_engine.hidden_states({key: prompt})
        torch.testing.assert_close(alone, found[key], rtol=1e-5, atol=1e-5)


def test_choice_probabilities_sum_over_the_tokens_that_spell_them(
    tiny_engine: TransformersEngine, tiny_model: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    found = dict(tiny_engine.choice_probabilities(PROMPTS, ["Yes", "No"]))
    for key, prompt in PROMPTS.items():
        tokens = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt",
            return_dict=True,
        )  # fmt: skip
        probabilities = model(**tokens).logits[0, -1].softmax(-1)
        yes = probabilities[tokenizer.convert_tokens_to_ids("Yes")].item()
        assert found[key].probabilities["Yes"] == pytest.approx(yes, rel=1e-4)
        assert found[key].prompt_tokens == tokens["input_ids"].shape[1]


def test_a_choice_that_no_token_spells_is_refused(tiny_engine: TransformersEngine) -> None:
    with pytest.raises(ModelError, match="Perhaps"):
        list(tiny_engine.choice_probabilities(PROMPTS, ["Perhaps"]))


def test_a_tokenizer_without_chat_template_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="no chat template"):
        TransformersEngine(
            ModelConfig(name="bare"), EngineConfig(), Weights(str(tmp_path), None, "bare")
        )


def test_a_prompt_longer_than_the_model_reads_is_refused(tiny_engine: TransformersEngine) -> None:
    with pytest.raises(ModelError, match=r"'one'.*2048"):
        list(tiny_engine.sample([request("one", range(1), "x" * 2100)], Decoding(1, 1, 2)))


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing-here"):
        TransformersEngine(
            ModelConfig(name="gone"),
            EngineConfig(),
            Weights(str(tmp_path / "nothing-here"), None, "gone"),
        )


def test_real_model_answers_and_knows_its_layers(smollm2: TransformersEngine) -> None:
    prompt = "What is the capital of France? Reply with the name only."
    responses = list(smollm2.sample([request("paris", range(8), prompt)], Decoding(0.7, 0.95, 12)))
    assert sum("Paris" in response.text for response in responses) >= 6
    ((_, states),) = smollm2.hidden_states({"paris": prompt})
    assert states.shape == (31, 576)
    assert states.isfinite().all()


@pytest.mark.parametrize(
    ("form", "prompt", "text", "expected"),
    [
        ("none", "4?", "<think>a</think>4<|end|>", (None, "<think>a</think>4", True)),
        ("think", "4?", "<think>a</think>4<|end|>", ("a", "4", True)),
        ("think", "4? <think>\n", "a</think>4", ("a", "4", True)),
        ("think", "4? <think>\n", "a", ("a", "", False)),
        ("harmony", "4?", "<|channel|>analysis<|message|>a", ("a", "", False)),
    ],
)
def test_reasoning_is_split_off_as_the_model_marks_it(tiny_model, form, prompt, text, expected):
    config = ModelConfig(name="tiny", hub_id=str(tiny_model), reasoning=form)
    engine = TransformersEngine(config, EngineConfig(), Weights(str(tiny_model), None, "tiny"))
    encode = engine._tokenizer.encode
    assert engine._split(encode(text), encode(prompt)) == expected
    assert engine.identity["reasoning"] == form
