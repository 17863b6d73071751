"""The campaign of hostile stores: attacks on the store of a finished run, by their kind.

The same command must then give the same result, or end with one message that names a file; once
that is moved away, it must give the same result. Nothing is written outside the outputs.
"""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.progress import Meter
from tests.forked import apart, messages
from tests.hostile_store import ATTACKS

if TYPE_CHECKING:
    from perf.faults import Campaign


def trials(each: int, rng: random.Random) -> list[str]:
    """Return which attacks are played: of each kind three for each trial of other faults."""
    kinds: dict[str, list[str]] = {}
    for name in ATTACKS:
        kinds.setdefault(name.partition(":")[0], []).append(name)
    return [
        name for names in kinds.values() for name in rng.sample(names, min(len(names), 3 * each))
    ]


def hostile_store(campaign: "Campaign", progress: Meter) -> None:
    """Play attacks, and judge what the run makes of each."""
    for name in trials(campaign.each, campaign.rng):
        outputs, outside = campaign.fresh(), campaign.folder / "outside"
        tally = campaign.tally(f"hostile store: {name.partition(':')[0]}")
        shutil.copytree(campaign.folder / "reference", outputs, dirs_exist_ok=True)
        shutil.rmtree(outside, ignore_errors=True)
        outside.mkdir()
        (outside / "canary").write_bytes(b"alive")
        apart(lambda name=name, out=outputs, way=outside: ATTACKS[name](out / "store", way))
        before = contents(outside)
        run = campaign.start(outputs)
        try:
            status = run.wait(120)
        except TimeoutError:
            status = run.status = -1
        if contents(outside) != before:
            campaign.fail(tally, f"{name}: something outside was written", run)
        elif status == 0:
            campaign.compare(tally, outputs, run, name)
        else:
            campaign.expect_message(tally, run, str(outputs / "store"))
            obey(outputs, *messages(run.output))
            campaign.rerun(tally, outputs)
        progress.advance()


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return the content of every file below a folder, None for what is none."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def obey(outputs: Path, *said: str) -> None:
    """Remove what the messages name."""
    for path in _named(outputs, *said):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _named(outputs: Path, *said: str) -> Iterator[Path]:
    for message in said:
        for word in message.split():
            path = Path(word.rstrip(".,:"))
            if outputs / "store" in path.parents:
                # A manifest of another stands for its folder, and a list for its cell. Hidden
                # states have the same bits only where all of them are read again together.
                whole = path.name in {"manifest.json", "cell.json"} and path.is_file()
                whole = whole or path.suffix == ".safetensors"
                yield path.parent if whole and not path.is_symlink() else path
                break
