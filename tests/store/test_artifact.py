import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from rich.console import Console

from benchmark.errors import StoreError
from benchmark.store.artifact import Artifact, Store, fingerprint, read_manifest, sealed
from benchmark.store.hidden_states import StoredFeatures, append_features, read_features
from benchmark.store.rows import Row, parquet, table_rows

SCHEMA = pl.Schema({"question_id": pl.String(), "value": pl.Int64()})


def rows(*values: int) -> pl.DataFrame:
    return pl.DataFrame({"question_id": [str(v) for v in values], "value": values}, schema=SCHEMA)


def fill(artifact: Artifact, *values: int) -> list[int]:
    """Let the artifact hold rows; return those that had to be made."""
    made: list[int] = []

    def produce(missing: pl.DataFrame) -> Iterator[Row]:
        for row in missing.iter_rows(named=True):
            made.append(row["value"])
            yield row

    artifact.fill(rows(*values), produce, table_rows(SCHEMA, "rows"), "Rows")
    return made


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return Store(tmp_path, Console(quiet=True)).artifact("m", "d", "test", "responses", {"a": 1})


def test_parts_add_up(artifact: Artifact) -> None:
    with artifact.lock():
        artifact.append_table(rows(1, 2))
        artifact.append_table(rows(3))
        assert sorted(artifact.read_table(SCHEMA)["value"]) == [1, 2, 3]


def test_an_artifact_without_parts_is_an_empty_table(artifact: Artifact) -> None:
    assert_frame_equal(artifact.read_table(SCHEMA), rows())


def test_a_damaged_part_is_refused_by_name(artifact: Artifact) -> None:
    with artifact.lock():
        path = artifact.append_table(rows(1, 2))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match=rf"{path.name} is damaged.*Delete"):
        artifact.read_table(SCHEMA)


def test_a_truncated_part_is_refused(artifact: Artifact) -> None:
    with artifact.lock():
        path = artifact.append_table(rows(1, 2))
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(StoreError, match="damaged"):
        artifact.read_table(SCHEMA)


def test_what_a_killed_process_left_half_written_is_not_read(artifact: Artifact) -> None:
    with artifact.lock():
        artifact.append_table(rows(1))
    leftover = artifact.folder / ".partial-123-part-0000.parquet"
    leftover.write_bytes(b"half")
    with artifact.lock():
        assert artifact.read_table(SCHEMA).height == 1
    assert leftover.exists()  # another run may be writing it
    os.utime(leftover, (0, 0))
    with artifact.lock():
        assert not leftover.exists()


def test_only_missing_rows_are_made_and_the_manifest_says_what_there_is(artifact: Artifact) -> None:
    assert fill(artifact, 1, 2) == [1, 2]
    assert fill(artifact, 3, 2) == [3]
    assert fill(artifact, 1) == []
    assert sorted(artifact.read_table(SCHEMA)["value"]) == [1, 2, 3]
    manifest = json.loads((artifact.folder / "manifest.json").read_text())
    assert manifest["inputs"] == {"a": 1}
    assert manifest["counts"] == {"rows": 3}
    assert manifest["parts"] == sorted(path.name for path in artifact.folder.glob("part-*"))


def test_a_manifest_stays_until_what_it_says_changes(artifact: Artifact) -> None:
    fill(artifact, 1)
    early = read_manifest(artifact.folder) | {"written": "2020-01-01T00:00:00+00:00"}
    artifact.write("manifest.json", sealed(early))
    fill(artifact, 1)
    assert read_manifest(artifact.folder) == early
    fill(artifact, 2)
    assert len(read_manifest(artifact.folder)["parts"]) == 2
    assert read_manifest(artifact.folder)["written"] > early["written"]


def add_unmarked(artifact: Artifact, *values: int) -> Path:
    """Add a part as releases before marks wrote it."""
    return artifact.append(parquet(rows(*values)), ".parquet")


def as_before_marks(artifact: Artifact) -> None:
    """Let the manifest be one that was written before there were marks."""
    known = read_manifest(artifact.folder)
    del known["marked"]
    artifact.write("manifest.json", sealed(known))


