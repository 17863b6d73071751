"""A probe that a cell exported, used without the harness's store."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from benchmark.cell.saved import cell_of, load_cell
from benchmark.engines.settings import TransformersConfig
from benchmark.errors import DataError, ModelError, StoreError
from benchmark.probes import CapabilityProbe, capability_probe
from benchmark.probes.capability_probe import common_template
from benchmark.probes.score import main
from benchmark.records import Question, question_table
from tests.test_main import run, tiny


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A run's folder with an exported probe; its questions and confidences lie in the store."""
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tiny_model.parent)
        assert run(patch, folder, *tiny(Path(tiny_model.name), "estimator=[probe_own]")) == 0
    return folder


def probe_folder(exported: Path) -> Path:
    (folder,) = exported.glob("out/*/*/probes/probe_own")
    return folder


def score(
    monkeypatch: pytest.MonkeyPatch, text: str, *arguments: str, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    data = text.encode("utf-8", "surrogateescape")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), "latin-1"))
    try:
        main(arguments)
        status = 0
    except SystemExit as stop:
        status = int(stop.code or 0)
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_scores_equal_the_confidences_of_the_cell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], exported: Path
) -> None:
    cell = load_cell(cell_of(probe_folder(exported).parents[1]))
    known = dict(cell.estimates["probe_own"].confidences["question_id", "confidence"].iter_rows())
    questions = cell.questions
    for kind in ("question", "prompt"):
        lines = [
            json.dumps({"id": key, kind: text})
            for key, text in questions.select("question_id", kind).iter_rows()
        ]
        status, out, err = score(
            monkeypatch, "\n".join(lines), f"probe={probe_folder(exported)}", "engine.device=cpu",
            "engine.dtype=float32", capsys=capsys,
        )  # fmt: skip
        assert status == 0, err
        rows = [json.loads(line) for line in out.splitlines()]
        assert [row["id"] for row in rows] == questions["question_id"].to_list()
        found = {row["id"]: row["confidence"] for row in rows}
        for key, confidence in known.items():
            assert found[key] == pytest.approx(confidence, abs=1e-5)


def test_a_loaded_probe_predicts_in_python(exported: Path) -> None:
    probe = CapabilityProbe.load(probe_folder(exported))
    confidences = probe.predict(["What is 2 + 3?", "What is 2 + 3?", "What is 7 + 8?"])
    assert confidences.shape == (3,)
    assert confidences[0] == pytest.approx(confidences[1], abs=1e-6)
    assert ((confidences >= 0) & (confidences <= 1)).all()
    assert isinstance(confidences, np.ndarray)
    assert probe.predict([]).shape == (0,)


def test_a_loaded_probe_is_saved_as_it_was(exported: Path, tmp_path: Path) -> None:
    folder = probe_folder(exported)
    probe = CapabilityProbe.load(folder)
    assert set(probe.validation) == {"train_brier", "validation_brier"}
    probe.save(tmp_path / "copy")
    for name in ("card.json", "probe.safetensors"):
        assert (tmp_path / "copy" / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "no question"),
        ("What is 2 + 2?", "Line 1 is not JSON"),
        ('{"question": "a?"}\n{"questoin": "b?"}', "Line 2"),
        ('{"question": "a?", "prompt": "b"}', "either"),
        ('{"question": "  "}', "Line 1"),
        ('["a"]', "Line 1"),
        ("[" * 100_000, "Line 1 is not JSON"),
        ('{"question": "a?"}\n{"prompt": "b"}', "Line 2"),
        ('{"question": "\\ud800?"}', "Line 1 is not text in UTF-8"),
        ('{"question": "a?", "x": NaN}', "Line 1 is not JSON"),
        ('{"question": "a?", "x": 1e999}', "Line 1 holds a number"),
        ('{"question": "a?", "question": "b?"}', "a key occurs twice"),
        ('{"question": "caf\udce9?"}', "Standard input is not text in UTF-8"),
    ],
)
def test_bad_input_is_one_message(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    text: str,
    named: str,
) -> None:
    status, out, err = score(monkeypatch, text, f"probe={tmp_path}", capsys=capsys)
    assert status == 1
    assert out == ""
    assert err.startswith("Error: ")
    assert named in err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "Usage"),
        (["folder"], "Usage"),
        (["prob=x"], "prob"),
        (["engine.device=cpu"], "probe"),
        (["probe=nowhere"], "holds no exported probe"),
        (["probe=nowhere", "engine.dtype=int8"], "engine.dtype=int8"),
        (["probe=nowhere", "engine.max_rows=0"], "engine.max_rows=0"),
        (["probe=nowhere", "engine.token_budget=-5"], "engine.token_budget=-5"),
        (["probe=nowhere", "engine.kind=server"], "engine.kind"),
        (["probe=007"], "'007' holds no exported probe"),
        (["probe={a"], "'{a' holds no exported probe"),
        (["probe=~nobody-here/x"], "probe=~nobody-here/x is in no user's home"),
        (["probe=nowhere", "cache=~nobody-here/x"], "cache=~nobody-here/x is in no user's home"),
        (["probe=nowhere", "engine.device=["], "engine.device=["),
        (["probe=nowhere", "engine.max_rows=" + "9" * 5000], "can't be read"),
    ],
)
def test_bad_arguments_are_one_message(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    named: str,
) -> None:
    status, _, err = score(monkeypatch, '{"question": "a?"}', *arguments, capsys=capsys)
    assert status == 1
    assert named in err


