"""A day on several accelerators: the paper's grid, simulated for four ways to share its work.

    python perf/schedule.py [--accelerators 1 8 21] [--start 0.1]

Nothing is run and nothing is measured: the hours are modelled. What the 21 cells ask for is what
`capcal plan experiment=paper_grid` counts, on invented questions, as many as the datasets have.
Lengths of replies are those that the paper reports, rates are those that conf/rates assumes for one
accelerator. The simulation itself is the plan's (benchmark/runs/schedule.py). A way is good where
it is within 10 % of the work divided by the accelerators, which no way can beat.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table

from benchmark.config.composing import compose_jobs
from benchmark.config.schema import DatasetConfig, Role
from benchmark.records import QUESTION
from benchmark.runs.plan import Planner
from benchmark.runs.rates import read_rates
from benchmark.runs.schedule import SCHEMES, ideal

SIZES = {  # questions to evaluate, train and choose on, as conf/dataset cuts the Hub's splits
    "triviaqa": (1000, 137_384, 1000),
    "simpleqa_verified": (1000, 3000, 326),
    "gsm8k": (1319, 6473, 1000),
    "math_500": (500, 10_998, 1000),
    "aime25": (30, 784, 119),
    "mmlu": (1000, 1231, 300),
    "gpqa_diamond": (198, 250, 98),
}
CHARACTERS = 400  # of a prompt, assumed; prompts take a small part of the time
WITHIN = 0.1  # share of the ideal that a good way to share the work may add to it


class SizedPlanner(Planner):
    """A planner that invents the questions of a dataset, as many as it has."""

    def _questions(self, dataset: DatasetConfig, roles: Sequence[Role]) -> dict[Role, pl.DataFrame]:
        known = self._splits.setdefault(dataset.name, {})
        sizes = dict(zip(("evaluation", "train", "validation"), SIZES[dataset.name], strict=True))
        for role in roles:
            if role not in known:
                known[role] = invented(f"{dataset.name}/{role}", sizes[role])
        return {role: known[role] for role in roles}


def invented(name: str, size: int) -> pl.DataFrame:
    """Return so many questions of one length."""
    ids = [f"{name}/{number}" for number in range(size)]
    prompts = [f"{key} ".ljust(CHARACTERS, "x") for key in ids]
    columns = {"question_id": ids, "prompt": prompts, "question": prompts}
    rest = {"references": [["x"]] * size, "metadata": [[]] * size}
    return pl.DataFrame(columns | rest, schema=QUESTION)


def main() -> None:
    """Print the table; exit status 1 where no way is within a tenth of the ideal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--accelerators", type=int, nargs="+", default=[1, 8, 21])
    told = "hours that a job needs before its first reply and behind its last one, assumed"
    parser.add_argument("--start", type=float, default=0.1, help=told)
    options = parser.parse_args()
    console = Console(width=110, highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        jobs = compose_jobs(["experiment=paper_grid", f"paths.outputs={folder}", "engine=vllm"])
        planner = SizedPlanner(Console(quiet=True), read_rates(Path(folder)))
        rows = [planner.row(job) for job in jobs]
    faults = {row.fault for row in rows if row.fault}
    if faults:
        sys.exit("\n".join(faults))
    for name in ("requests", "replies", "prompt_tokens", "output_tokens", "hidden_states"):
        total = sum(getattr(row.new, name) for row in rows)
        console.print(f"{name.replace('_', ' ')}: {total / 1e6:,.2f} M")
    cells = [row.parts for row in rows]
    table = Table("Hours, modelled", "ideal", *SCHEMES, box=box.SIMPLE_HEAD)
    best = []
    for accelerators in options.accelerators:
        least = ideal(cells, accelerators)
        hours = [makespan(cells, accelerators, options.start) for makespan in SCHEMES.values()]
        best.append(min(hours) / least - 1)
        shown = [f"{value:.1f} ({value / least - 1:+.0%})" for value in hours]
        table.add_row(f"{accelerators} accelerators", f"{least:.1f}", *shown)
    console.print(table)
    sys.exit(0 if max(best) < WITHIN else 1)


if __name__ == "__main__":
    main()
