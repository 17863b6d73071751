import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool

import psutil
import pytest
from rich.console import Console

from benchmark.errors import ConfigError
from benchmark.grading import math_equality
from benchmark.grading import math_verify as grader_module
from benchmark.grading.math_equality import judge_pairs
from benchmark.grading.math_verify import JUDGEMENT, MathVerify, compare
from benchmark.grading.verdict import PASSING, Answer, Verdict
from benchmark.store.artifact import Store

PROMPT = "What is x?\nPut the final answer inside \\boxed{}."
QUIET = Console(quiet=True)


@pytest.fixture
def artifact(tmp_path):
    return Store(tmp_path, QUIET).artifact("m", "d", "s", "verdicts", {"grader": "x"})


def answers(*boxes, reference="4", finished=True):
    return [Answer(PROMPT, f"So \\boxed{{{box}}}.", finished, (reference,)) for box in boxes]


def test_each_answer_is_compared_with_its_reference(artifact):
    verdicts = MathVerify().grade(answers("4", "2^2", "5"), artifact, QUIET)
    assert [v.outcome for v in verdicts] == ["correct", "correct", "incorrect"]
    assert [v.answer for v in verdicts] == ["4", "2^2", "5"]


def test_outcomes_without_an_answer_stay_apart(artifact):
    texts = [("no box", True), ("\\boxed{4}", False), (PROMPT, True), ("\\boxed{  }", True)]
    given = [Answer(PROMPT, text, finished, ("4",)) for text, finished in texts]
    verdicts = MathVerify().grade(given, artifact, QUIET)
    unboxed = Verdict(None, "unparsed", "no box")
    assert verdicts == [unboxed, Verdict(None, "truncated"), unboxed, unboxed]


def test_judgements_are_stored_and_not_made_again(artifact, monkeypatch):
    first = MathVerify().grade(answers("2+2", "5"), artifact, QUIET)
    assert len(artifact.read_table(JUDGEMENT)) == 2

    def refuse(pairs, _):
        raise AssertionError(pairs)

    monkeypatch.setattr(grader_module, "compare", refuse)
    assert MathVerify().grade(answers("2+2", "5", "5"), artifact, QUIET) == [*first, first[1]]


def test_what_a_limit_stopped_is_not_stored_and_tried_again(artifact, monkeypatch, capsys):
    def stopped(pairs, _):
        return [(pair, ("unparsed", "time limit")) for pair in pairs]

    monkeypatch.setattr(grader_module, "compare", stopped)
    grader = MathVerify()
    told = grader.grade(answers("2+2"), artifact, Console(width=200))
    assert told == [Verdict("2+2", "unparsed", "time limit")]
    assert "1 of 1 answers could not be compared within 5 s of CPU time" in capsys.readouterr().out
    assert artifact.read_table(JUDGEMENT).is_empty()
    monkeypatch.undo()
    assert grader.grade(answers("2+2"), artifact, QUIET)[0].outcome == "correct"


def test_a_stopped_comparison_is_not_hidden_by_another_reference(artifact, monkeypatch):
    judged = {("3", "4"): ("incorrect", "not equal"), ("5", "4"): ("unparsed", "memory limit")}
    monkeypatch.setattr(grader_module, "compare", lambda pairs, _: [(p, judged[p]) for p in pairs])
    given = [Answer(PROMPT, "\\boxed{4}", True, ("3", "5"))]
    assert MathVerify().grade(given, artifact, QUIET)[0].rule == "memory limit"


def test_other_rules_share_no_stored_judgements():
    identity = MathVerify().identity
    assert identity["rules"] >= 2
    assert "sympy" in identity
    assert identity == MathVerify(workers=7).identity != MathVerify(seconds=9).identity


def test_the_number_of_workers_changes_no_verdict():
    pairs = [(str(n), f"{n - 1}+1") for n in range(6)] + [("x", "x^2"), ("1", r"\frac{2}{2}")]
    one, four = (dict(compare(pairs, MathVerify(workers=w))) for w in (1, 4))
    assert one == four
    assert [one[pair][0] for pair in pairs] == ["correct"] * 6 + ["incorrect", "correct"]


HOSTILE = [
    "9^{9^{9^9}}", "1000000!", "(10^{10})!", r"\frac{1}{2}" * 4000, "1" * 10**6, "{" * 900,
    "(" * 900 + "1" + ")" * 900, r"\sqrt{" * 300 + "2" + "}" * 300, "\x00", "\u202e4\u200f", "",
    r"\int_0^{\infty} e^{-x^{x^x}} dx", r"\sum_{n=1}^{10^{12}} n!", "x^{" * 200 + "2" + "}" * 200,
    r"\text{" * 100 + "}" * 100, "\\" * 999, "$" * 1500, r"\begin{pmatrix}" * 100,
]  # fmt: skip


