"""Canaries in environment variables, and the search for them in every byte of what a run leaves."""

import base64
import gzip
import json
import urllib.parse
from pathlib import Path

KEY = 'sk-canary/4f+Z"7Qx&9'  # with characters that every encoding writes in its own way
CANARY = "wb-canary-31c0ffee77"
VARIABLES = {"OPENAI_API_KEY": KEY, "WANDB_API_KEY": CANARY, "TEAM_TOKEN": "team-canary-0042"}


def spellings(secret: str) -> list[bytes]:
    """Return what is searched for; pieces of base64, since its ends depend on what is around."""
    data = secret.encode()
    found = [
        secret, urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret),
        json.dumps(secret)[1:-1], data.hex(), base64.b64encode(b":" + data).decode()[4:-4],
        base64.b64encode(data).decode()[4:-4], base64.b64encode(b"u:" + data).decode()[4:-4],
    ]  # fmt: skip
    return [text.encode().lower() for text in found]


def leaks(folder: Path, *texts: str) -> list[str]:
    """Return what holds a secret: files below a folder, and texts."""
    wanted = {spelled for secret in VARIABLES.values() for spelled in spellings(secret)}
    held = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    held |= {name: gzip.decompress(data) for name, data in held.items() if data[:2] == b"\x1f\x8b"}
    held |= {f"text {i}": text.encode() for i, text in enumerate(texts)}
    for name, data in list(held.items()):
        held[f"{name}, unescaped"] = urllib.parse.unquote_to_bytes(data.replace(b"\\", b""))
    return [n for n, data in held.items() if any(word in data.lower() for word in wanted)]
