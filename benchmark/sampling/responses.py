"""Stage 2: k responses per question, resumable per (question, sample)."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict

import polars as pl

from benchmark.engines import Decoding, Engine, SampleRequest
from benchmark.records import RESPONSE, STORED_RESPONSE
from benchmark.sampling.seeds import sample_seed
from benchmark.store.artifact import Artifact, prompt_hash
from benchmark.store.claims import fill_together
from benchmark.store.rows import Row, table_rows

_FAILED = pl.col("finish_reason") == "error"
RESPONSES = table_rows(STORED_RESPONSE, "responses", ~_FAILED)
SAMPLE = ["question_id", "prompt_hash", "sample_index"]  # what tells one response from another

Many = int | Mapping[str, int]  # responses to each question, or to some questions by id


def sample_responses(
    prompts: Mapping[str, str],
    k: Many,
    *,
    engine: Engine,
    decoding: Decoding,
    seed: int,
    artifact: Artifact,
    what: str,
) -> pl.DataFrame:
    """Return responses 0 .. k - 1 to every prompt, drawing only those that the artifact lacks.

    Args:
        prompts: user turn by question id.
        k: responses to each question, or to some questions by id.
        engine: draws them.
        decoding: how.
        seed: every (question, sample) derives its own from it.
        artifact: where they are kept.
        what: names the work in the progress line.

    Returns:
        A table of schema ``RESPONSE``, sorted by question id and sample index. A response whose
        request failed has finish_reason ``error`` and is drawn again by the next run.
    """
    wanted = wanted_samples(prompts, k)
    hashes = dict(wanted["question_id", "prompt_hash"].unique().iter_rows())

    def requests(pieces: Iterator[pl.DataFrame]) -> Iterator[SampleRequest]:
        for piece in pieces:
            each = piece.group_by("question_id", maintain_order=True).agg("sample_index")
            for question_id, indices in each.iter_rows():
                yield SampleRequest(
                    question_id, prompts[question_id], tuple(indices),
                    tuple(sample_seed(seed, question_id, index) for index in indices),
                    first_seed=sample_seed(seed, question_id, 0),
                )  # fmt: skip

    def draw(pieces: Iterator[pl.DataFrame]) -> Iterator[list[Row]]:
        together: list[Row] = []
        for response in engine.sample(requests(pieces), decoding):
            row = asdict(response) | {"prompt_hash": hashes[response.question_id]}
            if not row.pop("more"):
                yield [*together, row]
                together = []
            else:
                together.append(row)

    stored = fill_together(artifact, wanted, draw, RESPONSES, what, lambda: engine.settings)
    drawn = stored.filter(~_FAILED)
    failed = stored.filter(_FAILED).join(drawn, on=SAMPLE, how="anti")
    found = wanted.join(pl.concat([drawn, failed]), on=SAMPLE, how="inner").unique(subset=SAMPLE)
    return found.select(list(RESPONSE)).sort("question_id", "sample_index")


def wanted_samples(prompts: Mapping[str, str], k: Many) -> pl.DataFrame:
    """Return the columns ``SAMPLE`` of responses 0 .. k - 1 to every prompt."""
    each = dict.fromkeys(prompts, k) if isinstance(k, int) else k
    wanted = pl.DataFrame(
        [(key, prompt_hash(prompts[key]), number) for key, number in each.items()],
        schema={"question_id": pl.String(), "prompt_hash": pl.String(), "k": pl.Int64()},
        orient="row",
    )
    indices = wanted.select("question_id", "prompt_hash", sample_index=pl.int_ranges(0, "k"))
    return indices.explode("sample_index")
