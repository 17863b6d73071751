"""Reads back what an offline run of W&B left."""

import json
import struct
from pathlib import Path
from typing import Any


def logged(file: Path) -> list[Any]:
    """Return the records of an offline run: LevelDB's log of protocol buffers."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, block, part = file.read_bytes(), 32 * 1024, b""
    at, records = 7, []
    while at + 7 <= len(data):
        if block - at % block < 7:  # no record starts in the last bytes of a block
            at += block - at % block
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        part += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            records.append(Record.FromString(part))
            part = b""
    return records


def lines(records: list[Any], kind: str = "history") -> list[dict[str, Any]]:
    """Return nested keys and JSON values that each record of a kind sets."""
    bodies = [getattr(r, kind) for r in records if r.WhichOneof("record_type") == kind]
    items = [body.item if kind == "history" else body.update for body in bodies]
    return [
        {"/".join([*i.nested_key] or [i.key]): json.loads(i.value_json) for i in line}
        for line in items
    ]


def values(records: list[Any], kind: str) -> dict[str, Any]:
    """Return what the records of a kind set in the end."""
    return {key: value for line in lines(records, kind) for key, value in line.items()}
