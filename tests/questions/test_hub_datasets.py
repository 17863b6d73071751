"""The datasets of the Hub: invented rows in the real columns, and the real rows where they are."""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from mirror import (
    MATH_MIRROR,
    REAL,
    dataset_config,
    gpqa_row,
    invented_mirror,
    needs_real_rows,
    write,
)
from rich.console import Console

from benchmark.errors import ConfigError, DataError
from benchmark.grading import build_graders, named_graders
from benchmark.grading.verdict import Answer
from benchmark.questions import load_questions, refuse_overlap
from benchmark.questions.gpqa import GPQA
from benchmark.questions.hub import HubDataset
from benchmark.questions.items import Item, word_prompt
from benchmark.store.artifact import Store

# By dataset: the counts of test, train and validation among the invented rows, with held_out=2.
COUNTS = {
    "gsm8k": (3, 4, 2), "math_500": (1, 54, 2), "aime25": (3, 32, 2), "mmlu": (8, 4, 4),
    "gpqa_diamond": (3, 3, 2), "triviaqa": (4, 6, 2), "simpleqa_verified": (2, 5, 2),
}  # fmt: skip
GRADERS = {
    "gsm8k": "number", "math_500": "math_verify", "aime25": "number", "mmlu": "letter",
    "gpqa_diamond": "letter", "triviaqa": "short_fact", "simpleqa_verified": "short_fact",
}  # fmt: skip


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    return invented_mirror(tmp_path_factory.mktemp("mirror"))


def config_of(name, root):
    config = dataset_config(name, root)
    for source in config.sources.values():
        source.held_out = min(source.held_out, 2)
    return config


@pytest.mark.parametrize("name", COUNTS)
def test_splits_have_their_questions_and_share_none(name, mirror):
    config = config_of(name, mirror)
    splits = {split: load_questions(config, split) for split in ("test", "train", "validation")}
    assert tuple(len(table) for table in splits.values()) == COUNTS[name]
    refuse_overlap(splits["train"], splits["test"], ("train", "test"))
    refuse_overlap(splits["validation"], splits["test"], ("validation", "test"))
    refuse_overlap(splits["train"], splits["validation"], ("train", "validation"))
    assert all(key.startswith(f"{name}/test/") for key in splits["test"]["question_id"])


def question(name, mirror, key):
    table = load_questions(config_of(name, mirror), key.split("/")[1])
    (row,) = table.filter(question_id=key).rows(named=True)
    return row["prompt"], row["references"], {m["key"]: m["value"] for m in row["metadata"]}


def test_rows_become_prompts_and_references(mirror):
    prompt, references, _ = question("gsm8k", mirror, "gsm8k/test/1")
    assert prompt.startswith("1 and 1?\n\n")
    assert "\\boxed{}" in prompt
    assert references == ["1001"]
    _, references, metadata = question("math_500", mirror, "math_500/test/test/0")
    assert references == [r"\frac{0}{2}"]
    assert metadata == {"family": "Algebra", "level": "2"}
    assert question("aime25", mirror, "aime25/test/2")[1] == ["2"]
    prompt, references, metadata = question("mmlu", mirror, "mmlu/test/6")
    assert "M3\n\nA. w\nB. x\nC. y\nD. z\n\n" in prompt
    assert (references, metadata) == (["C"], {"family": "formal logic"})
    assert question("triviaqa", mirror, "triviaqa/test/tc_1")[1] == ["V1", "Alias 1"]
    assert question("simpleqa_verified", mirror, "simpleqa_verified/test/4")[1] == ["A4"]


def test_the_order_of_choices_is_fixed_by_the_record(mirror):
    prompt, (letter,), _ = question("gpqa_diamond", mirror, "gpqa_diamond/test/rec1")
    assert f"{letter}. right 1\n" in prompt + "\n"
    again, _, _ = question("gpqa_diamond", mirror, "gpqa_diamond/test/rec1")
    assert again == prompt
    letters = [GPQA().read(gpqa_row(i)).references[0] for i in range(400)]
    assert all(70 < letters.count(letter) < 130 for letter in "ABCD")


def test_repeated_rows_keep_ids_of_their_own_and_one_side(mirror):
    config = config_of("mmlu", mirror)
    held = load_questions(config, "validation")["prompt"].to_list()
    rest = load_questions(config, "train")["prompt"].to_list()
    assert len({prompt.split("\n")[0] for prompt in held}) == 2
    assert not {p.split("\n")[0] for p in held} & {p.split("\n")[0] for p in rest}
    assert load_questions(config, "test")["question_id"].is_unique().all()


