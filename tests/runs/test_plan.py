"""The plan says what a run will ask the model for, and asks it for nothing."""

import re
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from benchmark.config.composing import compose_jobs
from benchmark.runs.lengths import REPORTED
from benchmark.runs.plan import Planner, Row
from benchmark.runs.plan_command import main
from benchmark.runs.rates import PACKAGED, Rate, read_rates, write_rate
from benchmark.runs.schedule import ideal
from tests.questions.mirror import invented_mirror
from tests.test_main import run, tiny

ASKING = "estimator=[random,verbalized,verbalized_isotonic,p_true,probe_own]"


def plan(tmp_path: Path, *overrides: str) -> list[Row]:
    places = [f"paths.outputs={tmp_path}/out", f"paths.cache={tmp_path}/cache"]
    planner = Planner(Console(quiet=True), read_rates(tmp_path / "out"))
    return [planner.row(job) for job in compose_jobs([*places, *overrides])]


def drawn(printed: str) -> dict[str, int]:
    """Return how much of everything a run said that it asked for."""
    asked = r"(?:Responses|Verbalized|P|Hidden states) ?\(\w+\)"
    lines = re.findall(rf"^({asked}): ([\d,]+) of ([\d,]+)", printed, re.MULTILINE)
    return {what: int(total.replace(",", "")) for what, _, total in lines}


def test_a_plan_tells_what_a_run_then_asks_for(monkeypatch, tmp_path, capsys, tiny_model) -> None:
    settings = tiny(tiny_model, ASKING)
    (row,) = plan(tmp_path, *settings)
    train, validation, test = 20 * 2, 10 * 2, 12 * 4
    stated, probabilities = 12 + 20, 12  # the isotonic curve needs stated ones in train, too
    assert row.fault == ""
    assert row.state == "missing"
    assert row.questions == 12
    assert row.wanted == test + train + validation + stated + probabilities
    assert row.new.requests == (12 + 20 + 10) + stated + probabilities
    caps = 4 * (test + train + validation) + 256 * stated + probabilities
    assert row.new.output_tokens == caps
    assert row.lengths == ("cap",)
    assert row.new.hidden_states == 12 + 20 + 10
    assert not (tmp_path / "out").exists()

    assert run(monkeypatch, tmp_path, *settings) == 0
    assert drawn(capsys.readouterr().out) == {
        "Responses (test)": test, "Responses (train)": train, "Responses (validation)": validation,
        "Verbalized (test)": 12, "Verbalized (train)": 20, "P(True)": 12,
        "Hidden states (test)": 12, "Hidden states (train)": 20, "Hidden states (validation)": 10,
    }  # fmt: skip
    (row,) = plan(tmp_path, *settings)
    assert row == Row("tiny", "basics", finished=True)


def test_what_is_stored_is_not_asked_for_again(monkeypatch, tmp_path, capsys, tiny_model) -> None:
    assert run(monkeypatch, tmp_path, *tiny(tiny_model, "estimator=[verbalized]")) == 0
    capsys.readouterr()
    more = tiny(tiny_model, ASKING, "sampling.k=6", "dataset.limit=15")
    (row,) = plan(tmp_path, *more)
    new = (15 * 6 - 12 * 4) + 20 * 2 + 10 * 2 + 3 + 20 + 15
    assert row.wanted - row.stored == new
    assert row.stored == 12 * 4 + 12
    assert row.new.requests == 15 + 20 + 10 + 3 + 20 + 15
    assert row.state == f"{row.stored / row.wanted:.0%} there"
    assert set(row.lengths) == {"stored", "cap"}
    parts = tmp_path.glob("out/store/tiny/basics/test/responses-*/part-*.parquet")
    mean = pl.concat([pl.read_parquet(path) for path in parts])["completion_tokens"].mean()
    (only_responses,) = plan(tmp_path, *tiny(tiny_model, "estimator=[random]", "sampling.k=6"))
    assert only_responses.new.output_tokens == pytest.approx(mean * 12 * 2)

    assert run(monkeypatch, tmp_path, *more) == 0
    told = drawn(capsys.readouterr().out)
    assert sum(n for what, n in told.items() if "Hidden" not in what) == new


