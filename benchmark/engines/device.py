"""Where a model in this process runs, and in which precision."""

import torch

from benchmark.errors import ModelError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def find_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` takes an accelerator where there is one.

    Raises:
        ModelError: it isn't one, or isn't there.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if name == "auto":
        return accelerator or torch.device("cpu")
    here = ["cpu"]
    if accelerator is not None:
        count = torch.accelerator.device_count()
        here += [accelerator.type, *(f"{accelerator.type}:{i}" for i in range(count))]
    if name not in here:
        raise ModelError(f"engine.device={name} is not there; this machine has auto, {here}.")
    return torch.device(name)


def find_dtype(device: str, name: str) -> torch.dtype:
    """Return the precision of a name; ``auto`` is bfloat16 where the device computes it.

    Raises:
        ModelError: the device isn't there.
    """
    if name != "auto":
        return _DTYPES[name]
    on_cpu = find_device(device).type == "cpu"
    slow = on_cpu and not torch.cpu._is_avx512_bf16_supported()
    return torch.float32 if slow else torch.bfloat16
