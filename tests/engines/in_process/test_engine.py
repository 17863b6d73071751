from pathlib import Path

import pytest
import torch
from scipy.stats import chi2_contingency
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from benchmark.config.schema import FewShotConfig, ModelConfig
from benchmark.engines import Decoding, Response, SampleRequest
from benchmark.engines.in_process.decoding import Finished
from benchmark.engines.in_process.engine import TransformersEngine
from benchmark.engines.in_process.forward import PackedForward
from benchmark.engines.settings import TransformersConfig
from benchmark.engines.weights import Weights
from benchmark.errors import ModelError
from benchmark.sampling.seeds import sample_seed
from tests.conftest import tiny_tokenizer
from tests.engines.in_process.architectures import build

PROMPTS = {"one": "What is 1 + 1?", "two": "Name a colour, please.", "three": "Hi"}


def request(key: str, samples: range, prompt: str | None = None) -> SampleRequest:
    seeds = tuple(sample_seed(0, key, index) for index in samples)
    return SampleRequest(key, prompt or PROMPTS[key], tuple(samples), seeds)


PLAIN = Decoding(1, 1, 1)


def asked() -> list[SampleRequest]:
    return [request(key, range(1)) for key in PROMPTS]


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
    found = dict(tiny_engine.choice_probabilities(asked(), ["Yes", "No"], PLAIN))
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
        list(tiny_engine.choice_probabilities(asked(), ["Perhaps"], PLAIN))


def test_out_of_memory_halves_the_batches_and_loses_nothing(tiny_engine, monkeypatch):
    expected = by_sample(list(tiny_engine.sample(asked_often(), Decoding(1.0, 0.9, 8))))
    states = dict(tiny_engine.hidden_states(PROMPTS))
    compute = PackedForward._run
    packs = []

    def limited(self, parts, pack, **more):
        packs.append(pack.running + len(pack.prompts))
        if len(packs) in (3, 7, 8):
            raise torch.OutOfMemoryError("no room")
        return compute(self, parts, pack, **more)

    monkeypatch.setattr(PackedForward, "_run", limited)
    found = list(tiny_engine.sample(asked_often(), Decoding(1.0, 0.9, 8)))
    assert len(packs) > 20
    assert len(found) == len(by_sample(found)) == 60
    assert by_sample(found) == expected

    def one_prompt(self, parts, pack, **more):
        if len(pack.prompts) > 1:
            raise torch.OutOfMemoryError("no room")
        return compute(self, parts, pack, **more)

    monkeypatch.setattr(PackedForward, "_run", one_prompt)
    monkeypatch.setattr(tiny_engine._config, "token_budget", 1000)
    for key, state in tiny_engine.hidden_states(PROMPTS):
        torch.testing.assert_close(state, states[key], rtol=1e-5, atol=1e-5)


