"""A secret reaches no file, no terminal and no log, whoever sends it back in what spelling.

The canaries are searched in every byte of what a run leaves, in all their usual encodings.
"""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.config.secrets import refuse_argument
from benchmark.redaction import HIDDEN, clean, hide, redacted, told
from tests.engines.server.hostile import ECHOES
from tests.engines.server.scripted import ScriptedServer
from tests.faulty import ROOT
from tests.leaks import KEY, VARIABLES, leaks
from tests.test_main import run, tiny


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", f"{tmp_path}/w")


def served(model: Path, server: ScriptedServer, *more: str) -> list[str]:
    kept = [s for s in tiny(model) if not s.startswith(("engine", "dataset.limit", "sampling.k="))]
    return [
        *kept, "engine=server", f"engine.base_url={server.url}", "engine.model=served",
        "engine.attempts=1", "dataset.limit=4", "sampling.k=2", "estimator=[verbalized]",
        "engine.headers={X-Team: TEAM_TOKEN}", *more,
    ]  # fmt: skip


@pytest.mark.parametrize("name", ECHOES)
def test_a_key_that_a_server_sends_back_reaches_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    tiny_model: Path, name: str,
) -> None:  # fmt: skip
    with ScriptedServer() as server:
        server.attack = ECHOES[name]
        more = ["tracker=wandb"] if "good" in name else ["capability.failed=left_out"]
        run(monkeypatch, tmp_path, *served(tiny_model, server, *more))
        assert server.keys == {f"Bearer {KEY}"}
    said = capsys.readouterr()
    assert not leaks(tmp_path, *said)
    if "good" in name:
        assert list(tmp_path.glob("out/store/tiny/basics/test/responses-*/part-*"))
        assert list(tmp_path.rglob("*.wandb"))
    else:
        assert HIDDEN in said.err


@pytest.mark.parametrize(
    "setting",
    [
        "engine.base_url=http://user:pw-canary@host/v1",
        "engine.base_url=http://user:pw-canary@host",
        "engine.base_url=HTTP://USER:pw-canary@HOST:80/v1",
        "engine.base_url=http://pw-canary@host/v1",
        "engine.base_url=http://host/v1?api_key=pw-canary",
        "engine.base_url='http:\\\\\\\\user:pw-canary@host'",
        "engine.base_url='http://host/v1#pw-canary'",
        "engine.base_url=user:pw-canary@host/v1",
        "grading=[basics,llm_judge] grading.llm_judge.model=m "
        "grading.llm_judge.base_url=http://user:pw-canary@host/v1",
        "dataset.grading.llm_judge.base_url=http://user:pw-canary@host/v1",
        "+engine.api_key=pw-canary",
        "+engine.apiKey=pw-canary",
        "++engine.token=pw-canary",
        "+engine.key=pw-canary",
        "+engine.access-token=pw-canary",
        "+model.hf_token=pw-canary",
        "+dataset.password=pw-canary",
        "+tracker.api_key=pw-canary",
        "+tracker.client_secret=pw-canary",
        "engine.api_key_env=pw-canary",
        "engine.headers={Authorization: 'Bearer pw-canary'}",
        "engine.extra_body={api_key: pw-canary}",
        "engine.extra_body={nested: {deep: [{access_token: pw-canary}]}}",
        "engine=vllm engine.command=[vllm,serve,--api-key,pw-canary]",
        "engine=vllm engine.command=[vllm,serve,--api-key=pw-canary]",
        "engine=vllm engine.command=[env,HF_TOKEN=pw-canary,vllm]",
        "engine=vllm engine.command=[curl,'https://me:pw-canary@host/x']",
        "model.hub_id=https://me:pw-canary@hf.co/org/model",
        "paths.hub_root=https://me:pw-canary@host/",
        "+hydra.job.env_set.HF_TOKEN=pw-canary",
        "model.system_prompt=team-canary-0042",
        "+model.chat_template_kwargs={key: team-canary-0042}",
        "tracker.entity=team-canary-0042",
    ],
)
@pytest.mark.parametrize("sweep", [False, True])
def test_a_secret_in_the_configuration_is_refused_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    setting: str, sweep: bool,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    base = [] if "engine=vllm" in setting else ["engine=server", "engine.base_url=http://host/v1"]
    option = "--multirun" if sweep else None
    more = ["model=smollm2_135m,gemma3_270m"] if sweep else []
    arguments = [*base, *setting.split(" "), *more] if "{" not in setting else [*base, setting]
    assert run(monkeypatch, tmp_path, *arguments, option=option) == 1
    said = capsys.readouterr()
    assert "Error: " in said.err
    assert "canary" not in said.out + said.err
    assert "Traceback" not in said.err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "setting",
    [
        "engine.base_url=http://host/v1,http://user:pw-canary@host/v1",
        "engine.extra_body={a: 1},{api_key: pw-canary}",
        "engine=server,mine",
    ],
)
def test_a_secret_among_what_a_grid_varies_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    setting: str,
) -> None:  # fmt: skip
    conf = tmp_path / "conf" / "engine"
    conf.mkdir(parents=True)
    (conf / "mine.yaml").write_text(
        "defaults: [server, _self_]\nbase_url: http://user:pw-canary@host/v1\n"
    )
    base = [] if "mine" in setting else ["engine=server"]
    monkeypatch.setattr("sys.argv", ["capcal"])
    arguments = [f"--config-dir={conf.parent}", *base, setting]
    assert run(monkeypatch, tmp_path, *arguments, option="-m") == 1
    assert "holds a" in capsys.readouterr().err
    assert not list(tmp_path.glob("out/**/*"))


