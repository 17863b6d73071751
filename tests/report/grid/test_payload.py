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
    """Texts of three bytes a letter that hardly compress."""
    draw = np.random.default_rng(0)
    return pl.Series(
        ["".join(map(chr, draw.integers(0x4E00, 0x9F00, length))) for _ in range(count)]
    )


def asked(cell):
    """The bytes of a cell's questions, as they are counted."""
    return sum(
        len(text.encode())
        for row in cell.questions.iter_rows(named=True)
        for text in (row["question"], row["prompt"], "; ".join(row["references"]))
    )


def answered(cell):
    rows = cell.responses.collect().join(cell.grades, on=["question_id", "sample_index"])
    texts = (rows[name].drop_nulls() for name in ("answer", "reason", "text", "reasoning"))
    return sum(len(text.encode()) for column in texts for text in column)


def test_with_little_room_fewer_responses_are_shown_and_never_too_many(cell):
    full = cell_payload(cell, ROOM)
    less = cell_payload(cell, asked(cell) + answered(cell) // 3)
    assert 0 < less.shown < full.shown == 16
    none = cell_payload(cell, 2 * asked(cell))
    assert (none.points, none.texts) == (full.points, full.texts)
    none = cell_payload(cell, 0)
    assert none.shown == 0
    assert responses_of(none) == [[]] * 60
    assert none.points == full.points


@pytest.mark.parametrize(
    ("room", "kept"),
    [
        (10**8, (16, {2000})), (2_000_000, (2, {2000})), (400_000, (2, {500})),
        (50_000, (1, {120})), (0, (0, set())),
    ],
)  # fmt: skip
def test_very_long_responses_are_cut_rather_than_left_out(cell, room, kept):
    rows = cell.responses.collect()
    texts = random_texts(500, 3000)[np.arange(len(rows)) % 500]
    long = replace(cell, responses=rows.with_columns(text=texts, reasoning=texts).lazy())
    payload = cell_payload(long, 2 * asked(cell) + room)
    responses = responses_of(payload)
    assert {len(question) for question in responses} == {payload.shown}
    texts = [text for question in responses for row in question for text in row[-2:]]
    assert (payload.shown, {len(text.split(" … [")[0]) for text in texts}) == kept


@pytest.mark.parametrize(
    ("room", "length"), [(10**6, 2000), (250_000, 500), (60_000, 120), (0, 30)]
)
def test_very_long_questions_are_cut_to_what_there_is_room_for(cell, room, length):
    words = random_texts(60, 3000)
    long = replace(cell, questions=cell.questions.with_columns(question=words))
    texts = unpack(cell_payload(long, room).texts)["question"]
    kept = [text.split(" … [")[0] for text in texts]
    assert all(map(str.startswith, words, kept))
    assert set(map(len, kept)) == {length}


def test_cells_share_the_room_and_small_ones_leave_theirs_to_the_larger(cell):
    first = cell.questions.sort("question_id").head(6)
    grades = cell.grades.join(first.select("question_id"), on="question_id")
    small = replace(cell, questions=first, grades=grades)
    need = asked(cell) + answered(cell) * 1.1  # half the room would not hold the larger
    big, little = pack_cells([cell, small], int(need))
    assert (big.shown, little.shown) == (16, 16)
    assert pack_cells([cell, cell], int(need))[0].shown < 16


def test_questions_that_cells_share_count_once(cell):
    long = replace(cell, questions=cell.questions.with_columns(question=random_texts(60, 2000)))
    for cells in ([long], [long, long]):
        texts = unpack(pack_cells(cells, 2 * asked(long))[0].texts)
        assert {len(text) for text in texts["question"]} == {2000}
