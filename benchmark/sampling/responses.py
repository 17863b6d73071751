"""Stage 2: k responses per question, resumable per (question, sample)."""

import time
from collections.abc import Mapping
from dataclasses import asdict

import polars as pl
from rich.console import Console

from benchmark.engines import Decoding, Engine, SampleRequest
from benchmark.progress import meter
from benchmark.records import RESPONSE, STORED_RESPONSE
from benchmark.sampling.seeds import sample_seed
from benchmark.store.artifact import Artifact, prompt_hash

_PART_SECONDS = 5.0  # of work that a killed run may lose
_PART_ROWS = 2000
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
    console: Console,
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
        console: shows progress.
        what: names the work in the progress line.

    Returns:
        A table of schema ``RESPONSE``, sorted by question id and sample index. A response whose
        request failed has finish_reason ``error`` and is drawn again by the next run.
    """
    wanted = wanted_samples(prompts, k)
    hashes = dict(wanted["question_id", "prompt_hash"].unique().iter_rows())
    with artifact.lock():
        stored = artifact.read_table(STORED_RESPONSE)
        settings = None
        missing = wanted.join(drawn_samples(stored), on=SAMPLE, how="anti")
        if missing.height:
            requests = [
                SampleRequest(
                    question_id, prompts[question_id], tuple(indices),
                    tuple(sample_seed(seed, question_id, index) for index in indices),
                )
                for question_id, indices in missing.group_by("question_id", maintain_order=True)
                .agg("sample_index")
                .iter_rows()
            ]  # fmt: skip
            _collect(requests, missing.height, hashes, engine, decoding, artifact, console, what)
            stored, settings = artifact.read_table(STORED_RESPONSE), engine.settings
        artifact.write_manifest({"responses": stored.height}, {}, settings)
    drawn = drawn_samples(stored)
    failed = stored.join(drawn, on=SAMPLE, how="anti")
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


def drawn_samples(stored: pl.DataFrame) -> pl.DataFrame:
    """Return the stored responses whose requests succeeded."""
    return stored.filter(pl.col("finish_reason") != "error")


def _collect(
    requests: list[SampleRequest],
    total: int,
    hashes: Mapping[str, str],
    engine: Engine,
    decoding: Decoding,
    artifact: Artifact,
    console: Console,
    what: str,
) -> None:
    rows: list[dict[str, object]] = []

    def flush() -> None:
        if rows:
            artifact.append_table(pl.DataFrame(rows, schema=STORED_RESPONSE))
            rows.clear()

    last = time.monotonic()
    with meter(console, what, total) as progress:
        try:
            for response in engine.sample(requests, decoding):
                rows.append(asdict(response) | {"prompt_hash": hashes[response.question_id]})
                progress.advance(tokens=response.completion_tokens or 0)
                if len(rows) >= _PART_ROWS or time.monotonic() - last > _PART_SECONDS:
                    flush()
                    last = time.monotonic()
        finally:  # what was drawn before a fault is kept
            flush()