@pytest.mark.parametrize(
    "line",
    [
        "base_url: [http://host/v1, user:pw-canary@host/v1]",
        "base_url: [http://host/v1, 'http://user:pw-canary@host/v1']",
        "base_url: [http://host/v1, 'http://host/v1?k=pw-canary']",
        "base_url: [http://host/v1, 'http://host/v1#pw-canary']",
        "base_url: [[http://host/v1, [user:pw-canary@host]]]",
        "base_url: {a: 'user:pw-canary@host/v1'}",
        "api_key: [pw-canary]",
        "password: {value: [pw-canary]}",
        "address: user:pw-canary@host",
        "server: user:pw-canary@host/v1",
        "urls: [http://host/v1, 'http://host/?x=pw-canary']",
        "extra_body: {tokens: {access_token: [1, pw-canary]}}",
        "command: [curl, -H, 'Authorization: Bearer pw-canary']",
        "command: [curl, -H, 'Authorization:pw-canary']",
        "command: [curl, -H, 'X-Api-Key: pw-canary']",
        "command: [curl, -u, 'me:pw-canary']",
        'command: [vllm, --headers, \'{"Authorization": "Bearer pw-canary"}\']',
    ],
)
@pytest.mark.parametrize("way", ["own folder", "grid", "grid of a searched folder"])
def test_a_secret_in_a_file_of_ones_own_is_refused_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    line: str, way: str,
) -> None:  # fmt: skip
    conf = tmp_path / "conf" / "engine"
    conf.mkdir(parents=True)
    start = "vllm" if line.startswith("command") else "server"
    (conf / "mine.yaml").write_text(f"defaults: [{start}, _self_]\n{line}\n")
    monkeypatch.setattr("sys.argv", ["capcal"])
    monkeypatch.delenv("CAPCAL_CONF", raising=False)
    searched = way == "grid of a searched folder"
    folder = f"hydra.searchpath=[file://{conf.parent}]" if searched else f"-cd={conf.parent}"
    choice = "engine=mine" if way == "own folder" else f"engine={start},mine"
    assert (
        run(monkeypatch, tmp_path, folder, choice, option=None if "," not in choice else "-m") == 1
    )
    said = capsys.readouterr()
    assert "canary" not in said.out + said.err
    assert "Traceback" not in said.err
    held = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert sum(b"canary" in data for data in held) == 1  # the file itself


@pytest.mark.parametrize(
    "setting",
    [
        "+model.chat_template_kwargs.tokens=[a,'b: c']",
        "+model.chat_template_kwargs.eos_token='</s>'",
        "engine.api_key_env=MY_KEY",
        "+model.chat_template_kwargs.sort_key=question_id",
        "dataset.instruction='Write to me@host.org or see http://host/a?b=c'",
        "engine.headers={X-Api-Key: TEAM_TOKEN}",
        "engine.token_budget=512",
    ],
)
def test_what_is_no_secret_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    setting: str,
) -> None:  # fmt: skip
    base = [] if "token_budget" in setting else ["engine=server", "engine.base_url=http://host/v1"]
    assert run(monkeypatch, tmp_path, *base, setting, "sampling.k=0") == 1
    assert "sampling.k=0" in capsys.readouterr().err  # the next rule