def test_other_weights_than_the_probe_knows_are_refused(exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(probe_folder(exported), tmp_path / "probe")
    card = json.loads((folder / "card.json").read_text())
    model = shutil.copytree(card["model"]["hub_id"], tmp_path / "model")
    (model / "retrained.txt").write_text("other")
    card["model"]["hub_id"] = str(model)
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match=r"trained on folder-sha256:.* is now folder-sha256:"):
        CapabilityProbe.load(folder)


@pytest.mark.parametrize("place", ["gone", "relative"])
def test_a_model_folder_that_is_gone_is_named_with_the_card_that_names_it(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = shutil.copytree(probe_folder(exported), tmp_path / "probe")
    card = json.loads((folder / "card.json").read_text())
    card["model"]["hub_id"] = str(tmp_path / "gone") if place == "gone" else "models/here/gone"
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match=r"gone can't be loaded: .* that of .*card\.json"):
        CapabilityProbe.load(folder)


def test_a_local_model_s_folder_is_exported_whole(exported: Path, tiny_model: Path) -> None:
    card = json.loads((probe_folder(exported) / "card.json").read_text())
    assert card["model"]["hub_id"] == str(tiny_model)  # the run was given a relative path


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("What is 2 + 2?", "as a list"),
        (["a?", None], "Question 1 must be a text"),
        (["a?", 3], "Question 1 must be a text"),
        (["half \ud800"], "Question 0 must be a text"),
        (["a?", "b?", "  "], "Question 2 must be a text"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(exported: Path, given: object, named: str) -> None:
    probe = CapabilityProbe.load(probe_folder(exported))
    with pytest.raises(DataError, match=named):
        probe.predict(given)
    with pytest.raises(DataError, match=named.replace("Question", "Prompt")):
        probe.predict_prompts(given)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("identity", None),
        ("identity", {}),
        ("validation", None),
        ("model", None),
        ("model", {"name": "m"}),
        ("model", {"name": "m", "hub_id": "a/b", "reasoning": "much"}),
        ("template", 5),
        ("template", "no place"),
        ("training", {}),
        ("training", [None]),
        ("probe", None),
        ("probe.objective", "foo"),
        ("probe.layers", "many"),
        ("probe.layers", -1),
        ("probe.feature", 5),
        ("probe.setting", None),
        ("probe.setting", {"strength": 1}),
        ("probe.sha256", None),
    ],
)
def test_a_card_that_is_not_as_it_was_written_is_refused(
    exported: Path, tmp_path: Path, key: str, value: object
) -> None:
    folder = shutil.copytree(probe_folder(exported), tmp_path / "probe")
    card = json.loads((folder / "card.json").read_text())
    node, _, name = key.rpartition(".")
    (card[node] if node else card)[name] = value
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(StoreError, match=r"export (it|the probe) again"):
        CapabilityProbe.load(folder)


