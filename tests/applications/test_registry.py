import pytest

from benchmark.applications import PassAtK, build_applications
from benchmark.errors import ConfigError


def test_entries_become_applications_by_name():
    built = build_applications({"mine": {"kind": "pass_at_k", "k_values": [4, 1]}})
    assert built == {"mine": PassAtK(k_values=[4, 1])}


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ({"mine": {"kind": "pass_at_q"}}, ["application.mine.kind=pass_at_q", "pass_at_k"]),
        ({"mine": {}}, ["application.mine.kind=None", "pass_at_k"]),
        ({"mine": {"kind": "pass_at_k", "k_valeus": [1]}}, ["application.mine", "k_valeus"]),
        ({"mine": {"kind": "pass_at_k", "k_values": "many"}}, ["application.mine"]),
        ({"mine": {"kind": "pass_at_k"}}, ["application.mine", "k_values"]),
        ({"mine": {"kind": "pass_at_k", "k_values": []}}, ["k_values=[]", "at least 1"]),
        (
            {n: {"kind": "pass_at_k", "k_values": [1]} for n in ("one", "two")},
            ["application.one", "application.two", "same tables"],
        ),
    ],
)
def test_what_cannot_be_built_is_named(entries, named):
    with pytest.raises(ConfigError) as refused:
        build_applications(entries)
    for word in named:
        assert word in str(refused.value)
