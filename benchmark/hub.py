"""The Hugging Face Hub: whether it can be reached at all, and which commit a name means."""

import re
from contextlib import suppress
from functools import cache

import huggingface_hub
from huggingface_hub import constants

NO_HUB = f"the Hugging Face Hub ({constants.ENDPOINT}) can't be reached"
_SECONDS = 10.0
_TRIES = 2


@cache
def reach_hub() -> bool:
    """Tell whether the Hub can be reached; where it can't, its libraries use their caches only.

    By themselves they ask again for every file of a model, for minutes, before they give up.
    """
    for _ in range(_TRIES):
        with suppress(Exception):  # of the client or the network, of many kinds
            huggingface_hub.get_session().head(constants.ENDPOINT, timeout=_SECONDS)
            return True
    constants.HF_HUB_OFFLINE = True
    return False


def hub_commit(hub_id: str, revision: str | None, kind: str = "model") -> str:
    """Return the commit that a revision means now; a branch such as ``main`` moves.

    Args:
        hub_id: on the Hub.
        revision: a commit, a branch or a tag; None is ``main``.
        kind: model or dataset.

    Raises:
        OSError: the Hub doesn't tell.
    """
    revision = revision or "main"
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    try:
        return str(huggingface_hub.HfApi().repo_info(hub_id, revision=revision, repo_type=kind).sha)
    except Exception as error:  # of the client, the network or the id, of many kinds
        raise OSError(str(error)) from error
