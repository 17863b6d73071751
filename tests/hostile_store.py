"""Attacks on a store: what somebody from whom one took a store may have put into it.

Each is played on the store of a finished run. Afterwards the same command either gives the same
result, or ends with one message that names the file; it never writes or waits anywhere else.
"""

import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import safetensors
import safetensors.torch
import torch

from benchmark.store.artifact import read_sealed, sealed
from benchmark.store.rows import MARK, parquet

DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
Attack = Callable[[Path, Path], None]
ATTACKS: dict[str, Attack] = {}
STAGES = ["responses", "verbalized", "p_true", "features"]


def attack(name: str) -> Callable[[Attack], Attack]:
    """Add an attack to those that are played."""

    def add(function: Attack) -> Attack:
        ATTACKS[name] = function
        return function

    return add


def folder_of(store: Path, stage: str) -> Path:
    """Return the folder of a stage of the evaluated split."""
    return sorted(store.glob(f"*/*/test/{stage}-*"))[0]


def part_of(store: Path, stage: str) -> Path:
    """Return a part of a stage of the evaluated split."""
    return sorted(folder_of(store, stage).glob("part-*"))[0]


def without_cell(store: Path) -> None:
    """Let the next run open the artifacts, which a finished cell makes needless."""
    for cell in store.glob("*/*/*/cell-*"):
        shutil.rmtree(cell)


def named(data: bytes, suffix: str) -> str:
    """Return the name that a part with this content must have."""
    return f"part-{hashlib.sha256(data).hexdigest()[:16]}{suffix}"


def replace_part(part: Path, data: bytes) -> None:
    """Let a part have another content, and the name that tells nothing of it."""
    part.unlink()
    (part.parent / named(data, part.suffix)).write_bytes(data)


