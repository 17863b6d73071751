"""The precision decides what this process computes, and goes into its fingerprint alone."""

from pathlib import Path

from benchmark.engines.settings import ServerConfig, TransformersConfig
from tests.estimators.planted_cell import planted_cell


def test_probabilities_and_hidden_states_of_two_precisions_share_no_artifact(
    tmp_path: Path,
) -> None:
    cell = planted_cell(tmp_path)
    found = {}
    for dtype in ("float32", "bfloat16"):
        cell.engine.precisions = TransformersConfig(device="cpu", dtype=dtype).precisions
        found[dtype] = {
            stage: cell.artifact("evaluation", stage, {}).fingerprint
            for stage in ("responses", "p_true", "features")
        }
    full, half = found["float32"], found["bfloat16"]
    assert full["responses"] == half["responses"]
    assert full["p_true"] != half["p_true"]
    assert full["features"] != half["features"]


def test_a_servers_precision_is_not_known_but_that_of_hidden_states_is() -> None:
    server = ServerConfig(
        base_url="http://h/v1", model="m", in_process=TransformersConfig(dtype="float16")
    )
    assert server.precisions == {"features": "float16"}