def test_what_a_question_says_is_not_taken_for_a_place():
    config = HubDataset(
        name="x", sources={}, instruction="Box it: {choices}",
        prompts={"question": "{question}|{choices}|{instruction}", "choice": "{letter}: {choice}"},
    )  # fmt: skip
    item = Item("What is {choices} and {instruction}?", ("A",), ("{letter}", "{question}"))
    assert word_prompt(config, item, config.instruction) == (
        "What is {choices} and {instruction}?|A: {letter}\nB: {question}|Box it: {choices}"
    )


@pytest.mark.parametrize(
    ("prompts", "named"),
    [({"question": "x"}, "question"), ({"question": "{question}"}, "choices"),
     ({"question": "{question}{choices}", "choice": "x"}, "letter")],
)  # fmt: skip
def test_a_wording_without_its_places_is_refused(prompts, named):
    with pytest.raises(ConfigError, match=named):
        word_prompt(
            HubDataset(name="x", sources={}, prompts=prompts), Item("q", ("A",), ("a", "b")), ""
        )


def gsm(**changes):
    return {"question": "Q?", "answer": "#### 3", **changes}


@pytest.mark.parametrize(
    ("name", "hub_id", "split", "configuration", "row", "message"),
    [
        ("gsm8k", "openai/gsm8k", "test", "main", {"query": "Q?", "answer": "#### 3"},
         r"openai/gsm8k, split test: column 'question' is missing; it has \['query', 'answer'\]"),
        ("gsm8k", "openai/gsm8k", "test", "main", gsm(answer="3"), "row 0: 'answer' has no '####'"),
        ("gsm8k", "openai/gsm8k", "test", "main", gsm(answer="#### "), "row 0.* no reference"),
        ("aime25", "math-ai/aime25", "test", None, {"problem": "P", "answer": "1000", "id": "7"},
         "row 0: the answer is '1000', not an integer from 0 to 999"),
        ("mmlu", "cais/mmlu", "test", "all",
         {"question": "Q", "subject": "s", "choices": ["a", "b"], "answer": 4},
         "row 0: the label 4 points at none of 2 choices"),
        ("gpqa_diamond", "Idavidrein/gpqa", "train", "gpqa_diamond",
         {**gpqa_row(0), "Incorrect Answer 2": "wrong 0.1"}, "rec0 repeat"),
        ("triviaqa", "mandarjoshi/trivia_qa", "validation", "rc.nocontext",
         {"question": "Q", "question_id": "a", "answer": {"value": "", "aliases": [" "]}},
         "row 0: it has no reference"),
    ],
)  # fmt: skip
def test_a_row_that_breaks_the_contract_is_refused(
    tmp_path, name, hub_id, split, configuration, row, message
):
    write(tmp_path, hub_id, split, [row], configuration)
    with pytest.raises(DataError, match=message):
        load_questions(dataset_config(name, tmp_path), "test")


def test_an_id_of_two_questions_is_refused(tmp_path):
    row = {"problem": "P", "answer": "1", "id": "7"}
    write(tmp_path, "math-ai/aime25", "test", [row, {**row, "problem": "Q"}])
    with pytest.raises(DataError, match="row 1: its id '7' is another question's, too"):
        load_questions(dataset_config("aime25", tmp_path), "test")


def test_a_missing_split_or_mirror_is_named(tmp_path, mirror):
    write(tmp_path, "openai/gsm8k", "train", [gsm()], "main")
    with pytest.raises(ConfigError, match=r"openai/gsm8k, split test, configuration main can't be"):
        load_questions(dataset_config("gsm8k", tmp_path), "test")
    with pytest.raises(ConfigError, match=r"math-ai.aime25 doesn't exist"):
        load_questions(dataset_config("aime25", tmp_path), "test")
    with pytest.raises(
        ConfigError, match=r"no split 'dev'; it has \['test', 'train', 'validation'"
    ):
        load_questions(dataset_config("gsm8k", mirror), "dev")
    config = config_of("gsm8k", mirror)
    config.sources["test"].reader = {"_target_": "benchmark.questions.gsm9k.GSM9K"}
    with pytest.raises(ConfigError, match=r"sources\.test\.reader.*no module .*gsm9k.*gsm8k"):
        load_questions(config, "test")


