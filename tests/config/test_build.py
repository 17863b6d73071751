"""What a file of the configuration names is built, or refused with its key; nothing is ignored."""

import sys
from pathlib import Path

import pytest
from rich.console import Console

from benchmark.config.build import build
from benchmark.config.checks import checked
from benchmark.config.composing import OWN_FOLDERS, compose_jobs, explained, take_config_dirs
from benchmark.config.schema import ModelConfig, typed
from benchmark.engines.weights import find_weights
from benchmark.errors import BenchmarkError, ConfigError
from benchmark.estimators.average import Average
from benchmark.estimators.baselines import Random
from benchmark.grading import build_graders, named_graders
from benchmark.store.artifact import fingerprint

RANDOM = "benchmark.estimators.baselines.Random"


def test_entries_inside_an_entry_are_built_in_their_places():
    of = {"a": {"_target_": RANDOM, "draws": 3}, "b": {"_target_": RANDOM}}
    made = build({"_target_": "benchmark.estimators.average.Average", "of": of}, "x", "estimate")
    assert isinstance(made, Average)
    assert made.of == {"a": Random(draws=3), "b": Random()}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (5, ["x=5", "x._target_=package.module.Class"]),
        ({}, ["x={}", "_target_"]),
        ({"draws": 3}, ["_target_"]),
        ({"_target_": None}, ["_target_"]),
        ({"_target_": 7}, ["_target_"]),
        ({"_target_": "random"}, ["x._target_=random", "package.module.Class"]),
        ({"_target_": "a..b"}, ["a..b", "package.module.Class"]),
        ({"_target_": "os; print.x"}, ["package.module.Class"]),
        ({"_target_": RANDOM + "n"}, ["no class 'Randomn'", "Near names: Random"]),
        ({"_target_": "benchmark.estimators.baseline.Random"}, ["no module", "baselines"]),
        ({"_target_": "benchmrk.estimators.Random"}, ["'benchmrk'", "Near names: benchmark"]),
        ({"_target_": "no_such_lab.x.Y"}, ["no module 'no_such_lab'", "PYTHONPATH"]),
        ({"_target_": "os.system"}, ["x._target_=os.system", "must be a dataclass"]),
        ({"_target_": "os.path.join"}, ["must be a dataclass"]),
        ({"_target_": "pathlib.Path"}, ["must be a dataclass"]),
        ({"_target_": "benchmark.grading.verdict.TextGrader"}, ["abstract"]),
        ({"_target_": "benchmark.grading.exact.Exact"}, ["must have the method 'estimate'"]),
        ({"_target_": RANDOM, "drows": 3}, ["x.drows", "Near names: draws"]),
        ({"_target_": RANDOM, "draws": "many"}, ["x.draws", "many"]),
        ({"_target_": RANDOM, "draws": {"_target_": RANDOM}}, ["x", "draws"]),
        (
            {
                "_target_": "benchmark.estimators.average.Average",
                "of": {"a": {"_target_": "b"}, "c": 1},
            },
            ["x.of.a._target_=b"],
        ),
    ],
)
def test_what_names_no_class_of_its_kind_is_refused_with_its_key(entry, words):
    with pytest.raises(ConfigError) as refused:
        build(entry, "x", "estimate")
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize("code", ["import absent_module", "1 / 0", "def f(:", "raise OSError('x')"])
def test_a_module_that_fails_is_told_with_its_reason(tmp_path, monkeypatch, code):
    (tmp_path / "own_broken.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"x\._target_=own_broken\.A: importing own_broken fails"):
        build({"_target_": "own_broken.A"}, "x", "estimate")
    sys.modules.pop("own_broken", None)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ("+model.decoding.top_kk=20", ["model.decoding.top_kk", "top_k"]),
        ("+sampling.kk=3", ["sampling.kk", "Near names: k"]),
        ("+datset=basics", ["datset", "dataset"]),
        ("+statistics.resample=3", ["statistics.resample", "resamples"]),
        ("+paths.output=x", ["paths.output", "outputs"]),
        ("+tracker.projct=x", ["tracker.projct", "project"]),
        ("+capability.unparsd=left_out", ["capability.unparsd", "unparsed"]),
        ("+dataset.limti=3", ["dataset.limti", "limit"]),
        ("+engine.devize=cpu", ["engine.devize", "device"]),
        ("dataset=gsm8k +dataset.sources.test.spilt=x", ["sources.test.spilt", "split"]),
        ("model=gemma3_270m +model.few_shot.templat=x", ["model.few_shot.templat", "template"]),
        ("sampling=adaptive +sampling.stopping.kmax=3", ["sampling.stopping.kmax", "k_max"]),
        ("sampling.kk=3", ["kk", "Near names: k"]),
        ("dataset.limti=3", ["limti", "limit"]),
        ("dataset=[basics,words]", ["dataset=...", "one choice", "-m dataset="]),
        ("model=[smollm2_135m,gemma3_270m]", ["model=...", "one choice"]),
    ],
)
def test_what_nothing_reads_is_refused_with_near_names(overrides, words):
    with pytest.raises(Exception) as refused:  # noqa: PT011 - Hydra's and ours
        checked(*compose_jobs(overrides.split()))
    told = explained(refused.value)
    for word in words:
        assert word in told
    assert "To append" not in told