def test_what_cells_share_counts_once(tmp_path, tiny_model) -> None:
    shared = [
        "estimator=[probe_own]", "+dataset@estimator.probe_own.train_on.numbers.dataset=numbers",
        "+grading@estimator.probe_own.train_on.numbers.grading.basics=basics",
        "estimator.probe_own.train_on.numbers.dataset.train_limit=30",
        "estimator.probe_own.train_on.numbers.dataset.validation_limit=20",
    ]  # fmt: skip
    write_rate(tmp_path / "out", "tiny", Rate(100, 10, 2, 8, "made up"))
    first, second = plan(tmp_path, *tiny(tiny_model, "dataset=words,facts"), *shared)
    assert first.wanted == second.wanted == 12 * 4 + (30 + 20) * 2
    assert first.new.requests == 12 + 30 + 20
    assert second.new.requests == 12
    assert (first.new.hidden_states, second.new.hidden_states) == (62, 12)
    # The simulation sees what both need, under one name, and makes it once.
    both = {part.key for part in first.parts} & {part.key for part in second.parts}
    assert sorted(Path(key).parts[-2] for key in both) == ["train"] * 2 + ["validation"] * 2
    assert {part for part in first.parts if part.key in both} <= set(second.parts)
    counted = first.new.hours(first.rate) + second.new.hours(second.rate)
    assert counted == pytest.approx(ideal([first.parts, second.parts], 1))
    assert first.state_bytes == 3 * 8 * 4  # the embedding and two layers, in float32
    assert first.new.disk(first.state_bytes) > 62 * first.state_bytes
    (half,) = plan(
        tmp_path,
        *tiny(tiny_model),
        "estimator=[random]",
        "engine.dtype=bfloat16",
        "engine.layers=2",
    )
    assert half.state_bytes == 2 * 8 * 2


def test_no_weights_are_needed_where_nothing_is_stored(tmp_path) -> None:
    (row,) = plan(tmp_path, "model.hub_id=no/where", "model.gguf=null", "estimator=[random]")
    assert row.fault == ""
    assert row.wanted == row.questions * 32


def test_lengths_are_the_paper_s_and_requests_those_of_a_server(tmp_path) -> None:
    root = invented_mirror(tmp_path / "hub")
    (row,) = plan(
        tmp_path, "experiment=paper_grid", "model=gpt_oss_20b", "dataset=gsm8k", "engine=vllm",
        f"paths.hub_root={root}", "estimator=[random,verbalized,p_true]",
    )  # fmt: skip
    assert row.questions == 3
    assert row.new.output_tokens == 3 * (100 * 433 + 308 + 193)
    assert row.new.requests == 3 * 13 + 3 + 3  # 8 samples a request
    assert row.lengths == ("paper",)


def test_the_paper_reports_a_length_for_every_cell_of_its_grid() -> None:
    table = pl.read_csv(REPORTED)
    known = {tuple(row) for row in table["model", "dataset", "replies"].iter_rows()}
    assert len(known) == table.height
    for job in compose_jobs(["experiment=paper_grid", "estimator=[random]", "application=[]"]):
        assert (job.model.name, job.dataset.name, "responses") in known
        assert (job.model.name, job.dataset.name, "verbalized") in known


def test_a_cell_at_fault_is_told_and_the_others_are_planned(tmp_path, capsys, tiny_model) -> None:
    settings = [*tiny(tiny_model, "estimator=[random]"), f"paths.outputs={tmp_path}/out"]
    settings = ["dataset=facts,words", *settings, "dataset.limit=60"]
    with pytest.raises(SystemExit) as stopped:
        main([settings[0], "--tokens-per-second", "100", *settings[1:]])
    assert stopped.value.code == 1
    printed = capsys.readouterr()
    assert "a limit of 60 questions on split 'test', which has 50" in printed.err
    rows = {line.split()[1]: line for line in printed.out.splitlines() if "tiny" in line}
    assert "unknown" in rows["facts"]
    assert "missing" in rows["words"]
    assert f"{60 * 4 * 4}" in rows["words"]
    assert "2 cells" in printed.out


