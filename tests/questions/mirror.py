"""A small mirror of the Hub with invented rows in the real columns, and where the real one lies."""

import os
from pathlib import Path

import polars as pl
import pytest
from hydra import compose, initialize_config_dir

from benchmark.__main__ import CONF
from benchmark.config.checks import checked
from benchmark.config.schema import DatasetConfig, register_schema

REAL = Path(
    os.environ.get("CAPCAL_HUB_ROOT", Path(__file__).parents[3] / "shared" / "data" / "hub")
)
needs_real_rows = pytest.mark.skipif(
    not REAL.is_dir(), reason=f"no mirror of the real datasets at {REAL} (set CAPCAL_HUB_ROOT)"
)
MATH_MIRROR = [
    f"dataset.sources.{split}.{setting}"
    for split in ("train", "validation")
    for setting in ("hub_id=local/MATH-train", "configs=[]", "split=train")
]


def dataset_config(name: str, root: Path | None, *overrides: str) -> DatasetConfig:
    """Return the configuration of a dataset as the command composes it."""
    register_schema()
    mirror = "null" if root is None else f'"{root}"'  # in quotes, whatever it is called
    settings = [f"dataset={name}", f"paths.hub_root={mirror}", *overrides]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return checked(compose("config", overrides=settings)).dataset


def write(root: Path, hub_id: str, split: str, rows: list[dict], config: str | None = None) -> None:
    """Write rows as one split; a named configuration gets its own folder."""
    folder = root / hub_id
    path = folder / (config or "data") / f"{split}-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows).write_parquet(path)
    lines = ["---", "configs:"]
    for sub in sorted(p for p in folder.iterdir() if p.is_dir()):
        lines.append(f"- config_name: {'default' if sub.name == 'data' else sub.name}")
        lines.append("  data_files:")
        for file in sorted(sub.glob("*.parquet")):
            lines.append(f"  - split: {file.name.split('-')[0]}")
            lines.append(f"    path: {sub.name}/{file.name}")
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))


def invented_mirror(root: Path) -> Path:
    """Write a few rows of every source that ``conf/dataset`` names."""
    gsm = [
        {"question": f"{i} and {i}?", "answer": f"{i}+{i}=<<>>\n#### 1,{i:03}"} for i in range(9)
    ]
    write(root, "openai/gsm8k", "test", gsm[:3], "main")
    write(root, "openai/gsm8k", "train", gsm[2:], "main")
    problems = [
        {"problem": f"Find ${i}$.", "solution": f"It is $\\boxed{{\\frac{{{i}}}{{2}}}}$."}
        for i in range(8)
    ]
    extra = {"answer": r"\frac{0}{2}", "subject": "Algebra", "level": "2"}
    five = [{**row, **extra, "unique_id": f"test/{i}"} for i, row in enumerate(problems[:1])]
    write(root, "HuggingFaceH4/MATH-500", "test", five)
    for subject in dataset_config("math_500", root).sources["train"].configs:
        named = [{**r, "problem": f"{subject}: {r['problem']}"} for r in problems]
        rows = [{**r, "level": "Level 5", "type": subject} for r in [problems[0], *named]]
        unboxed = {**rows[1], "problem": f"{subject}: prove it.", "solution": "Nothing is boxed."}
        write(root, "EleutherAI/hendrycks_math", "train", rows[:5], subject)
        write(root, "EleutherAI/hendrycks_math", "test", [*rows[5:], unboxed], subject)
    aime = [{"problem": f"P{i}", "answer": f"{i:03}", "id": str(i)} for i in range(3)]
    write(root, "math-ai/aime25", "test", aime)
    earlier = [
        {"Question": f"Q{i}", "Answer": str(i), "ID": f"{1990 + i}-I-1", "Year": 1990 + i}
        for i in range(36)
    ]
    write(root, "gneubig/aime-1983-2024", "train", earlier)
    mmlu = [
        {
            "question": f"M{i // 2}",
            "subject": "formal_logic",
            "choices": list("wxyz"),
            "answer": i % 4,
        }
        for i in range(8)
    ]
    write(root, "cais/mmlu", "test", mmlu, "all")
    more = [{**row, "question": f"V{i // 2}"} for i, row in enumerate(mmlu)] + mmlu[:1]
    write(root, "cais/mmlu", "validation", more, "all")
    for config, size in (("gpqa_diamond", 3), ("gpqa_main", 6), ("gpqa_extended", 8)):
        write(root, "Idavidrein/gpqa", "train", [gpqa_row(i) for i in range(size)], config)
    trivia = [
        {
            "question": f"T{i}?",
            "question_id": f"tc_{i}",
            "answer": {"value": f"V{i}", "aliases": [f"V{i}", f"Alias {i}", ""]},
        }
        for i in range(12)
    ]
    write(root, "mandarjoshi/trivia_qa", "validation", [*trivia[:4], trivia[0]], "rc.nocontext")
    write(root, "mandarjoshi/trivia_qa", "train", trivia[3:], "rc.nocontext")
    simple = [{"problem": f"S{i}?", "answer": f"A{i}"} for i in range(9)]
    write(root, "basicv8vc/SimpleQA", "test", simple)
    verified = [
        {"original_index": i, "problem": f"S{i}, reworded?", "answer": f"A{i}", "topic": "Art"}
        for i in (1, 4)
    ]
    write(root, "google/simpleqa-verified", "eval", verified, "simpleqa_verified")
    return root


def gpqa_row(i: int) -> dict:
    """Return an invented row in GPQA's columns."""
    return {
        "Question": f"G{i}?",
        "Correct Answer": f"right {i}\n",
        **{f"Incorrect Answer {j}": f"wrong {i}.{j}" for j in (1, 2, 3)},
        "High-level domain": "Physics",
        "Record ID": f"rec{i}",
    }
