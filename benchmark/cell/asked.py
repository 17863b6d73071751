"""What is asked of the model: the plan counts it, and the run asks for what of it is missing."""

from collections.abc import Mapping
from typing import NamedTuple

import polars as pl

from benchmark.store.artifact import Artifact, prompt_hash
from benchmark.store.rows import Rows

HIDDEN = "hidden states"  # the kind that gives no reply


class Asked(NamedTuple):
    """What is asked for, of one kind and split.

    Attributes:
        kind: name of the kind of replies, as in the paper's table of their lengths; or ``HIDDEN``.
        artifact: place where the replies are kept.
        rows: how they are kept; their key begins with question_id and prompt_hash.
        prompts: user turn by key.
        k: number of replies to each prompt.
        cap: largest number of tokens of a reply.
    """

    kind: str
    artifact: Artifact
    rows: Rows
    prompts: Mapping[str, str]
    k: int = 1
    cap: int = 1

    @property
    def split(self) -> str:
        """The name of the questions' split, in the words of their dataset."""
        return self.artifact.folder.parent.name

    @property
    def dataset(self) -> str:
        """The dataset of these questions."""
        return self.artifact.folder.parents[1].name

    @property
    def keys(self) -> pl.DataFrame:
        """Columns question_id and prompt_hash, a row for each prompt."""
        hashes = [prompt_hash(prompt) for prompt in self.prompts.values()]
        names = {"question_id": pl.String(), "prompt_hash": pl.String()}
        return pl.DataFrame({"question_id": [*self.prompts], "prompt_hash": hashes}, names)