def test_hostile_answers_end_in_bounded_time(artifact):
    limits = MathVerify(seconds=1, memory_mb=512)
    start = time.monotonic()
    verdicts = limits.grade(answers(*HOSTILE, "4"), artifact, QUIET)
    # Each costs at most three seconds by the clock on one of two workers, and a new worker.
    assert time.monotonic() - start < 60
    assert verdicts[-1].outcome == "correct"
    by_text = dict(zip(HOSTILE, verdicts, strict=False))
    assert by_text["\u202e4\u200f"].outcome == "correct"
    assert by_text[""].rule == "no box"
    assert all(v.outcome != "correct" for text, v in by_text.items() if "4" not in text)
    assert by_text["1" * 10**6].outcome == "unparsed"
    assert by_text[HOSTILE[3]].rule == "longer than 2,000 characters"


def test_a_worker_that_dies_is_replaced_and_its_pairs_compared_again():
    pairs = [(f"x^{{{i}}} + {i} + y^{{12}}", f"y^{{12}} + {i} + x^{{{i}}}") for i in range(2, 302)]
    killed = []

    def kill_a_worker():
        deadline = time.monotonic() + 30
        while not killed and time.monotonic() < deadline:
            for child in psutil.Process().children():
                for worker in child.children():  # children of the fork server
                    os.kill(worker.pid, signal.SIGKILL)
                    killed.append(worker.pid)
                    return
            time.sleep(0.01)

    judgements = compare(pairs, MathVerify(workers=1))
    first = next(iter(judgements))
    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    rest = dict(judgements)
    killer.join()
    assert killed
    assert len(rest) == len(pairs) - 1
    assert {judgement[0] for judgement in [first[1], *rest.values()]} == {"correct"}


@pytest.mark.parametrize("lasting", [2, 0])
def test_pairs_that_a_broken_pool_leaves_are_compared_in_another(monkeypatch, lasting):
    pools = []

    def breaking(pairs, _):
        pools.append(len(pairs))
        yield from [(pair, ("correct", "equal")) for pair in pairs[:lasting]]
        if len(pairs) > lasting:
            raise BrokenProcessPool("All workers expired")

    monkeypatch.setattr(grader_module, "_in_one_pool", breaking)
    pairs = [(str(n), str(n)) for n in range(5)]
    judgements = list(compare(pairs, MathVerify()))
    assert [pair for pair, _ in judgements] == pairs
    assert pools == ([5, 3, 1] if lasting else [5, 5, 5])
    died = ("unparsed", "worker died")
    assert {j for _, j in judgements} == ({("correct", "equal")} if lasting else {died})


def test_workers_end_with_a_parent_that_is_killed():
    program = (
        "from benchmark.grading.math_verify import MathVerify, compare\n"
        "pairs = [('x + 1', f'{i}0000000!') for i in range(2000)]\n"
        "if __name__ == '__main__':\n"
        "    for _ in compare(pairs, MathVerify(seconds=60)): pass\n"
    )
    parent = psutil.Popen([sys.executable, "-c", program])
    deadline = time.monotonic() + 60
    while len(left := parent.children(recursive=True)) < 4 and time.monotonic() < deadline:
        time.sleep(0.1)  # the fork server, the tracker of its resources and two workers
    parent.kill()
    _, alive = psutil.wait_procs(left, timeout=10)
    assert len(left) >= 4
    assert not alive


def test_a_pair_that_kills_every_worker_is_unparsed(monkeypatch):
    monkeypatch.setattr(math_equality, "judge_pairs", die_on_poison)
    pairs = [("1", "1"), ("1", "poison"), ("2", "2")]
    judgements = dict(compare(pairs, MathVerify(workers=1)))
    assert judgements["1", "poison"] == ("unparsed", "worker died")
    assert judgements["1", "1"] == judgements["2", "2"] == ("correct", "same text")


def test_a_comparison_that_no_signal_stops_is_ended_by_the_kernel(monkeypatch):
    monkeypatch.setattr(math_equality, "judge_pairs", hang_on_poison)
    judgements = dict(compare([("1", "poison")], MathVerify(seconds=0.1, workers=1)))
    assert judgements["1", "poison"] == ("unparsed", "time limit")


def hang_on_poison(pairs, seconds):
    def hang(reference, answer, _):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPROF])
        while answer == "poison":
            pass
        return judge_pair(reference, answer, seconds)

    judge_pair, math_equality.judge_pair = math_equality.judge_pair, hang
    return judge_pairs(pairs, seconds)


