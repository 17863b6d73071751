import base64
import gzip
import json
import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from cells import with_texts

from benchmark.capability.counts import count_outcomes
from benchmark.records import OUTCOMES
from benchmark.report.page.payload import BLOCK, pack, pack_cells

ROOM = 10_000_000


def cell_payload(cell, most):
    (payload,) = pack_cells([cell], most)
    return payload


def unpack(text):
    return json.loads(gzip.decompress(base64.b64decode(text)))


def test_a_block_is_plain_letters_whatever_it_holds():
    value = {"</script>": ["<!--", "\u2028", "é", None, 0.5]}
    assert re.fullmatch("[A-Za-z0-9+/=]+", pack(value))
    assert unpack(pack(value)) == value
    assert pack(value) == pack(value)  # no time in it
    with pytest.raises(ValueError, match="JSON compliant"):
        pack(float("nan"))


def test_questions_come_with_counts_outcomes_and_every_estimator_s_confidence(cell):
    points = unpack(cell_payload(cell, ROOM).points)
    assert points["ids"] == sorted(cell.questions["question_id"])
    assert points["n"] == [20] * 60
    assert points["c"] == cell.capability.sort("question_id")["c"].to_list()
    assert [row[OUTCOMES.index("correct")] for row in points["outcomes"]] == points["c"]
    assert set(points["confidences"]) == set(cell.estimates)
    p_true = cell.estimates["p_true"].confidences.sort("question_id")["confidence"]
    assert points["confidences"]["p_true"] == pytest.approx(p_true.to_list(), abs=1e-4)


def test_a_missing_confidence_is_null_and_keeps_its_status(cell):
    points = unpack(cell_payload(cell, ROOM).points)
    missing = [i for i, value in enumerate(points["confidences"]["verbalized"]) if value is None]
    assert missing
    assert points["statuses"]["verbalized"] == {str(i): "unparsed" for i in missing}
    assert points["statuses"]["probe"] == {}


def test_estimators_that_read_responses_bring_the_target_that_leaves_those_out(cell):
    targets = unpack(cell_payload(cell, ROOM).points)["targets"]
    assert set(targets) == {"consistency_5", "consistency_10"}
    rest = count_outcomes(cell.grades, skip_samples=5).sort("question_id")
    assert targets["consistency_5"] == {"n": rest["n"].to_list(), "c": rest["c"].to_list()}


def test_a_question_without_a_counted_response_is_there_with_none(cell):
    first = cell.questions["question_id"].sort()[0]
    of_first = pl.col("question_id") == first
    odd = replace(
        cell,
        grades=cell.grades.filter(~of_first),
        left_out=cell.grades.filter(of_first),
        estimates={"p_true": cell.estimates["p_true"]},
    )
    points = unpack(cell_payload(odd, ROOM).points)
    assert (points["n"][0], points["c"][0], sum(points["outcomes"][0])) == (0, 0, 20)


def responses_of(payload):
    return [question for block in payload.responses for question in unpack(block)]


def test_with_room_enough_responses_show_each_outcome_that_occurs(cell):
    payload = cell_payload(cell, ROOM)
    assert payload.shown == 16
    every = pl.concat([cell.grades, cell.left_out])
    for key, shown in zip(sorted(set(every["question_id"])), responses_of(payload), strict=True):
        outcomes = set(every.filter(question_id=key)["outcome"])
        assert {OUTCOMES[row[1]] for row in shown} == outcomes
        assert [row[0] for row in shown] == sorted(row[0] for row in shown)
        assert len(shown) == 16
    sample, outcome, tokens, answer, reason, text, reasoning = responses_of(payload)[0][0]
    assert text.startswith("Adding them I find")
    assert (OUTCOMES[outcome] in OUTCOMES, sample, reason, reasoning) == (True, 0, None, None)
    assert tokens >= 5
    assert answer is None or answer.isdigit()