def test_output_is_utf_8_whatever_the_locale_and_ends_quietly_when_nobody_reads(
    exported: Path,
) -> None:
    command = [sys.executable, "-m", "benchmark", "score", f"probe={probe_folder(exported)}"]
    lines = (
        b'\xef\xbb\xbf{"question": "caf\xc3\xa9?"}\n'
        + b'{"question": "2 + 2?", "note": "%s"}\n' % (b"x" * 2000) * 100
    )
    place = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    def scored(output: IO[bytes] | None) -> tuple[int, str]:
        done = subprocess.run(
            command, input=lines, stdout=output, stderr=subprocess.PIPE, env=place, check=False
        )
        assert b"Traceback" not in done.stderr
        return done.returncode, done.stderr.decode()

    reader = subprocess.Popen(["head", "-n", "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    status, err = scored(reader.stdin)
    out, _ = reader.communicate()
    assert json.loads(out)["question"] == "caf\u00e9?"
    assert status == 0
    assert "Error" not in err
    with Path("/dev/full").open("wb") as full:
        status, err = scored(full)
    assert status == 1
    assert "Error: The confidences can't be written: No space left on device." in err


@pytest.mark.parametrize("fault", ["no card", "cut card", "another format", "no numbers"])
def test_a_broken_export_is_refused(exported: Path, tmp_path: Path, fault: str) -> None:
    folder = shutil.copytree(probe_folder(exported), tmp_path / "probe")
    card = folder / "card.json"
    text = card.read_text()
    if fault == "no card":
        card.unlink()
    if fault == "cut card":
        card.write_text(text[: len(text) // 2])
    if fault == "another format":
        card.write_text(json.dumps(json.loads(text) | {"format": 99}))
    if fault == "no numbers":
        (folder / "probe.safetensors").unlink()
    with pytest.raises(StoreError):
        CapabilityProbe.load(folder)


def test_a_cache_that_is_no_folder_is_one_message(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(
        capability_probe, "find_weights", lambda *_: (tmp_path / "file" / "models").mkdir()
    )
    arguments = [f"probe={probe_folder(exported)}", f"cache={tmp_path}/file"]
    status, _, err = score(monkeypatch, '{"question": "a?"}', *arguments, capsys=capsys)
    assert (status, err.count("\n")) == (1, 1)
    assert err.startswith(f"Error: {tmp_path}/file/models: Not a directory")


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_closed_streams_are_one_message(exported: Path, closed: str) -> None:
    program = f"{sys.executable} -m benchmark score"
    command = f'echo \'{{"question": "a"}}\' | {program} probe={probe_folder(exported)} {closed}'
    ended = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "must be open" in ended.stderr


def test_one_wording_is_a_template_and_several_are_none() -> None:
    def table(*prompts: str):
        rows = [Question(str(i), p, f"q{i}?", ("a",)) for i, p in enumerate(prompts)]
        return question_table(rows)

    assert common_template(table("q0?\nBe brief.", "q1?\nBe brief.")) == "{question}\nBe brief."
    assert common_template(table("q0?\nBe brief.", "q1?")) is None
    assert common_template(table("other", "other")) is None
    assert common_template(table("The q of q0?", "The q of q1?")) == "The q of {question}"
    short = [Question("0", "Answer with a letter. Question: A", "A", ("a",))]
    assert common_template(question_table(short)) == "Answer with a letter. Question: {question}"


def test_a_probe_on_every_second_layer_is_used_on_those_layers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path
) -> None:
    chosen = tiny(tiny_model, "estimator=[probe_own]")
    assert run(monkeypatch, tmp_path, *chosen, "engine.layers=2") == 0
    cell = load_cell(cell_of(probe_folder(tmp_path).parents[1]))
    (chosen_probe,) = cell.estimates["probe_own"].probes.values()
    layers = {"embedding", "layer 2", "mean over layers", "maximum over layers"}
    assert set(chosen_probe.selection["feature"].unique()) == layers
    card = json.loads((probe_folder(tmp_path) / "card.json").read_text())
    assert card["probe"]["step"] == 2
    known = dict(cell.estimates["probe_own"].confidences["question_id", "confidence"].iter_rows())
    settings = TransformersConfig(device="cpu", dtype="float32")
    loaded = CapabilityProbe.load(probe_folder(tmp_path), settings)
    prompts = dict(cell.questions.select("question_id", "prompt").iter_rows())
    found = loaded.predict_prompts([*prompts.values()])
    assert found.tolist() == pytest.approx([known[key] for key in prompts], abs=1e-5)
    assert run(monkeypatch, tmp_path, *chosen) == 0  # all layers are an artifact of their own
    assert len([*tmp_path.glob("out/store/tiny/basics/train/features-*")]) == 2
