"""What a request for samples says, in the words of every kind of server.

Nothing that decides what is sampled is left to a server: what isn't said, llama.cpp fills in with
settings of its own, vLLM and SGLang with those of the model's ``generation_config``. Each reads its
own names and passes over the others'; ``terms`` leaves out what an endpoint refuses.
"""

from typing import Any

from benchmark.config.schema import ModelConfig
from benchmark.engines import Decoding
from benchmark.engines.prompts import chat_messages, few_shot_text

SEEDS = 2**31  # number of different seeds: some servers read signed integers of 32 bits
_EVERY_TOKEN = 2**17  # tokens that a penalty looks back on: more than any prompt and response have


def sample_body(
    model: ModelConfig, served: str, prompt: str, decoding: Decoding, n: int, seed: int
) -> dict[str, Any]:
    """Return the request for n samples of a prompt.

    Args:
        model: settings of the model, which say how a prompt is put to it.
        served: name of the model at the endpoint.
        prompt: text of the user's turn.
        decoding: how samples are drawn.
        n: number of samples.
        seed: seed of the whole request, in [0, 2^31).
    """
    body = {"model": served, "n": n, "seed": seed, **_settings(decoding)}
    if model.few_shot is not None:
        text, stop = few_shot_text(model.few_shot, prompt), [model.few_shot.stop]
        return body | {"prompt": text, "stop": stop, "max_tokens": decoding.max_new_tokens}
    body["messages"] = chat_messages(model, prompt)
    body["max_completion_tokens"] = decoding.max_new_tokens
    arguments = dict(model.chat_template_kwargs)
    if "reasoning_effort" in arguments:  # the protocol has a field of its own for it
        body["reasoning_effort"] = arguments["reasoning_effort"]
    if arguments:
        body["chat_template_kwargs"] = arguments
    return body


def token_body(served: str) -> dict[str, Any]:
    """Return the request for one token at temperature 1, which lacks its prompt of ids."""
    settings = _settings(Decoding(1.0, 1.0, 1))
    return {"model": served, "n": 1, "seed": 0, "max_tokens": 1, **settings}


def logprobs_of(model: ModelConfig, top: int) -> dict[str, Any]:
    """Return the fields that ask for each token's ``top`` log probabilities."""
    if model.few_shot is not None:
        return {"logprobs": top}
    return {"logprobs": True, "top_logprobs": top}


def _settings(decoding: Decoding) -> dict[str, Any]:
    penalty = 1.0 if decoding.repetition_penalty is None else decoding.repetition_penalty
    settings = {
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "top_k": decoding.top_k or -1,
        "min_p": decoding.min_p or 0.0,
        "repetition_penalty": penalty,
        "presence_penalty": decoding.presence_penalty or 0.0,
        "frequency_penalty": decoding.frequency_penalty or 0.0,
    }
    return settings | _llama_cpp(decoding, penalty)


def _llama_cpp(decoding: Decoding, penalty: float) -> dict[str, Any]:
    """Return what only llama.cpp's server reads: its samplers in the order of ``Decoding``.

    By itself it takes the temperature last, counts 64 tokens for a penalty, and sorts the whole
    vocabulary for a sampler that keeps all of it.
    """
    penalties = penalty, decoding.presence_penalty or 0.0, decoding.frequency_penalty or 0.0
    samplers = {
        "penalties": penalties != (1, 0, 0),
        "temperature": True,
        "min_p": decoding.min_p,
        "top_k": decoding.top_k,
        "top_p": decoding.top_p < 1,
    }
    used = [name for name, needed in samplers.items() if needed]
    settings = {"repeat_penalty": penalty, "samplers": used, "mirostat": 0, "dynatemp_range": 0.0}
    return settings | ({"repeat_last_n": _EVERY_TOKEN} if penalty != 1 else {})