def test_free_keys_are_taken():
    (job,) = compose_jobs(["+model.chat_template_kwargs.enable_thinking=false"])
    assert checked(job).model.chat_template_kwargs == {"enable_thinking": False}


VERDICTS = {  # fingerprints of the identities that stored verdicts have
    "basics": "28374ea976ea", "exact": "d3426aad43de", "letter": "5e4961f0337d",
    "llm_judge": "2bbacfa5d26d", "number": "074a9f8cfda5", "short_fact": "9a539418916e",
}  # fmt: skip


@pytest.mark.parametrize("name", VERDICTS)
def test_stored_verdicts_stay_valid(name):
    entries = named_graders([name])
    if name == "llm_judge":
        entries[name]["model"] = "judge"
    (grader,) = build_graders(entries).values()
    assert fingerprint(grader.identity) == VERDICTS[name]


def test_a_folder_is_taken_beside_a_package_with_weights(tmp_path, tiny_model):
    (job,) = compose_jobs([f'model.hub_id="{tiny_model}"'])
    model = checked(job).model
    assert model.gguf is not None
    weights = find_weights(model, tmp_path, Console(quiet=True))
    assert weights.location == str(tiny_model)
    assert weights.identity.startswith("folder-sha256:")


@pytest.mark.parametrize(
    ("hub_id", "revision", "taken"),
    [
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "main", True),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "other", False),
        ("HuggingFaceTB/SmolLM2-360M-Instruct", "main", False),
        ("models/not_there", "main", False),
    ],
)
def test_the_packaged_weights_stand_for_one_model(hub_id, revision, taken):
    (job,) = compose_jobs([f"model.hub_id={hub_id}", f"model.revision={revision}"])
    gguf = checked(job).model.gguf
    assert gguf is not None
    assert gguf.stands_for(hub_id, revision) == taken


def own(folder: Path, name: str) -> Path:
    (folder / "estimator").mkdir(parents=True)
    text = f"# @package estimator.{name}\n_target_: {RANDOM}\ndraws: 3\n"
    (folder / "estimator" / f"{name}.yaml").write_text(text)
    return folder


def test_folders_of_ones_own_are_searched_whichever_way_they_are_named(tmp_path, monkeypatch):
    first, second = own(tmp_path / "a", "mine"), own(tmp_path / "b b", "ours")
    monkeypatch.setenv(OWN_FOLDERS, str(first))
    rest = take_config_dirs(["plan", "--config-dir", str(second), "estimator=[mine,ours]"])
    assert rest == ["plan", "estimator=[mine,ours]"]
    (job,) = compose_jobs(rest[1:])
    assert [*job.estimator] == ["mine", "ours"]
    monkeypatch.setenv(OWN_FOLDERS, "")
    (job,) = compose_jobs([f"hydra.searchpath=[file://{first}]", "estimator=[mine]"])
    assert [*job.estimator] == ["mine"]
    with pytest.raises(Exception, match="mine"):
        compose_jobs(["estimator=[mine]"])


def test_of_two_files_of_one_name_ones_own_is_taken(tmp_path, monkeypatch):
    folders = [own(tmp_path / name, "random") for name in ("first", "second")]
    path = folders[1] / "estimator" / "random.yaml"
    path.write_text(path.read_text().replace("draws: 3", "draws: 4"))
    monkeypatch.setenv(OWN_FOLDERS, ":".join(map(str, folders)))
    (job,) = compose_jobs(["estimator=[random]"])
    assert job.estimator.random.draws == 3


def test_a_folder_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv(OWN_FOLDERS, str(tmp_path / "none"))
    with pytest.raises(BenchmarkError, match=r"none is no folder.*CAPCAL_CONF"):
        compose_jobs([])


def test_what_comes_from_elsewhere_is_not_built():
    entry = {"_target_": "os.system", "command": "ls"}
    decoding = {"temperature": 1, "top_p": 1, "max_new_tokens": 1}
    elsewhere = {"name": "x", "hub_id": "y", "decoding": decoding}
    elsewhere["chat_template_kwargs"] = {"a": entry}
    model = typed(elsewhere, ModelConfig, "card.model")  # as the card of a probe is read
    assert model.chat_template_kwargs == elsewhere["chat_template_kwargs"]
    with pytest.raises(ConfigError, match=r"card\.model\._target_"):
        typed({**elsewhere, "_target_": RANDOM}, ModelConfig, "card.model")