def test_hours_are_told_at_a_throughput_that_is_given(tmp_path, capsys) -> None:
    settings = ["estimator=[random]", "sampling.k=3000", f"paths.outputs={tmp_path}/out"]
    with pytest.raises(SystemExit) as stopped:
        main(["-m", *settings, "--tokens-per-second=1000"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    (row,) = plan(tmp_path, *settings)
    assert row.new.output_tokens == row.questions * 3000 * 24
    assert f"{row.new.output_tokens / 1000 / 3600:.1f}" in printed
    assert "1,000 output tokens a second (given)" in printed
    with pytest.raises(SystemExit):
        main(settings)
    printed = capsys.readouterr().out
    assert "1,200 output tokens a second (measured for README.md: two CPU cores" in printed
    (rate,) = pl.read_csv(PACKAGED).filter(model="smollm2_135m")["output_tokens_per_second"]
    assert f"{row.new.output_tokens / rate / 3600:.1f}" in printed


def test_unknown_rates_are_said_and_no_hours_are_made_up(tmp_path, capsys, tiny_model) -> None:
    settings = tiny(tiny_model, "estimator=[probe_own]")
    with pytest.raises(SystemExit) as stopped:
        main([*settings, f"paths.outputs={tmp_path}/out", "--accelerators=8"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert "Rate of tiny: unknown; measure it with capcal calibrate-rate model=tiny" in printed
    assert "On several accelerators: unknown" in printed
    (line,) = [line for line in printed.splitlines() if "missing" in line]
    assert line.split()[-3:-1] == ["–", "–"]  # hours, and the disk for hidden states


def test_a_measured_rate_stands_above_an_assumed_one(tmp_path) -> None:
    settings = ["estimator=[random]", f"paths.outputs={tmp_path}/out"]
    (assumed,) = plan(tmp_path, *settings)
    rate = Rate(1e6, 2 * assumed.rate.output_tokens_per_second, 30, 576, "measured by a test")
    write_rate(tmp_path / "out", "other", rate)
    write_rate(tmp_path / "out", "smollm2_135m", rate._replace(source="replaced"))
    write_rate(tmp_path / "out", "smollm2_135m", rate)
    assert pl.read_csv(tmp_path / "out" / "rates.csv")["model"].to_list() == [
        "other", "smollm2_135m"
    ]  # fmt: skip
    (measured,) = plan(tmp_path, *settings)
    assert measured.rate == rate
    assert measured.parts[0].hours < assumed.parts[0].hours


@pytest.mark.parametrize(
    "text",
    [
        "model,speed\nsmollm2_135m,3\n",
        "model,prompt_tokens_per_second,output_tokens_per_second,layers,width,source\nm,1,0,1,1,x\n",
        "model,prompt_tokens_per_second,output_tokens_per_second,layers,width,source\nm,1,,1,1,x\n",
        "model,prompt_tokens_per_second,output_tokens_per_second,layers,width,source\nm,a,2,1,1,x\n",
    ],
)
def test_a_table_that_holds_no_rates_is_refused(tmp_path, capsys, text: str) -> None:
    (tmp_path / "rates.csv").write_text(text)
    with pytest.raises(SystemExit) as stopped:
        main(["estimator=[random]", f"paths.outputs={tmp_path}"])
    assert stopped.value.code == 1
    assert "rates.csv" in capsys.readouterr().err


def test_prices_and_accelerators_are_told(tmp_path, capsys) -> None:
    settings = ["estimator=[random]", "sampling.k=3000", f"paths.outputs={tmp_path}/out"]
    with pytest.raises(SystemExit):
        main([*settings, "--price-in=2", "--price-out=10", "--accelerators=2"])
    printed = capsys.readouterr().out
    (row,) = plan(tmp_path, *settings)
    price = (2 * row.new.prompt_tokens + 10 * row.new.output_tokens) / 1e6
    assert f"{price:,.2f}" in printed
    assert "On 2 accelerators, simulated at these rates" in printed


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["experiment=paper_gird"], "paper_grid"),
        (["sampling.q=3"], "sampling.q"),
        (["--tokens-per-second=0"], "above 0"),
        (["--accelerators=0"], "above 0"),
        (["--price-in=1"], "give both"),
        (["--price-in=1", "--price-out=-1"], "at least 0"),
        (["estimator=null"], "estimator=null: name a choice"),
    ],
)
def test_what_is_mistyped_is_one_message(capsys, arguments: list[str], told: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code in (1, 2)
    printed = capsys.readouterr()
    assert told in printed.err
    assert "Traceback" not in printed.err
