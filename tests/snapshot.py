"""What a run left in its outputs, as checksums that two undisturbed runs share."""

import hashlib
import json
from collections import Counter
from collections.abc import Hashable, Iterable
from pathlib import Path

import polars as pl
import safetensors
import safetensors.torch
from rich.console import Console

from benchmark.cell.saved import load_cell, read_listing
from benchmark.store.artifact import Artifact

KEYS = {  # of rows that cost model time, by stage
    "responses": ["question_id", "prompt_hash", "sample_index"],
    "verbalized": ["question_id", "prompt_hash", "sample_index"],
    "p_true": ["question_id", "prompt_hash"],
    "verdicts": ["key"],
}


def snapshot(outputs: Path) -> dict[str, str]:
    """Return a checksum of each table, hidden state, probe and CSV file of the newest report.

    Failed requests, which are asked again, are left out. Checksums of names are read back.

    Raises:
        AssertionError: a row is doubled, or a manifest doesn't list the parts that are there.
        StoreError: a part is damaged.
    """
    found: dict[str, str] = {}
    for folder in sorted((outputs / "store").glob("*/*/*/*-*")):
        name, stage = "/".join(folder.parts[-4:]), folder.name.rsplit("-", 1)[0]
        artifact = Artifact(folder, {}, Console(quiet=True))
        if stage == ".cell":  # the lock of the cell
            continue
        if stage == "cell":
            found |= _cell(folder, name)
            continue
        if parts := artifact.parts(".parquet"):
            table = pl.concat([pl.read_parquet(p, hive_partitioning=False) for p in parts])
            if "finish_reason" in table.columns:
                table = table.filter(pl.col("finish_reason") != "error")
            if stage in KEYS:
                _expect_once(table.select(KEYS[stage]).iter_rows(), name)
            found[name] = _checksum(table)
        elif parts := artifact.parts(".safetensors"):
            found[name] = _features(parts, name)
        _check_manifest(folder)
    return found


def _cell(folder: Path, name: str) -> dict[str, str]:
    """Return the checksums of a finished cell's tables, its responses, and its report's files."""
    load_cell(folder).responses.collect()
    content = read_listing(folder)
    own = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    own -= {"cell.json", "report.json"}
    assert own == content["files"].keys(), f"{folder}/cell.json lists other files"
    found = {
        f"{name}/{file}": _checksum(pl.read_parquet(folder / file, glob=False))
        if file.endswith(".parquet")
        else checksum
        for file, checksum in content["files"].items()
    }
    found[f"{name}/others"] = json.dumps(
        {k: v for k, v in content.items() if k in ("estimates", "failed", "complete", "parents")}
    )
    report = folder.parents[4] / json.loads((folder / "report.json").read_text())["report"]
    for path in sorted(report.parent.glob("*.csv")):
        found[f"{name}/report/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _features(parts: Iterable[Path], name: str) -> str:
    rows = []
    for path in parts:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        states = safetensors.torch.load_file(path)["features"]
        keys = zip(json.loads(metadata["question_ids"]), json.loads(metadata["prompt_hashes"]),
                   strict=True)  # fmt: skip
        rows += [(*key, state.numpy().tobytes()) for key, state in zip(keys, states, strict=True)]
    _expect_once([row[:2] for row in rows], name)
    return hashlib.sha256(repr(sorted(rows)).encode()).hexdigest()


def _checksum(table: pl.DataFrame) -> str:
    """Return a checksum of the rows in any order; every bit of a number counts."""
    text = "\n".join([repr(table.columns), *sorted(map(repr, table.rows()))])
    return hashlib.sha256(text.encode()).hexdigest()


def _expect_once(keys: Iterable[Hashable], name: str) -> None:
    doubled = [key for key, times in Counter(keys).items() if times > 1]
    assert not doubled, f"{name}: {len(doubled)} rows are doubled, the first is {doubled[0]}"


def _check_manifest(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    parts = sorted(path.name for path in folder.glob("part-*"))
    assert manifest["parts"] == parts, f"{folder}/manifest.json lists other parts"


def differences(ours: dict[str, str], theirs: dict[str, str]) -> list[str]:
    """Return the names that differ or are missing on either side."""
    return sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