def reseal(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what a sealed file says, with the right checksum."""
    content = read_sealed(path)
    change(content)
    path.write_bytes(sealed(content))


def checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


# --- names in the listing of a finished cell

_NAMES = {
    "absolute": "probes/{outside}/written", "up": "probes/../../../../../written",
    "up at once": "../../../../../written", "a dot": "probes/./written", "nothing": "",
    "empty parts": "probes//written", "backslashes": "probes\\..\\..\\written",
    "a drive": "probes/C:/written", "NUL": "probes/a\0b/written", "escape": "probes/a/\x1b[2J",
    "only up": "..", "a folder": "probes", "a strange table": "other.parquet",
    "of right to left": "probes/\u202ea/written", "a long name": f"probes/a/{'x' * 300}",
    "deep": "probes/" + "a/" * 300 + "written", "up in an application": "applications/../x.parquet",
    "surrogate": "probes/\ud800/written",
}  # fmt: skip


def _listed(name: str) -> Attack:
    def play(store: Path, outside: Path) -> None:
        path = folder_of(store, "cell") / "cell.json"
        listed = name.replace("{outside}", str(outside))
        data = read_sealed(path)
        data["files"][listed] = checksum(b"written")
        try:
            path.write_bytes(sealed(data))
        except UnicodeEncodeError:  # a surrogate: no checksum is its own
            path.write_text(json.dumps(data | {"checksum": "0"}))

    return play


for _name, _text in _NAMES.items():
    ATTACKS[f"listed name: {_name}"] = _listed(_text)


@attack("listed name: its content lies where it leads")
def _listed_with_content(store: Path, outside: Path) -> None:
    _listed("probes/../../../../../../{outside}/read")(store, outside)
    cell = folder_of(store, "cell")
    name = os.path.relpath(outside / "canary", cell)
    reseal(cell / "cell.json", lambda c: c["files"].update({name: checksum(b"alive")}))


@attack("listed name: a list of them")
def _files_as_list(store: Path, _: Path) -> None:
    path = folder_of(store, "cell") / "cell.json"
    reseal(path, lambda c: c.update(files=[*c["files"]]))


@attack("listed name: parts of responses lead up")
def _responses_up(store: Path, _: Path) -> None:
    path = folder_of(store, "cell") / "cell.json"
    reseal(path, lambda c: c.update(responses=[f"../{name}" for name in c["responses"]]))


@attack("listed name: the responses' fingerprint leads up")
def _parent_up(store: Path, _: Path) -> None:
    path = folder_of(store, "cell") / "cell.json"
    reseal(path, lambda c: c["parents"].update(responses="x/../../../../.."))


@attack("listed name: a parent of another type")
def _parent_type(store: Path, _: Path) -> None:
    reseal(folder_of(store, "cell") / "cell.json", lambda c: c["parents"].update(responses=[[]]))


@attack("listed name: another model leads up")
def _model_up(store: Path, _: Path) -> None:
    path = folder_of(store, "cell") / "cell.json"
    reseal(path, lambda c: c["parents"].update({"cell/../../..": "cell-0"}))


@attack("listed name: the report lies elsewhere")
def _report_elsewhere(store: Path, outside: Path) -> None:
    said = {"report": f"../{outside.name}/canary", "logged": []}
    (folder_of(store, "cell") / "report.json").write_text(json.dumps(said))


# --- links


def _linked(name: str, of: Callable[[Path], Path], *, cell: bool = False, gone: bool = False):
    def play(store: Path, outside: Path) -> None:
        if not cell:
            without_cell(store)
        path = of(store)
        target = outside / path.name
        if path.exists():
            shutil.move(path, target)
        if gone:
            shutil.rmtree(target) if target.is_dir() else target.unlink()
        path.symlink_to(target)

    ATTACKS[f"link: {name}"] = play


_linked("a part", lambda store: part_of(store, "responses"))
_linked("hidden states", lambda store: part_of(store, "features"))
_linked("a part, dangling", lambda store: part_of(store, "p_true"), gone=True)
_linked("a manifest", lambda store: folder_of(store, "responses") / "manifest.json")
_linked("a stage's folder", lambda store: folder_of(store, "responses"))
_linked("a stage's folder, dangling", lambda store: folder_of(store, "p_true"), gone=True)
_linked("a split", lambda store: folder_of(store, "responses").parent)
_linked("a dataset", lambda store: folder_of(store, "responses").parents[1])
_linked("a model", lambda store: folder_of(store, "responses").parents[2])
_linked("a model, dangling", lambda store: folder_of(store, "responses").parents[2], gone=True)
_linked("a finished cell", lambda store: folder_of(store, "cell"), cell=True)
_linked("a list", lambda store: folder_of(store, "cell") / "cell.json", cell=True)
_linked("a table", lambda store: folder_of(store, "cell") / "metrics.parquet", cell=True)
_linked("report.json", lambda store: folder_of(store, "cell") / "report.json", cell=True)


@attack("link: a lock")
def _link_lock(store: Path, outside: Path) -> None:
    without_cell(store)
    lock = folder_of(store, "responses") / ".lock"
    lock.unlink(missing_ok=True)
    lock.symlink_to(outside / "canary")


@attack("link: a lock that is to be made elsewhere")
def _link_new_lock(store: Path, outside: Path) -> None:
    without_cell(store)
    lock = folder_of(store, "p_true") / ".lock"
    lock.unlink(missing_ok=True)
    lock.symlink_to(outside / "made")


@attack("link: what lies beside a cell")
def _link_aside(store: Path, outside: Path) -> None:
    cell = folder_of(store, "cell")
    for name in ("new", "old"):  # which a run removes there
        (outside / name).mkdir()
        (outside / name / "precious").write_text("alive")
    beside = cell.with_name(f".{cell.name}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.symlink_to(outside)
    (cell / "metrics.parquet").unlink()


@attack("link: what is written beside a cell")
def _link_new(store: Path, outside: Path) -> None:
    cell = folder_of(store, "cell")
    beside = cell.with_name(f".{cell.name}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    (outside / "new").mkdir()
    (beside / "new").symlink_to(outside / "new")
    (cell / "metrics.parquet").unlink()


@attack("link: a half-written report.json")
def _link_report(store: Path, outside: Path) -> None:
    cell = folder_of(store, "cell")
    (cell / "report.json").unlink()
    for pid in range(os.getpid(), os.getpid() + 200):  # that of the run is not known before
        (cell / f".partial-{pid}-report.json").symlink_to(outside / "canary")


@attack("link: half-written files")
def _link_partial(store: Path, outside: Path) -> None:
    without_cell(store)
    folder = folder_of(store, "responses")
    (folder / ".partial-1-x").symlink_to(outside / "canary")
    (folder / f".partial-{os.getpid()}-manifest.json").symlink_to(outside / "canary")
    (folder / "manifest.json").unlink()


@attack("link: a circle")
def _circle(store: Path, _: Path) -> None:
    without_cell(store)
    part = part_of(store, "responses")
    part.unlink()
    part.symlink_to(part.name)


# --- files that are none


def _special(name: str, make: Callable[[Path], object]) -> None:
    def in_part(store: Path, _: Path) -> None:
        without_cell(store)
        part = part_of(store, "responses")
        part.unlink()
        make(part)

    def in_manifest(store: Path, _: Path) -> None:
        without_cell(store)
        manifest = folder_of(store, "p_true") / "manifest.json"
        manifest.unlink()
        make(manifest)

    def in_cell(store: Path, _: Path) -> None:
        listing = folder_of(store, "cell") / "cell.json"
        listing.unlink()
        make(listing)

    def in_table(store: Path, _: Path) -> None:
        table = folder_of(store, "cell") / "metrics.parquet"
        table.unlink()
        make(table)

    places = {"part": in_part, "manifest": in_manifest, "list": in_cell, "table": in_table}
    for place, play in places.items():
        ATTACKS[f"no file: {name} as {place}"] = play


def _socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the address of a socket is short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(before)


_special("a pipe", os.mkfifo)
_special("a socket", _socket)
_special("a folder", Path.mkdir)
_special("a device", lambda path: path.symlink_to("/dev/zero"))


# --- data of others


def _other(part: Path, mark: str | None, rows: slice = slice(None)) -> bytes:
    """Return a part with the same rows and another mark."""
    if part.suffix == ".parquet":
        table = pl.read_parquet(part, hive_partitioning=False)[rows]
        if "text" in table.columns:
            table = table.with_columns(text=pl.lit("of another model"))
        return parquet(table, {MARK: mark} if mark else None)
    with safetensors.safe_open(part, framework="pt") as file:
        metadata = dict(file.metadata())
        states = file.get_tensor("features") + 1
    metadata.pop(MARK, None)
    if mark:
        metadata[MARK] = mark
    return safetensors.torch.save({"features": states}, metadata=metadata)


def _foreign(stage: str, mark: str | None, *, beside: bool) -> Attack:
    def play(store: Path, _: Path) -> None:
        without_cell(store)
        part = part_of(store, stage)
        data = _other(part, mark)
        if beside:
            (part.parent / named(data, part.suffix)).write_bytes(data)
        else:
            replace_part(part, data)

    return play


for _stage in STAGES:
    for _mark in ("0123456789ab", None):
        for _beside in (True, False):
            _how = f"{'with' if _mark else 'without'} a mark, {'beside' if _beside else 'in place'}"
            ATTACKS[f"foreign data: {_stage} {_how}"] = _foreign(_stage, _mark, beside=_beside)


@attack("foreign data: doubled rows under the artifact's own mark")
def _doubled(store: Path, _: Path) -> None:
    without_cell(store)
    part = part_of(store, "responses")
    data = _other(part, part.parent.name.rpartition("-")[2])
    (part.parent / named(data, part.suffix)).write_bytes(data)


@attack("foreign data: a folder under another's name")
def _renamed(store: Path, _: Path) -> None:
    without_cell(store)
    folder = folder_of(store, "responses")
    own = read_sealed(folder / "manifest.json")["inputs"]
    own["seed"] = 1234
    reseal(folder / "manifest.json", lambda c: c.update(inputs=own))


@attack("foreign data: another's folder without its manifest")
def _renamed_bare(store: Path, _: Path) -> None:
    without_cell(store)
    folder = folder_of(store, "p_true")
    part = part_of(store, "p_true")
    replace_part(part, _other(part, "0123456789ab"))
    (folder / "manifest.json").unlink()


@attack("foreign data: a finished cell under another's name")
def _renamed_cell(store: Path, _: Path) -> None:
    path = folder_of(store, "cell") / "cell.json"
    reseal(path, lambda c: c["inputs"].update(other=1))


@attack("foreign data: a finished cell of another model")
def _cell_of_other(store: Path, _: Path) -> None:
    reseal(folder_of(store, "cell") / "cell.json", lambda c: c.update(model="another"))


# --- contents that are none

_CONTENTS = {
    "nothing": lambda _: b"", "noise": lambda data: hashlib.sha256(data).digest() * 100,
    "half": lambda data: data[: len(data) // 2], "without its end": lambda data: data[:-5],
    "without its begin": lambda data: data[4:], "its begin": lambda data: data[:12],
    "JSON": lambda _: DEEP, "a page": lambda _: b"<html>503</html>",
    "a large length": lambda data: b"\xff" * 8 + data[8:], "zeros": lambda _: bytes(1000),
    "a byte flipped": lambda data: data[:40] + bytes([data[40] ^ 255]) + data[41:],
}  # fmt: skip


def _content(stage: str, change: Callable[[bytes], bytes]) -> Attack:
    def play(store: Path, _: Path) -> None:
        without_cell(store)
        part = part_of(store, stage)
        replace_part(part, change(part.read_bytes()))

    return play


for _name, _change in _CONTENTS.items():
    for _stage in ("responses", "features"):
        ATTACKS[f"content: {_stage}, {_name} under a right name"] = _content(_stage, _change)


def _states(change: Callable[[torch.Tensor, dict[str, str]], torch.Tensor]) -> Attack:
    def play(store: Path, _: Path) -> None:
        without_cell(store)
        part = part_of(store, "features")
        with safetensors.safe_open(part, framework="pt") as file:
            metadata, states = dict(file.metadata()), file.get_tensor("features")
        changed = change(states, metadata).contiguous()
        replace_part(part, safetensors.torch.save({"features": changed}, metadata=metadata))

    return play


def _ids(text: str) -> Attack:
    def change(states: torch.Tensor, metadata: dict[str, str]) -> torch.Tensor:
        metadata["question_ids"] = text
        return states

    return _states(change)


ATTACKS |= {
    "content: hidden states of fewer questions": _states(lambda states, _: states[:-1]),
    "content: hidden states without layers": _states(lambda states, _: states[:, 0]),
    "content: ids of hidden states are deep JSON": _ids("[" * 100_000 + "]" * 100_000),
    "content: ids of hidden states are numbers": _ids("[1, 2]"),
    "content: ids of hidden states are one text": _ids('"abc"'),
    "content: ids of hidden states are missing": _ids("[]"),
}


def _table(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Attack:
    def play(store: Path, _: Path) -> None:
        without_cell(store)
        part = part_of(store, "responses")
        mark = pl.read_parquet_metadata(part).get(MARK)
        table = change(pl.read_parquet(part, hive_partitioning=False))
        replace_part(part, parquet(table, {MARK: mark} if mark else None))

    return play


ATTACKS |= {
    "content: responses without a column": _table(lambda table: table.drop("text")),
    "content: responses with numbers as texts": _table(lambda t: t.with_columns(text=pl.lit(1))),
    "content: responses with a list as seed": _table(lambda t: t.with_columns(seed=pl.lit([1]))),
}

_TEXTS = {
    "deep JSON": DEEP, "an array": b"[]", "nothing": b"", "a text": b'"checksum"', "null": b"null",
    "another encoding": '{"a": "ä"}'.encode("latin-1"), "a mark of UTF-8": b"\xef\xbb\xbf{}",
    "a huge number": b'{"checksum": ' + b"9" * 10_000 + b"}", "half": b'{"inputs": {',
    "infinity": b'{"checksum": Infinity, "inputs": NaN}', "noise": bytes(range(256)),
}  # fmt: skip


def _text(file: str, text: bytes) -> Attack:
    def play(store: Path, _: Path) -> None:
        if file == "manifest.json":
            without_cell(store)
        stage = "responses" if file == "manifest.json" else "cell"
        (folder_of(store, stage) / file).write_bytes(text)

    return play


for _file in ("manifest.json", "cell.json", "report.json"):
    for _name, _data in _TEXTS.items():
        ATTACKS[f"{_file}: {_name}"] = _text(_file, _data)


def _sealed(file: str, key: str, value: Any) -> Attack:
    def play(store: Path, _: Path) -> None:
        if file == "manifest.json":
            without_cell(store)
        stage = "responses" if file == "manifest.json" else "cell"
        path = folder_of(store, stage) / file
        reseal(path, lambda content: content.update({key: value}))

    return play


for _file, _keys in {
    "manifest.json": ("parts", "counts", "engine", "marked"),
    "cell.json": ("estimates", "parents", "responses", "files", "failed", "model", "complete"),
}.items():
    for _key in _keys:
        for _value in (None, 7, "text", [None], [[1]], {"a": {"b": []}}):
            ATTACKS[f"{_file}: {_key} is {_value!r}"] = _sealed(_file, _key, _value)


@attack("link: a look at the parts")
def _link_look(store: Path, outside: Path) -> None:
    without_cell(store)
    folder = folder_of(store, "responses")
    for part in folder.glob("part-*"):  # so that rows are to be made
        part.unlink()
    (folder / "manifest.json").unlink()
    for pid in range(os.getpid(), os.getpid() + 200):
        (folder / f".partial-{pid}-look").symlink_to(outside / "made")


@attack("link: remembered checksums")
def _link_checksums(store: Path, outside: Path) -> None:
    without_cell(store)
    folder = folder_of(store, "features")
    shutil.rmtree(folder / ".hashed", ignore_errors=True)
    (folder / ".hashed").symlink_to(outside)
    time.sleep(2.1)  # checksums of files that were changed just now aren't remembered


@attack("link: remembered checksums, one below")
def _link_checksums_below(store: Path, outside: Path) -> None:
    without_cell(store)
    folder = folder_of(store, "features")
    shutil.rmtree(folder / ".hashed", ignore_errors=True)
    (folder / ".hashed").mkdir()
    (folder / ".hashed" / "checksums").symlink_to(outside)
    time.sleep(2.1)  # as above


@attack("link: old half-written files that are none")
def _odd_partials(store: Path, outside: Path) -> None:
    without_cell(store)
    folder = folder_of(store, "p_true")
    (folder / ".partial-1-circle").symlink_to(".partial-1-circle")
    (folder / ".partial-1-away").symlink_to(outside / "canary")
    (folder / ".partial-1-folder").mkdir()
    os.mkfifo(folder / ".partial-1-pipe")
    for name in ("folder", "pipe"):
        os.utime(folder / f".partial-1-{name}", (0, 0))
    os.utime(outside / "canary", (0, 0))


@attack("manifest.json: parts of odd types beside a part without a mark")
def _odd_parts(store: Path, _: Path) -> None:
    without_cell(store)
    part = part_of(store, "responses")
    replace_part(part, _other(part, None))
    path = folder_of(store, "responses") / "manifest.json"
    reseal(path, lambda c: c.update(parts=[[1], {}, None], marked=False))


def _claims(make: Callable[[Path], object]) -> Attack:
    def play(store: Path, _: Path) -> None:
        without_cell(store)
        folder = folder_of(store, "responses")
        for part in folder.glob("part-*"):
            part.unlink()
        (folder / "manifest.json").unlink()
        shutil.rmtree(folder / ".claims", ignore_errors=True)
        make(folder / ".claims")

    return play


def _each_claim(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def fill(claims: Path) -> None:
        claims.mkdir()
        for block in range(64):
            make(claims / str(block))

    return fill


ATTACKS |= {
    "claims: a file": _claims(lambda path: path.write_text("")),
    "claims: a pipe": _claims(os.mkfifo),
    "claims: a link to itself": _claims(lambda path: path.symlink_to(path.name)),
    "claims: each is a pipe": _claims(_each_claim(os.mkfifo)),
    "claims: each is a folder": _claims(_each_claim(Path.mkdir)),
    "claims: each is a socket": _claims(_each_claim(_socket)),
    "claims: each leads to itself": _claims(_each_claim(lambda path: path.symlink_to(path.name))),
    "claims: each leads to a device": _claims(_each_claim(lambda p: p.symlink_to("/dev/zero"))),
    "claims: each is full": _claims(_each_claim(lambda path: path.write_bytes(b"x" * 1000))),
    "claims: other files": _claims(
        lambda path: (path.mkdir(), (path / "64").write_text("1"), (path / "a").mkdir())
    ),
}
for _place, _number in {"samples_used": "1e999", "trained_on": "-1e999"}.items():

    def _infinite(store: Path, _: Path, place: str = _place, number: str = _number) -> None:
        path = folder_of(store, "cell") / "cell.json"

        def change(content: dict[str, Any]) -> None:
            for estimate in content["estimates"].values():
                estimate[place] = float(number)

        reseal(path, change)

    ATTACKS[f"cell.json: {_place} is infinite"] = _infinite
