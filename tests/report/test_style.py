import subprocess
import sys

from benchmark.report.style import ESTIMATORS, FALLBACK_COLOURS, estimator_look, metric_look


def test_listed_estimators_differ_in_name_and_in_colour_and_marker():
    looks = list(ESTIMATORS.values())
    assert len({look.name for look in looks}) == len(looks)
    assert len({(look.colour, look.marker) for look in looks}) == len(looks)


def test_an_unlisted_estimator_gets_a_readable_name_and_the_same_look_in_every_process():
    look = estimator_look("probe_elsewhere")
    assert look.name == "Probe elsewhere"
    assert look.colour in FALLBACK_COLOURS
    code = "from benchmark.report.style import estimator_look as e; print(*e('{}'), sep='|')"
    code = code.format("probe_elsewhere")
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert other.strip() == "|".join(look)


def test_nothing_is_best_in_an_unlisted_metric():
    assert metric_look("log_loss").name == "Log loss"
    assert metric_look("log_loss").best is None