def test_a_comparison_without_cpu_time_has_no_limit(monkeypatch):
    monkeypatch.setattr(math_equality, "judge_pairs", sleep_first)
    judgements = dict(compare([("1", "1")], MathVerify(seconds=0.1, workers=1)))
    assert judgements["1", "1"] == ("correct", "same text")


def sleep_first(pairs, seconds):
    time.sleep(1)
    return judge_pairs(pairs, seconds)


def die_on_poison(pairs, seconds):
    if any(answer == "poison" for _, answer in pairs):
        os.kill(os.getpid(), signal.SIGKILL)
    return judge_pairs(pairs, seconds)


@pytest.mark.parametrize("setting", ["seconds", "memory_mb", "most_characters", "workers"])
def test_limits_of_nothing_are_refused(setting):
    with pytest.raises(ConfigError, match=f"{setting}=0 is not allowed: it must be above 0"):
        MathVerify(**{setting: 0})


BLOW_UPS = [
    "9^9^9^9", "9^{9^{9^9}}", "10^{10^{10}}", "e^{e^{e^{e^e}}}", r"\exp(\exp(\exp(50)))", "(10^5)!",
    "x^{x^{x^{x^x}}}", "x^{x^{x^{y^z}}}", r"\sqrt{x}^{\sqrt{y}^{\sqrt{z}^{x}}}", "(x+y+z)^{5000}",
    "(x+1)^{5000}", "(x^{1000}-1)/(x-1)", "+".join(f"x^{{{i}}}" for i in range(150)), "9999!/9998!",
    r"\sqrt{2+" * 30 + "1" + "}" * 30, r"\frac{1}{2+" * 30 + "1" + "}" * 30, r"\binom{9999}{5000}",
    r"\sqrt{2}+\sqrt{3}+\sqrt{5}+\sqrt{7}+\sqrt{11}+\sqrt{13}+\sqrt{17}", r"(1+\sqrt2+\sqrt3)^{99}",
    r"\begin{vmatrix}" + r"\\".join("&".join(f"x_{{{i}{j}}}" for j in range(8)) for i in range(8))
    + r"\end{vmatrix}",
    r"\begin{pmatrix}" + r"\\".join("&".join("x" * 20) for _ in range(20)) + r"\end{pmatrix}",
    r"\cup".join(f"({i},{i + 1})" for i in range(0, 200, 2)), r"\lfloor \pi^{99999} \rfloor",
    r"\{" + ",".join(map(str, range(400))) + r"\}", r"\sin(10^{300})", r"\pi^{\pi^{\pi^{\pi^\pi}}}",
    r"1\pm2\pm3\pm4\pm5\pm6\pm7\pm8\pm9", "(1+i)^{5000}", "2^{199999}", r"\sqrt[99991]{7}",
    r"0.\overline{" + "3" * 900 + "}", r"2^{\sqrt{10^{20}}}", r"\ln(e^{e^{e^e}})", "x<9^{99999}",
]  # fmt: skip


def test_nothing_that_blows_up_needs_a_limit_of_time_or_memory():
    pairs = [("4", text) for text in BLOW_UPS] + [(text, "4") for text in BLOW_UPS]
    judged = dict(compare(pairs, MathVerify(workers=1)))
    assert {pair: j for pair, j in judged.items() if j[1] in PASSING} == {}
    assert {j[0] for j in judged.values()} == {"incorrect", "unparsed"}


def test_small_towers_and_determinants_are_still_compared():
    same = [
        ("x^{x^{x}}", "x^{x^x}"), ("e^{e^{x}}", r"\exp(\exp(x))"), ("2^{x^{y}}", "2^{(x^y)}"),
        (r"\begin{vmatrix}a&b\\c&d\end{vmatrix}", "ad-bc"), ("e^{e^e}", r"\exp(e^e)"),
        (r"[0,1]\cup[2,3]\cup[4,5]", r"[4,5]\cup[0,1]\cup[2,3]"), ("e^{-10^6}", "1/e^{10^6}"),
    ]  # fmt: skip
    assert {judgement for _, judgement in compare(same, MathVerify())} == {("correct", "equal")}


def test_a_busy_machine_changes_no_verdict():
    pairs = [(rf"\sin({n})+\sqrt{{{n}}}", rf"\sqrt{{{n}}}+\sin({n + n % 2})") for n in range(2, 20)]
    alone = list(compare(pairs, MathVerify(seconds=2)))
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(6)]
    try:
        assert list(compare(pairs, MathVerify(seconds=2))) == alone
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert {judgement[0] for _, judgement in alone} == {"correct", "incorrect"}