@pytest.mark.parametrize(
    "argument",
    [
        "engine.command=[sh,-c,'curl -H \"Authorization: Bearer $KEY\"']",
        "engine.command=[curl,-H,'Authorization: $KEY']",
        "engine.command=[vllm,serve,-u,user]",
        "engine.command=[vllm,--x,'{\"num_speculative_tokens\": 1}']",
        "engine.headers={X-Api-Key: TEAM_TOKEN}",
    ],
)
def test_an_argument_that_names_a_variable_is_taken(argument: str) -> None:
    refuse_argument(argument)


def test_a_traceback_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(f"a fault of ours with {KEY}\x1b[2J")

    monkeypatch.setattr("benchmark.cell.finished.has_cells", broken)
    assert run(monkeypatch, tmp_path) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "a fault of ours with ***\\x1b[2J" in said
    assert not leaks(tmp_path, said)


def test_pickles_of_submitted_jobs_hold_no_secret_and_are_nobody_elses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    tiny_model: Path,
) -> None:  # fmt: skip
    pytest.importorskip("submitit")
    previous = os.umask(0)
    try:
        with ScriptedServer() as server:
            settings = served(tiny_model, server, "sampling.seed=1,2")
            settings += ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5"]
            assert run(monkeypatch, tmp_path, *settings, option="-m") == 0
    finally:
        os.umask(previous)
    (private,) = tmp_path.rglob(".submitit")
    assert list(private.rglob("*.pkl"))
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert not leaks(tmp_path, *capsys.readouterr())


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_jobs_of_a_grid_leave_no_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    tiny_model: Path, launcher: str,
) -> None:  # fmt: skip
    with ScriptedServer() as server:
        server.attack = ECHOES["echo in a 400"]
        settings = served(tiny_model, server, "sampling.seed=1,2", f"hydra/launcher={launcher}")
        assert run(monkeypatch, tmp_path, *settings, option="-m") == 1
    assert len([*tmp_path.rglob("state.json")]) == 2
    assert not leaks(tmp_path, *capsys.readouterr())


@pytest.mark.parametrize(
    "text",
    [
        "\x1b]0;title\x07", "\x1b[31mred\x1b[0m", "a\rb", "\x9b2J", "a\x08\x08b", "\u202etxt.exe",
        "\u2066hidden\u2069", "a\x7f", "\x00", "\x0b\x0c", "a\u2028b",
    ],
)  # fmt: skip
def test_control_characters_are_spelled_out(text: str) -> None:
    shown = clean(f"{text}\n\tend")
    assert all(c.isprintable() or c in "\n\t" for c in shown)
    assert shown.endswith("\n\tend")
    assert clean(shown) == shown


def test_what_a_server_says_moves_no_cursor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    tiny_model: Path,
) -> None:  # fmt: skip
    words = {"error": {"message": "no\x1b[2J\x1b]0;own\x07 room\u202e"}}
    with ScriptedServer(refuse=lambda _: (400, words), owner="\x1b[31m") as server:
        assert run(monkeypatch, tmp_path, *served(tiny_model, server)) == 1
    said = capsys.readouterr()
    assert "no\\x1b[2J" in said.err
    assert not {"\x1b", "\x07", "\u202e"} & set(said.out + said.err)


@pytest.mark.parametrize("value", ["none", "EMPTY", "dummy", "12345678", "password", "", "ab1"])
def test_a_placeholder_is_no_secret(value: str) -> None:
    hide([value])
    assert redacted(f"the answer is {value or 'nothing'}") == f"the answer is {value or 'nothing'}"


def test_logins_of_addresses_are_not_told() -> None:
    assert told("see https://me:pw@host/x and http://a@b, c@d") == (
        f"see https://{HIDDEN}@host/x and http://{HIDDEN}@b, c@d"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("command", [["plan"], ["dataset.limit=1"]])
def test_a_full_standard_output_is_named(
    tmp_path: Path, tiny_model: Path, command: list[str]
) -> None:
    settings = [] if command == ["plan"] else tiny(tiny_model, "estimator=[random]")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "benchmark", *command, *settings, f"paths.outputs={tmp_path}/o"],
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert done.returncode == 1
    assert "standard output can't be written: No space left on device" in done.stderr
    assert str(tmp_path) not in done.stderr.replace("state.json", "")
    assert "Traceback" not in done.stderr