def test_gated_data_say_where_to_ask(monkeypatch):
    def gated(*_, **__):
        raise RuntimeError("Dataset 'Idavidrein/gpqa' is a gated dataset on the Hub.")

    monkeypatch.setattr("datasets.load_dataset", gated)
    message = r"gated. Ask for access on https://huggingface.co/datasets/Idavidrein/gpqa"
    with pytest.raises(ConfigError, match=message):
        load_questions(dataset_config("gpqa_diamond", None), "test")


def graded(name, config, pairs):
    """Grade (prompt, references, boxed answer) with the dataset's own grader."""
    quiet = Console(quiet=True)
    (grader,) = build_graders(named_graders([GRADERS[name]])).values()
    artifact = Store(Path(config), quiet).artifact("m", name, "test", "verdicts", {})
    answers = [Answer(p, f"So it is \\boxed{{{a}}}.", True, tuple(r)) for p, r, a in pairs]
    return [verdict.outcome for verdict in grader.grade(answers, artifact, quiet)]


# The real rows that lie here are some of TriviaQA's.
SMALLER = {
    "math_500": MATH_MIRROR,
    "triviaqa": [f"dataset.sources.{split}.held_out=100" for split in ("train", "validation")],
}


@needs_real_rows
@pytest.mark.parametrize(
    ("name", "counts"),
    [("gsm8k", (1319, 6473, 1000)), ("math_500", (500, 10992, 1000)), ("aime25", (30,)),
     ("mmlu", (14042, 1203, 300)), ("simpleqa_verified", (1000, 3000, 326)),
     ("triviaqa", (2000, 669, 100)), ("gpqa_diamond", (12,))],
)  # fmt: skip
def test_real_rows_load_and_every_gold_answer_is_right(name, counts, tmp_path):
    config = dataset_config(name, REAL, *SMALLER.get(name, []))
    splits = ("test", "train", "validation")[: len(counts)]
    tables = {split: load_questions(config, split) for split in splits}
    assert tuple(len(table) for table in tables.values()) == counts
    for table in tables.values():
        rows = list(table.select("prompt", "references").iter_rows())
        right = graded(name, tmp_path, [(p, r, r[0]) for p, r in rows])
        assert right == ["correct"] * len(rows)
    rows = list(tables["test"].select("prompt", "references").iter_rows())[:500]
    shifted = [(p, r, rows[i - 1][1][0]) for i, (p, r) in enumerate(rows)]
    known = {(r"5", "x=5")}  # the same value
    for (_, references, answer), outcome in zip(
        shifted, graded(name, tmp_path, shifted), strict=True
    ):
        same = answer in references or {(references[0], answer), (answer, references[0])} & known
        assert (outcome == "correct") == bool(same), (references, answer, outcome)


SERVER = Path(__file__).parents[3] / "shared" / "hub" / "serve_hub.py"


@needs_real_rows
@pytest.mark.skipif(not SERVER.is_file(), reason=f"no stand-in for the Hub at {SERVER}")
def test_rows_come_from_the_hub_by_its_own_protocol(tmp_path):
    spec = importlib.util.spec_from_file_location("serve_hub", SERVER)
    serve_hub = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(serve_hub)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "datasets").symlink_to(REAL)
    hub = serve_hub.start(tmp_path / "root")
    program = (
        "import json; from mirror import dataset_config\n"
        "from benchmark.questions import load_questions\n"
        "print(json.dumps(load_questions(dataset_config('gsm8k', None), 'test')"
        "['question_id'].sort().to_list()[:3]))"
    )
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(sys.path),
        "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    }  # fmt: skip
    try:
        result = subprocess.run(
            [sys.executable, "-c", program], env=environment, cwd=Path(__file__).parents[2],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
    finally:
        hub.shutdown()
    assert result.returncode == 0, result.stderr
    ids = json.loads(result.stdout.splitlines()[-1])
    assert ids == ["gsm8k/test/0", "gsm8k/test/1", "gsm8k/test/10"]
    assert any("740312add88f781978c0658806c59bc2815b9866" in line for line in hub.requests)


def test_a_larger_limit_contains_the_smaller(mirror):
    config = replace(config_of("gsm8k", mirror), seed=3)
    everything = load_questions(config, "train")["question_id"].to_list()
    assert load_questions(config, "train", 2)["question_id"].to_list() == everything[:2]
