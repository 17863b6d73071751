"""vLLM's connector for hidden states, which here writes those of a prompt's last token alone.

It runs in vLLM's process and imports nothing of this project. vLLM's own one copies all tokens into
pinned memory first, which a machine without an accelerator doesn't have.
"""

import os
from typing import Any

from safetensors.torch import save_file
from vllm.distributed.kv_transfer.kv_connector.v1.example_hidden_states_connector import (
    ExampleHiddenStatesConnector,
)


class _Written:
    """Stands for the event of a copy that is done."""

    def query(self) -> bool:
        return True


class LastTokenStates(ExampleHiddenStatesConnector):  # type: ignore[misc]
    """Writes ``hidden_states`` [layers, width] and the prompt's ``token_ids`` of each request."""

    def _submit_async_write(self, pending: Any) -> None:
        if not self._is_tp_rank_zero:
            return
        block, place = divmod(len(pending.token_ids) - 1, self._block_size)
        states = self._kv_cache[pending.block_ids[block], :, place]
        save_file(
            {"hidden_states": states.cpu().contiguous(), "token_ids": pending.token_ids},
            pending.filename,
        )
        lock = self._lock_fds.pop(pending.req_id, None)
        if lock is not None:
            os.close(lock)  # a reader waits for it
        self._req_copy_events[pending.req_id] = _Written()
