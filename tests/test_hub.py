"""Without the Hub a model or a dataset that isn't in the cache is refused at once."""

import time

import datasets
import huggingface_hub
import pytest
from huggingface_hub import constants
from rich.console import Console

from benchmark.config.schema import ModelConfig
from benchmark.engines.weights import find_weights, local_folder
from benchmark.errors import ConfigError, ModelError
from benchmark.hub import reach_hub
from benchmark.questions.rows import SourceConfig, read_table
from tests.engines.server.scripted import ScriptedServer


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A place where nothing listens, or what a test puts there."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    reach_hub.cache_clear()
    yield monkeypatch
    reach_hub.cache_clear()


@pytest.mark.usefixtures("hub")
def test_the_libraries_use_their_caches_where_there_is_no_hub():
    assert not reach_hub()
    assert huggingface_hub.is_offline_mode()


def test_a_hub_that_answers_anything_is_reached(hub):
    with ScriptedServer() as server:
        hub.setattr(constants, "ENDPOINT", server.url)
        assert reach_hub()
    assert not huggingface_hub.is_offline_mode()


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("revision", [None, "main", "a" * 40])
def test_a_model_without_the_hub_is_refused_at_once_in_plain_words(revision, tmp_path):
    config = ModelConfig(name="m", hub_id="no-such/model", revision=revision)
    start = time.monotonic()
    with pytest.raises(ModelError, match=r"isn't in the cache, and the Hugging Face Hub \(") as e:
        local_folder(find_weights(config, tmp_path, Console(quiet=True)), "m")
    assert time.monotonic() - start < 5
    assert "offline mode" not in str(e.value)


def test_a_dataset_without_the_hub_is_refused_at_once(hub):
    hub.setattr(datasets.config, "HF_HUB_OFFLINE", True)  # as where it is imported afterwards
    source = SourceConfig(hub_id="no-such/rows", split="test", revision="b" * 40)
    start = time.monotonic()
    with pytest.raises(ConfigError, match=r"can't be loaded.*no-such/rows.*paths\.hub_root"):
        read_table(source, None, None, "dataset")
    assert time.monotonic() - start < 5
    assert huggingface_hub.is_offline_mode()