def test_a_single_row_that_does_not_fit_is_refused(tiny_engine, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("no room")

    list(tiny_engine.sample([request("one", range(1))], PLAIN))  # it was loaded and checked
    monkeypatch.setattr(PackedForward, "_run", full)
    with pytest.raises(ModelError, match="a single row"):
        list(tiny_engine.sample(asked_often(), Decoding(1.0, 0.9, 8)))
    with pytest.raises(ModelError, match="a single row"):
        list(tiny_engine.hidden_states(PROMPTS))


def asked_often() -> list[SampleRequest]:
    return [request(key, range(20)) for key in PROMPTS]


def test_a_base_model_is_asked_with_solved_examples_and_stops_at_its_sign(tiny_model, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = None
    AutoModelForCausalLM.from_pretrained(tiny_model).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    few_shot = FewShotConfig("Q: 1\nA: 2\n\nQ: {question}\nA:", "a")
    config = ModelConfig(name="base", hub_id=str(tmp_path), few_shot=few_shot)
    settings = TransformersConfig(device="cpu", dtype="float32")
    engine = TransformersEngine(config, settings, Weights(str(tmp_path), None, "base"))
    assert engine._tokens({"k": "x"})["k"] == tokenizer("Q: 1\nA: 2\n\nQ: x\nA:")["input_ids"]
    responses = list(engine.sample([request("one", range(200))], Decoding(1.0, 1.0, 30)))
    assert {r.finish_reason for r in responses} == {"stop", "length"}
    assert not any("a" in r.text for r in responses)
    assert {r.completion_tokens for r in responses if r.finish_reason == "stop"} != {30}


def test_p_true_is_read_behind_the_reasoning(tiny_model):
    config = ModelConfig(name="tiny", hub_id=str(tiny_model), reasoning="think")
    settings = TransformersConfig(device="cpu", dtype="float32")
    engine = TransformersEngine(config, settings, Weights(str(tiny_model), None, "tiny"))
    encode = engine._tokenizer.encode
    thought = encode("<think>hm</think>\n\nYes")
    drawn = {0: thought, 1: encode("<think>hm"), 2: encode("No")}
    engine._draw = lambda *_: (Finished(i, 0, tokens, True) for i, tokens in drawn.items())
    found = dict(engine.choice_probabilities(asked(), ["Yes", "No"], Decoding(1, 1, 20)))
    assert found["two"].probabilities == {"Yes": 0, "No": 0}
    assert found["two"].completion_tokens == len(drawn[1])
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    for key, before in (("one", thought[:-1]), ("three", [])):
        tokens = torch.tensor([[*engine._tokens(PROMPTS)[key], *before]])
        expected = model(tokens).logits[0, -1].softmax(-1)[encode("Yes")[0]].item()
        assert found[key].probabilities["Yes"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("architecture", "way"),
    [
        ("granite", "packed"), ("cohere2", "packed"), ("gpt_oss", "packed"), ("gemma3", "packed"),
        ("gpt2", "packed"), ("gemma2", "batched"), ("qwen3_next", "batched"),
        ("rwkv", "recomputed"),
    ],
)  # fmt: skip
def test_an_engine_reads_what_transformers_itself_gives_for_each_prompt_alone(
    architecture, way, tmp_path, capsys
):
    engine = saved_engine(architecture, tmp_path)
    states = dict(engine.hidden_states(PROMPTS))
    probabilities = dict(engine.choice_probabilities(asked(), ["Yes", "No"], PLAIN))
    said = capsys.readouterr().err
    assert said.count("\n") == (way != "packed")
    assert (f"in the way '{way}'" in said) == (way != "packed")
    assert engine.settings.items() >= {"way": way, "dtype": "float32"}.items()
    assert float(engine.settings["check"]) < 1e-4
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    yes = engine._tokenizer.convert_tokens_to_ids("Yes")
    for key, prompt in PROMPTS.items():
        tokens = torch.tensor([engine._tokens({key: prompt})[key]])
        with torch.inference_mode():
            output = model(tokens, use_cache=False, output_hidden_states=True)
        expected = torch.stack([layer[0, -1] for layer in output.hidden_states])
        torch.testing.assert_close(states[key], expected, rtol=1e-4, atol=1e-4)
        wanted = output.logits[0, -1].softmax(-1)[yes].item()
        assert probabilities[key].probabilities["Yes"] == pytest.approx(wanted, abs=1e-5)


def saved_engine(
    architecture: str | PreTrainedModel,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> TransformersEngine:
    model = build(architecture) if isinstance(architecture, str) else architecture
    model.save_pretrained(folder)
    (tokenizer or tiny_tokenizer()).save_pretrained(folder)
    settings = TransformersConfig(device="cpu", dtype="float32", token_budget=64)
    config = ModelConfig(name="tiny", hub_id=str(folder))
    return TransformersEngine(config, settings, Weights(str(folder), None, "tiny"))


def test_logits_that_are_not_finite_are_an_error_state_of_their_question_alone(
    tiny_model: Path, tmp_path: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    with torch.no_grad():
        model.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids("~")] = float("inf")
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    config = ModelConfig(name="tiny", hub_id=str(tmp_path))
    settings = TransformersConfig(device="cpu", dtype="float32")
    engine = TransformersEngine(config, settings, Weights(str(tmp_path), None, "tiny"))
    requests = [request("one", range(4)), request("two", range(4), "~")]
    responses = list(engine.sample(requests, Decoding(1.0, 0.9, 4)))
    broken = [r for r in responses if r.question_id == "two"]
    assert [(r.finish_reason, r.text) for r in broken] == [("error", "")] * 4
    assert all("not finite in torch.float32" in str(r.error) for r in broken)
    whole = [r for r in responses if r.question_id == "one"]
    assert all(r.error is None and r.finish_reason != "error" for r in whole)
    found = dict(engine.choice_probabilities(requests, ["Yes", "No"], PLAIN))
    assert "not finite" in str(found["two"].error)
    assert found["one"].error is None
    assert 0 < found["one"].probabilities["Yes"] < 1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("rows", [1, 2, 8])
def test_what_overflows_reaches_no_other_question_and_float32_draws_it_anew(
    tiny_model: Path, tmp_path: Path, dtype: str, rows: int
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    with torch.no_grad():  # more than float16 holds, of a token that is never among the first five
        embedding = model.get_input_embeddings().weight
        embedding[tokenizer.convert_tokens_to_ids("~")] = 1e6
        model.get_output_embeddings().weight[tokenizer.convert_tokens_to_ids("~")] = 0.0
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    config = ModelConfig(name="tiny", hub_id=str(tmp_path))
    settings = TransformersConfig(device="cpu", dtype=dtype, max_rows=rows, token_budget=64)
    engine = TransformersEngine(config, settings, Weights(str(tmp_path), None, "tiny"))
    # Long prompts run while those of middle length break, whose rows the short ones take then.
    whole = [request(f"ok {i}", range(4), "How? " * (20 if i < 3 else 1)) for i in range(6)]
    broken = [request(f"~ {i}", range(2), "Is ~ it? " * 5) for i in range(2)]
    responses = list(engine.sample(broken + whole, Decoding(0.7, 1.0, 24, top_k=5)))
    assert len(responses) == 28
    for response in responses:
        overflows = dtype == "float16" and response.question_id.startswith("~")
        assert (response.finish_reason == "error") == overflows
    states = dict(engine.hidden_states({"~": "~ is", "ok": "How?"}))
    assert states["ok"].isfinite().all()
    assert states["~"].isfinite().all() == (dtype != "float16")


def test_end_tokens_are_those_of_the_generation_settings_and_of_the_tokenizer(
    tiny_model: Path, tmp_path: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    others = tokenizer.convert_tokens_to_ids(["e", "a"])
    for end in (others, others[0], None):
        model.generation_config.eos_token_id = end
        model.save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        config = ModelConfig(name="tiny", hub_id=str(tmp_path))
        settings = TransformersConfig(device="cpu", dtype="float32")
        engine = TransformersEngine(config, settings, Weights(str(tmp_path), None, "tiny"))
        expected = {tokenizer.eos_token_id, *(end if isinstance(end, list) else [end])} - {None}
        assert engine._vocabulary.ends == expected


def test_a_tokenizer_without_chat_template_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="no chat template"):
        TransformersEngine(
            ModelConfig(name="bare"), TransformersConfig(), Weights(str(tmp_path), None, "bare")
        )


def test_a_prompt_longer_than_the_model_reads_is_refused(tiny_engine: TransformersEngine) -> None:
    with pytest.raises(ModelError, match=r"'one'.*2048"):
        list(tiny_engine.sample([request("one", range(1), "x" * 2100)], Decoding(1, 1, 2)))


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing-here"):
        TransformersEngine(
            ModelConfig(name="gone"),
            TransformersConfig(),
            Weights(str(tmp_path / "nothing-here"), None, "gone"),
        )


def test_real_model_answers_and_knows_its_layers(smollm2: TransformersEngine) -> None:
    prompt = "What is the capital of France? Reply with the name only."
    responses = list(smollm2.sample([request("paris", range(8), prompt)], Decoding(0.7, 0.95, 12)))
    assert sum("Paris" in response.text for response in responses) >= 6
    ((_, states),) = smollm2.hidden_states({"paris": prompt})
    assert states.shape == (31, 576)
    assert states.isfinite().all()


PENALISED = Decoding(
    1.0, 0.95, 24, top_k=40, min_p=0.01, repetition_penalty=1.4, presence_penalty=0.5,
    frequency_penalty=0.3,
)  # fmt: skip


def test_penalties_count_a_sample_own_tokens_whatever_shares_its_row_or_batch(
    tiny_engine: TransformersEngine,
) -> None:
    requests = [request(key, range(12)) for key in PROMPTS]
    together = by_sample(list(tiny_engine.sample(requests, PENALISED)))
    for key in PROMPTS:
        for index in range(12):
            (alone,) = tiny_engine.sample([request(key, range(index, index + 1))], PENALISED)
            assert alone.text == together[key, index]
    plain = by_sample(list(tiny_engine.sample(requests, Decoding(1.0, 0.95, 24))))
    assert sum(plain[key] != together[key] for key in plain) > 30


def test_greedy_samples_with_a_penalty_are_those_of_generate(
    tiny_engine: TransformersEngine, tiny_model: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    decoding = Decoding(0.0, 1.0, 16, repetition_penalty=1.5)
    prompts = {key: f"These words are in every prompt. {text}" for key, text in PROMPTS.items()}
    requests = [request(key, range(1), prompt) for key, prompt in prompts.items()]
    for response in tiny_engine.sample(requests, decoding):
        chat = [{"role": "user", "content": prompts[response.question_id]}]
        inputs = tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        output = model.generate(
            **inputs, max_new_tokens=16, do_sample=False, repetition_penalty=1.5, pad_token_id=0
        )[0, inputs["input_ids"].shape[1] :]
        assert response.text == tokenizer.decode(output, skip_special_tokens=True)


def test_settings_of_decoding_leave_p_true_alone(tiny_engine: TransformersEngine) -> None:
    plain = dict(tiny_engine.choice_probabilities(asked(), ("Yes", "No"), PLAIN))
    assert dict(tiny_engine.choice_probabilities(asked(), ("Yes", "No"), PENALISED)) == plain


def test_hidden_states_keep_the_models_precision_and_every_nth_layer(tiny_model: Path) -> None:
    config = ModelConfig(name="tiny", hub_id=str(tiny_model))
    weights = Weights(str(tiny_model), None, "tiny")

    def read(**settings):
        engine = TransformersEngine(config, TransformersConfig(device="cpu", **settings), weights)
        return dict(engine.hidden_states(PROMPTS))

    every = read(dtype="bfloat16")
    assert {(states.dtype, tuple(states.shape)) for states in every.values()} == {
        (torch.bfloat16, (4, 32))
    }
    whole = read(dtype="float32")
    for key, states in read(dtype="float32", layers=2).items():
        assert states.dtype == torch.float32
        assert torch.equal(states, whole[key][[0, 2]])
    assert all(torch.equal(s, whole[k][[0, 3]]) for k, s in read(dtype="float32", layers=3).items())
