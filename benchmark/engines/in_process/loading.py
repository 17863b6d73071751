"""Model and tokenizer from their files; what is not whole, or can't render a prompt, is refused."""

from typing import Any

import torch
import transformers

from benchmark.config.schema import ModelConfig
from benchmark.engines.complete_weights import refuse_incomplete
from benchmark.engines.device import find_dtype
from benchmark.engines.pretrained import pretrained
from benchmark.engines.prompts import check_template
from benchmark.engines.settings import TransformersConfig
from benchmark.engines.weights import Weights, unavailable
from benchmark.errors import ModelError


def load_tokenizer(config: ModelConfig, weights: Weights) -> Any:
    """Return the tokenizer, whose chat template is known to render the model's prompts.

    Raises:
        ModelError: it can't be had, or there is neither a fitting template nor ``few_shot``.
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        tokenizer = pretrained(transformers.AutoTokenizer, weights.location, weights.revision)
    except Exception as error:  # of many libraries
        raise unavailable(config.name, weights.location, error) from error
    if config.few_shot is not None:
        return tokenizer
    if not (tokenizer.chat_template or config.chat_template_kwargs.get("chat_template")):
        raise ModelError(
            f"model={config.name}: the tokenizer of {weights.location} has no chat template, so "
            f"its prompts can't be rendered; choose an instruct model, or give solved examples as "
            f"model.few_shot.template."
        )
    check_template(config, weights.location, tokenizer)
    return tokenizer


def load_model(
    config: ModelConfig, settings: TransformersConfig, weights: Weights, device: torch.device
) -> transformers.PreTrainedModel:
    """Return the model in evaluation mode on its device.

    Raises:
        ModelError: it can't be had, or its files lack weights.
        torch.OutOfMemoryError: it doesn't fit.
    """
    try:
        model, report = pretrained(
            _kind(weights),
            weights.location,
            weights.revision,
            use_safetensors=True,  # pickles run code
            dtype=find_dtype(settings.device, settings.dtype),
            device_map=settings.device_map,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # and refuse them by name
            return_dict=True,  # whatever config.json says
        )
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # of many libraries
        raise unavailable(config.name, weights.location, error) from error
    refuse_incomplete(config.name, weights.location, report)
    return (model if settings.device_map else model.to(device)).eval()


def _kind(weights: Weights) -> Any:
    """Return the class that loads the model; one that also reads images may have no other."""
    config = pretrained(transformers.AutoConfig, weights.location, weights.revision)
    causal, seeing = transformers.AutoModelForCausalLM, transformers.AutoModelForImageTextToText
    known = [type(config) in kind._model_mapping for kind in (causal, seeing)]
    return seeing if known == [False, True] else causal