def test_with_little_room_fewer_responses_are_shown_and_never_too_many(cell):
    full = cell_payload(cell, ROOM)
    fixed = len(full.points) + len(full.texts)
    most = 2 * fixed + sum(map(len, full.responses)) // 3
    less = cell_payload(cell, most)
    assert 0 < less.shown < full.shown
    assert fixed + sum(map(len, less.responses)) <= most
    none = cell_payload(cell, 2 * fixed)
    assert (none.points, none.texts) == (full.points, full.texts)
    none = cell_payload(cell, 0)
    assert none.shown == 0
    assert responses_of(none) == [[]] * 60
    assert none.points == full.points


def test_responses_come_in_blocks_of_questions(cell):
    many = pl.concat([cell.questions] * 2).with_columns(
        question_id=pl.format("{}-{}", "question_id", pl.int_range(pl.len()))
    )
    odd = replace(cell, questions=many)
    blocks = [unpack(block) for block in cell_payload(odd, ROOM).responses]
    assert [len(block) for block in blocks] == [BLOCK, 20]


def test_long_texts_are_cut(cell):
    payload = cell_payload(with_texts(cell, "long " * 1000), ROOM)
    texts = [responses_of(payload)[0][0][5], unpack(payload.texts)["prompt"][0]]
    for text in texts:
        assert text.endswith("[3,000 more characters]")


def random_texts(count, length):
    """Texts that hardly compress."""
    draw = np.random.default_rng(0)
    return pl.Series(
        ["".join(map(chr, draw.integers(0x4E00, 0x9F00, length))) for _ in range(count)]
    )


def test_very_long_responses_are_cut_rather_than_left_out(cell):
    rows = cell.responses.collect()
    texts = random_texts(500, 3000)[np.arange(len(rows)) % 500]
    long = replace(cell, responses=rows.with_columns(text=texts, reasoning=texts).lazy())
    bare = cell_payload(long, 0)
    fixed = len(bare.points) + len(bare.texts)
    kept = {}
    for room in (10**7, 1_200_000, 600_000, 40_000, 0):
        payload = cell_payload(long, 2 * fixed + room)
        responses = responses_of(payload)
        assert {len(question) for question in responses} == {payload.shown}
        assert not room or fixed + sum(map(len, payload.responses)) <= 2 * fixed + room
        texts = [text for question in responses for row in question for text in row[-2:]]
        lengths = {len(text.split(" … [")[0]) for text in texts}
        kept[room] = payload.shown, lengths
    assert kept == {
        10**7: (16, {2000}), 1_200_000: (2, {2000}), 600_000: (2, {500}), 40_000: (1, {120}),
        0: (0, set()),
    }  # fmt: skip


def test_very_long_questions_are_cut_to_what_there_is_room_for(cell):
    words = random_texts(60, 3000)
    long = replace(cell, questions=cell.questions.with_columns(question=words))
    lengths = {}
    for room in (10**6, 400_000, 100_000, 0):
        payload = cell_payload(long, room)
        texts = unpack(payload.texts)["question"]
        kept = [text.split(" … [")[0] for text in texts]
        assert all(map(str.startswith, words, kept))
        lengths[room] = set(map(len, kept))
        assert not room or len(payload.texts) <= room / 2
    assert lengths == {10**6: {2000}, 400_000: {500}, 100_000: {120}, 0: {30}}


def test_cells_share_the_room_and_small_ones_leave_theirs_to_the_larger(cell):
    small = replace(cell, questions=cell.questions.head(6))
    alone = [cell_payload(shown, ROOM) for shown in (cell, small)]
    fixed = sum(len(payload.points) + len(payload.texts) for payload in alone)
    sizes = [sum(map(len, payload.responses)) for payload in alone]
    big, little = pack_cells([cell, small], fixed + sum(sizes))
    assert (big.shown, little.shown) == (16, 16)  # half the room would not hold the larger
    assert sizes[0] > sum(sizes) / 2


def test_texts_that_cells_share_count_once(cell):
    one = cell_payload(cell, ROOM)
    room = len(one.texts) + 2 * (len(one.points) + sum(map(len, one.responses)))
    assert [payload.shown for payload in pack_cells([cell, cell], room)] == [16, 16]
