import pytest

from benchmark.applications import PassAtK, build_applications
from benchmark.errors import ConfigError

AT = {"_target_": "benchmark.applications.PassAtK"}


def test_entries_become_applications_by_name():
    built = build_applications({"mine": {**AT, "k_values": [4, 1]}})
    assert built == {"mine": PassAtK(k_values=[4, 1])}


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        (
            {"mine": {"_target_": "benchmark.applications.PassAtQ"}},
            ["application.mine._target_", "PassAtK"],
        ),
        ({"mine": {}}, ["application.mine._target_"]),
        (
            {"mine": {**AT, "k_valeus": [1]}},
            ["application.mine", "k_valeus"],
        ),
        (
            {"mine": {**AT, "k_values": "many"}},
            ["application.mine"],
        ),
        (
            {"mine": AT},
            ["application.mine", "k_values"],
        ),
        (
            {"mine": {**AT, "k_values": []}},
            ["k_values=[]", "at least 1"],
        ),
        (
            {n: {**AT, "k_values": [1]} for n in ("one", "two")},
            ["application.one", "application.two", "same tables"],
        ),
    ],
)
def test_what_cannot_be_built_is_named(entries, named):
    with pytest.raises(ConfigError) as refused:
        build_applications(entries)
    for word in named:
        assert word in str(refused.value)