def test_parts_of_earlier_releases_are_read_and_listed(artifact: Artifact) -> None:
    fill(artifact)
    add_unmarked(artifact, 1, 2)
    as_before_marks(artifact)
    add_unmarked(artifact, 3)  # by a run that was killed before it wrote the manifest
    assert fill(artifact, 1, 2, 3, 4) == [4]
    assert fill(artifact, 1, 2, 3, 4) == []
    (artifact.folder / "manifest.json").unlink()
    assert fill(artifact, 1, 2, 3, 4) == []


def test_a_part_without_a_mark_is_anothers_once_all_have_one(artifact: Artifact) -> None:
    fill(artifact, 1)
    part = add_unmarked(artifact, 2)
    with pytest.raises(StoreError, match=rf"{part} is another artifact's part: it has no mark"):
        fill(artifact, 1)


def test_a_part_without_a_mark_does_not_stand_in_place_of_one_that_is_listed(
    artifact: Artifact,
) -> None:
    with artifact.lock():
        own = add_unmarked(artifact, 1, 2)
    fill(artifact, 1)
    as_before_marks(artifact)
    own.unlink()
    part = add_unmarked(artifact, 1, 3)
    with pytest.raises(StoreError, match=rf"{part} is another artifact's part"):
        fill(artifact, 1)
    part.unlink()
    assert fill(artifact, 1, 2) == [1, 2]


@pytest.mark.parametrize("values", [(1,), (2, 3), (9, 2)])
def test_rows_that_are_there_twice_are_refused_with_both_parts(
    artifact: Artifact, values: tuple[int, ...]
) -> None:
    with artifact.lock():
        parts = [add_unmarked(artifact, 1, 2), add_unmarked(artifact, *values)]
    with pytest.raises(StoreError, match="rows occur twice") as refused:
        fill(artifact, 1)
    assert all(str(part) in str(refused.value) for part in parts)


def test_of_two_parts_with_a_row_the_one_that_is_not_listed_is_named_first(
    artifact: Artifact,
) -> None:
    for values in ((1, 2), (1, 3), (1, 4)):
        fill(artifact, 1)
        with artifact.lock():
            part = artifact.append_table(rows(*values))
        with pytest.raises(StoreError, match=rf"^{part} and "):
            fill(artifact, 1)
        part.unlink()


def test_rows_twice_in_one_part_are_refused(artifact: Artifact) -> None:
    with artifact.lock():
        part = add_unmarked(artifact, 1, 1)
    with pytest.raises(StoreError, match=rf"{part}: rows occur twice"):
        fill(artifact, 1)


def test_anothers_part_is_refused_whether_or_not_the_manifest_lists_it(
    artifact: Artifact, tmp_path: Path
) -> None:
    other = Store(tmp_path, Console(quiet=True)).artifact("m", "d", "test", "responses", {"a": 2})
    fill(artifact, 1)
    fill(other, 2)
    (theirs,) = other.folder.glob("part-*")
    part = shutil.copy(theirs, artifact.folder)
    known = read_manifest(artifact.folder)
    for listed in (known["parts"], sorted([*known["parts"], theirs.name])):
        artifact.write("manifest.json", sealed(known | {"parts": listed}))
        with pytest.raises(StoreError, match=rf"{part} .* a part of {other.fingerprint}, not of"):
            fill(artifact, 1)


def test_a_folder_under_anothers_name_is_refused_and_left_as_it_is(
    artifact: Artifact, tmp_path: Path
) -> None:
    other = Store(tmp_path, Console(quiet=True)).artifact("m", "d", "test", "responses", {"a": 2})
    fill(other, 2)
    other.folder.rename(artifact.folder)
    before = (artifact.folder / "manifest.json").read_bytes()
    with pytest.raises(StoreError, match=rf"manifest.json is that of {other.fingerprint}, but the"):
        fill(artifact, 1)
    assert (artifact.folder / "manifest.json").read_bytes() == before


