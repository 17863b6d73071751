"""Run every benchmark, one after another, and write one table of what they measured.

    python perf/run_all.py --smoke                 # tiny sizes: that every script runs
    python perf/run_all.py [--only budget probes]  # full sizes: most of an hour on two cores

The table goes into the README; with --smoke or --only it is printed, and nothing is written.
Machines that do other work at the same time measure that: run it on an idle one. A script that
fails is told, the others are still run, and the exit status is 1; the table is then not written.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from measured import Result, machine, shown_ratio

from benchmark.store.artifact import git_commit

SCRIPTS = (  # in the order of the data's path
    ["sampling"], ["server_client"], ["features"], ["grading"], ["probes"], ["probes", "--large"],
    ["budget"], ["pipeline"], ["skip"],
)  # fmt: skip
README = Path(__file__).parents[1] / "README.md"
PLACE = re.compile(r"(?<=\[start:measured\] -->\n).*(?=<!-- --8<-- \[end:measured\])", re.DOTALL)


def main() -> None:
    """Run the scripts and write the table."""
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("--smoke", action="store_true", help="tiny sizes; nothing is written")
    command.add_argument("--only", nargs="+", choices=sorted({s[0] for s in SCRIPTS}))
    options = command.parse_args()
    rows, failed = [], []
    for script, *flags in SCRIPTS:
        if (options.only and script not in options.only) or (options.smoke and flags):
            continue
        name = f"{script}.py {' '.join(flags)}".strip()
        started = time.monotonic()
        results = run(script, [*flags, *(["--smoke"] if options.smoke else [])])
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
        if results is None:
            failed.append(name)
        rows += [(name, result) for result in results or []]
    text = table(rows)
    print(text)
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}. See above.")
    if not (options.smoke or options.only):
        README.write_text(PLACE.sub(lambda _: text, README.read_text()))
        print(f"Written into {README}")


def run(script: str, flags: list[str]) -> list[Result] | None:
    """Return what a script measured, or None if it failed."""
    path = Path(__file__).with_name(f"{script}.py")
    command = [sys.executable, str(path), "--json", *flags]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return None
    return [Result(*values) for values in json.loads(done.stdout.splitlines()[-1])]


def table(rows: list[tuple[str, Result]]) -> str:
    """Return the results as Markdown, below what they were measured on."""
    when = f"{datetime.now(UTC):%Y-%m-%d}"
    lines = [
        f"Measured on {machine()}, {when}, commit {git_commit() or 'unknown'}, one run each.",
        "",
        "| script | what | took | against | ratio | peak memory |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, each in rows:
        ratio = "" if each.ratio is None else shown_ratio(each.ratio)
        memory = "" if each.peak_mb is None else f"{each.peak_mb:,.0f} MB"
        cells = (f"`perf/{name}`", each.what, each.took, each.against, ratio, memory)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
