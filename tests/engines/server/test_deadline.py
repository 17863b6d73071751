"""The longest time for a request follows from what may be in flight."""

import pytest
from rich.console import Console

from benchmark.config.schema import DecodingConfig, ModelConfig
from benchmark.engines.construction import engine_config
from benchmark.engines.server.engine import ServerEngine
from benchmark.engines.settings import ServerConfig
from benchmark.errors import ConfigError
from tests.config.test_conf import composed

URL = "engine.base_url=http://localhost:8000/v1"


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        (["model=olmo3_7b"], 16_384),
        (["model=qwen3_8b"], 8192 * 512 / 1000),
        (["model=gpt_oss_20b"], 32_700 * 512 / 1000),
        (["model=smollm2_135m"], 1800),
        (["model=olmo3_7b", "engine.concurrency=1"], 1800),
        (["model=olmo3_7b", "engine.concurrency=128"], 32_768),
        (["model=olmo3_7b", "engine.samples_per_request=1"], 2048),
        (["model=olmo3_7b", "model.decoding.max_new_tokens=64"], 1800),
        (["model=olmo3_7b", "engine.timeout=1800"], 1800),
        (["model=olmo3_7b", "engine.timeout=0.5"], 0.5),
        (["model=smollm2_135m", "engine.timeout=90000"], 90_000),
    ],
)
@pytest.mark.parametrize("engine", ["vllm", "server"])
def test_a_request_has_the_time_that_a_full_server_needs(engine, settings, seconds):
    config = composed(f"engine={engine}", *[URL] * (engine == "server"), *settings)
    cap = config.model.decoding.max_new_tokens
    assert engine_config(config.engine).deadline(cap) == pytest.approx(seconds)


def test_the_endpoint_waits_that_long():
    model = ModelConfig(name="m", decoding=DecodingConfig(1.0, 1.0, 32_000))
    config = ServerConfig(base_url="http://localhost:1/v1", model="m")
    engine = ServerEngine(model, config, {}, "key", Console(quiet=True), in_process=None)
    assert engine._endpoint.timeout == 16_384


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_no_time_at_all_is_refused(timeout):
    with pytest.raises(ConfigError, match=r"engine\.timeout"):
        ServerConfig(base_url="http://localhost:1/v1", model="m", timeout=timeout)