def test_a_damaged_manifest_is_refused_and_made_anew(artifact: Artifact) -> None:
    fill(artifact, 1)
    path = artifact.folder / "manifest.json"
    whole = path.read_bytes()
    year = whole.index(b'"written": "') + 15  # a year that is another after a flip
    flipped = bytes([*whole[:year], whole[year] ^ 1, *whole[year + 1 :]])
    for damage in (flipped, whole[:-20], b"", b"[]", b"\xff"):
        path.write_bytes(damage)
        with pytest.raises(StoreError, match=r"manifest.json .*; run the cell again"):
            read_manifest(artifact.folder)
        fill(artifact, 1)
        assert read_manifest(artifact.folder)["counts"] == {"rows": 1}


def test_a_fingerprint_depends_on_values_and_not_on_order() -> None:
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_features_come_back_by_question_and_prompt(artifact: Artifact) -> None:
    states = torch.randn(3, 4, 5)
    with artifact.lock():
        append_features(artifact, ["a", "b"], ["1", "2"], states[:2])
        append_features(artifact, ["a"], ["3"], states[2:])
    found = read_features(artifact)
    assert set(found["question_id", "prompt_hash"].rows()) == {("a", "1"), ("b", "2"), ("a", "3")}
    order = pl.DataFrame({"question_id": ["a", "a", "b"], "prompt_hash": ["3", "1", "2"]})
    restored = StoredFeatures(order.join(found, on=order.columns, maintain_order="left"))
    assert restored.shape == (3, 4, 5)
    for layer in range(4):
        assert torch.equal(restored.layer(layer), states[[2, 0, 1], layer])


def test_a_full_disk_is_one_message_and_leaves_nothing_to_trust(tmp_path: Path) -> None:
    code = f"""
        import resource, signal
        from pathlib import Path
        import polars as pl
        from rich.console import Console
        from benchmark.errors import StoreError
        from benchmark.store.artifact import Store
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        artifact = Store(Path({str(tmp_path)!r}), Console()).artifact("m", "d", "s", "x", {{}})
        table = pl.DataFrame({{"value": range(100_000)}})
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            with artifact.lock():
                artifact.append_table(table)
        except StoreError as error:
            print(error)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert "can't be written" in result.stdout
    assert "paths.outputs" in result.stdout
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [".lock"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF])
@pytest.mark.parametrize("call", ["open", "fsync"])
def test_a_file_system_that_cannot_sync_folders_is_written_to(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, code: int, call: str
) -> None:
    opened, synced = os.open, os.fsync

    def refuse() -> None:
        raise OSError(code, os.strerror(code))

    def fsync(descriptor: int) -> None:
        if call == "fsync" and stat.S_ISDIR(os.fstat(descriptor).st_mode):
            refuse()
        synced(descriptor)

    def open_(path: str | Path, flags: int, *rest: int, **others: int) -> int:
        if call == "open" and Path(path).is_dir():
            refuse()
        return opened(path, flags, *rest, **others)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "open", open_)
    fill(artifact, 1, 2)
    assert artifact.read_table(SCHEMA)["value"].to_list() == [1, 2]


@pytest.mark.parametrize("what", ["file", "folder"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_at_fault_is_one_message(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, code: int, what: str
) -> None:
    synced = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == (what == "folder"):
            raise OSError(code, os.strerror(code))
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StoreError, match="can't be written"):
        fill(artifact, 1)
    assert bool(list(artifact.folder.glob("part-*"))) == (what == "folder")


def test_a_folder_that_cannot_be_made_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("a file where a folder must be")
    artifact = Store(tmp_path, Console()).artifact("m", "d", "s", "x", {})
    with pytest.raises(StoreError, match="can't be written"), artifact.lock():
        pass


def test_a_well_named_part_with_foreign_columns_is_refused(artifact: Artifact) -> None:
    with artifact.lock():
        path = artifact.append_table(pl.DataFrame({"other": [1]}))
    with pytest.raises(StoreError, match=rf"{path.name}.*column 'question_id' is missing"):
        artifact.read_table(SCHEMA)
