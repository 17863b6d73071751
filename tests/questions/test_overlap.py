import json
import logging
import time
import unicodedata

import pytest

from benchmark.errors import DataError
from benchmark.questions import load_splits
from benchmark.questions.content import asked, content, normalised
from benchmark.questions.overlap import refuse_overlap
from benchmark.records import Question, question_table
from tests.questions.mirror import REAL, dataset_config, needs_real_rows, write

CHOICES = "Which gas do plants take in?\n\nA. Oxygen\nB. Carbon dioxide\nC. Helium"
ACCENTED = "Où se trouve le musée d'Orsay, à Paris ou à Lyon?"
ASKED = "In which year did the first of the Apollo missions land on the Moon?"


def table(*prompts, split, references=("1",)):
    return question_table(
        [
            Question(f"basics/{split}/{i}", prompt, prompt, references)
            for i, prompt in enumerate(prompts)
        ]
    )


def test_case_white_space_and_encoding_do_not_make_another_question():
    assert normalised("  What is\n\u00a02 + 2? ") == normalised("what IS 2 + 2?")
    assert normalised("What is 2 + 2?") != normalised("What is 2 + 3?")


def test_disjoint_tables_are_accepted():
    train, test = table("What is 1 + 1?", split="train"), table("What is 1 + 2?", split="test")
    assert refuse_overlap(train, test, ("a", "b")) is None


def test_overlap_is_refused_with_both_tables_and_both_ids_named():
    train = table("What is 1 + 1?", "What is 5 + 1?", split="train")
    test = table("What is 1 + 2?", "what is  1 + 1?", split="test")
    with pytest.raises(
        DataError, match=r"train and evaluation share 1 .*'basics/train/0' = 'basics/test/1'"
    ) as told:
        refuse_overlap(train, test, ("train", "evaluation"))
    assert "'What is 1 + 1?' and 'what is  1 + 1?'" in str(told.value)


def test_a_large_overlap_names_some_ids_and_counts_the_rest():
    prompts = [f"What is {i} + 1?" for i in range(9)]
    with pytest.raises(DataError, match=r"share 9 .* and 4 more"):
        refuse_overlap(table(*prompts, split="a"), table(*prompts, split="b"), ("a", "b"))


def fullwidth(text):
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


DISGUISES = {
    "a zero-width space": lambda t: t[:5] + "\u200b" + t[5:],
    "a soft hyphen in every word": lambda t: t.replace("e", "e\u00ad"),
    "a mark of the byte order": lambda t: "\ufeff" + t,
    "joiners": lambda t: "\u2060".join(t),
    "direction marks": lambda t: f"\u202a{t}\u202c\u200e",
    "control characters": lambda t: t.replace(" ", "\x00 ") + "\x07\x1b",
    "a variation selector": lambda t: t.replace("o", "o\ufe0e") + "\U000e0101",
    "a filler of Hangul": lambda t: t + "\u3164",
    "a tag of a language": lambda t: t + "\U000e0041",
    "full-width letters": fullwidth,
    "decomposed letters": lambda t: unicodedata.normalize("NFD", t),
    "an accent": lambda t: t.replace("e", "e\u0301", 1),
    "a joiner of graphemes": lambda t: t.replace("a", "a\u034f"),
    "upper case": str.upper,
    "spaces of many widths": lambda t: t.replace(" ", "\u2003\u00a0\u3000"),
    "lines for spaces": lambda t: t.replace(" ", "\n"),
    "another end": lambda t: t.rstrip("?") + " ...",
    "no end": lambda t: t.rstrip("?"),
    "an end with force": lambda t: t + "!!",
    "letters of Cyrillic": lambda t: t.translate(str.maketrans("aeopcxyAT", "аеорсхуАТ")),
    "letters of Greek": lambda t: t.translate(str.maketrans("oAMOT", "οΑΜΟΤ")),
    "a hair space in a word": lambda t: t.replace("an", "a\u200an"),
    "a separator in words": lambda t: t.replace("an", "a\x1fn"),
    "a mathematical space in a word": lambda t: t.replace("an", "a\u205fn"),
    "words without spaces": lambda t: t.replace("do ", "do").replace("se ", "se"),
    "letters of mathematics": lambda t: t.replace("a", "\U0001d41a"),
    "an invisible sign of mathematics": lambda t: t.replace(" ", " \u2062"),
    "another apostrophe": lambda t: t.replace("'", "\u2019"),
}  # fmt: skip


@pytest.mark.parametrize("text", [ASKED, ACCENTED, CHOICES], ids=["plain", "accents", "choices"])
@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES)
def test_a_disguise_that_nobody_sees_makes_no_other_question(disguise, text):
    with pytest.raises(DataError, match=r"share 1 question"):
        refuse_overlap(table(text, split="a"), table(disguise(text), split="b"), ("a", "b"))


@pytest.mark.parametrize(
    "other",
    [
        "Which gas do plants take in?\n\nA. Helium\nB. Carbon dioxide\nC. Oxygen",
        "Which gas do plants take in?\n(a) Carbon dioxide\n(b) Oxygen\n(c) Helium",
        "WHICH gas do plants take in\n\nA) Oxygen\nB) Helium\nC) Carbon dioxide",
    ],
)
def test_choices_in_another_order_or_with_other_letters_are_the_same_question(other):
    with pytest.raises(DataError, match=r"share 1 question"):
        refuse_overlap(table(CHOICES, split="a"), table(other, split="b"), ("a", "b"))
    assert asked("Which?", ["b", "a"]) == asked("WHICH", ["A", "B"]) != asked("Which?", ["a", "c"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 5!", "What is 5?"), ("Is x = 3?", "Is x \u2260 3?"), ("Is it C?", "Is it C++?"),
        ("Find x - y.", "Find y - x."), ("What is 1,5?", "What is 15?"),
        ("Do dogs bite men?", "Do men bite dogs?"), ("7. + 5", "9. + 5"), ("|x|", "x"),
        ("नमक क्या है?", "नाम क्या है?"), ("Find (a)", "Find (b)"), ("Add 1 23", "Add 12 3"),
        ("What is α?", "What is a?"), ("Что такое кот?", "Что такое кит?"), ("3 - 1", "31"),
    ],
)  # fmt: skip
def test_what_a_reader_sees_stays_another_question(one, other):
    assert content(one) != content(other)
    refuse_overlap(table(one, split="a"), table(other, split="b", references=("2",)), ("a", "b"))


EDITED = [
    "In which year did the first of the Apollo missions land on the surface of the Moon?",
    "In what year did the first of the Apollo missions land on the Moon?",
    "Please say: in which year did the first of the Apollo missions land on the Moon?",
    "In which year did the first of the Apollo missions finally land on the Moon?",
    "In which year did the first of all the Apollo missions land on the Moon?",
    "In which year did the first of the Apollo missions land on the Moon (NASA)?",
]


@pytest.mark.parametrize("edited", EDITED)
def test_near_duplicates_are_told_and_above_a_share_refused(edited, caplog):
    test = table(ASKED, "Who wrote Faust?", split="test", references=("1969",))
    train = table(edited, "Who painted Guernica?", split="train", references=("1969", "in 1969"))
    with caplog.at_level(logging.WARNING):
        refuse_overlap(test, train, ("evaluation", "train"), 0.5)
    assert "1 question(s) of evaluation and train are nearly the same (50.0%" in caplog.text
    assert "'basics/test/0' = 'basics/train/0'" in caplog.text
    assert repr(ASKED) in caplog.text
    with pytest.raises(DataError, match=r"At most 0\.0% may be \(dataset\.near_duplicates\)"):
        refuse_overlap(test, train, ("evaluation", "train"), 0.0)


@pytest.mark.parametrize("questions", range(1, 11))
def test_one_near_duplicate_of_few_questions_is_told_two_are_refused(questions, caplog):
    names = ["Faust", "Hamlet", "Emma", "Ulysses", "Dubliners", "Walden", "Iliad", "Dune", "It"]
    others = [f"Who wrote the book {name}?" for name in names[: questions - 1]]
    painted = [f"When was {name} painted by whom?" for name in names[: questions - 1]]
    test = table(ASKED, *others, split="test", references=("1969",))
    train = table(EDITED[0], *painted, split="train", references=("1969",))
    with caplog.at_level(logging.WARNING):
        refuse_overlap(test, train, ("evaluation", "train"), 0.05)
    assert "1 question(s) of evaluation and train are nearly the same" in caplog.text
    test = table(ASKED, CHOICES, *others, split="test", references=("1969",))
    train = table(EDITED[0], f"Say {CHOICES}", *painted, split="train", references=("1969",))
    with pytest.raises(DataError, match=r"2 question\(s\)"):
        refuse_overlap(test, train, ("evaluation", "train"), 0.05)


def test_a_near_duplicate_with_choices_is_known_by_the_text_of_the_right_one(caplog):
    other = "Say which gas do plants take in?\n\nA. Helium\nB. Oxygen\nC. Carbon dioxide"
    with caplog.at_level(logging.WARNING):
        for letter in "CB":
            one = table(CHOICES, split="a", references=("B",))
            refuse_overlap(one, table(other, split="b", references=(letter,)), ("a", "b"))
    assert caplog.text.count("nearly the same") == 1  # B is oxygen: another question


@pytest.mark.parametrize(
    ("one", "other", "references"),
    [
        (ASKED, ASKED.replace("Apollo", "Luna"), ("1959",)),
        ("Tom has 3 apples and buys 4 more. How many apples does Tom have now in all?",
         "Tom has 2 apples and buys 5 more. How many apples does Tom have now in all?", ("1",)),
        ("What is the capital of Peru?", "What is the capital of Chad?", ("1",)),
    ],
)  # fmt: skip
def test_a_template_with_other_numbers_or_answers_is_another_question(
    one, other, references, caplog
):
    with caplog.at_level(logging.WARNING):
        a, b = table(one, split="a"), table(other, split="b", references=references)
        refuse_overlap(a, b, ("a", "b"), 0.0)
    assert not caplog.text


def test_very_many_training_questions_are_compared_fast():
    words = [f"word{i}" for i in range(997)]

    def question(i, salt):
        return " ".join(words[(i * step + salt) % 997] for step in range(1, 21)) + f" {i % 7}?"

    train = table(*(question(i, i // 997) for i in range(20_000)), split="train")
    test = table(*(question(i, i // 997 + 400) for i in range(1000)), split="test")
    start = time.process_time()
    refuse_overlap(test, train, ("test", "train"))
    assert time.process_time() - start < 20  # 2 s where nothing else runs


def test_very_many_questions_of_one_template_are_compared_in_bounded_time():
    def question(i):
        return (
            f"Is the name {chr(97 + i % 26)}{chr(97 + i // 26 % 26)}{i // 676 * 'x'} a good name?"
        )

    train = table(*(question(i) for i in range(0, 12_000, 2)), split="train")
    test = table(*(question(i) for i in range(1, 6_001, 2)), split="test")
    start = time.process_time()
    refuse_overlap(test, train, ("test", "train"))
    assert time.process_time() - start < 60


def test_spellings_of_one_question_stay_on_one_side(tmp_path):
    rows = [{"question": f"What is the name of number {i}?", "answer": "#### 1"} for i in range(40)]
    twins = [{**row, "question": row["question"].replace("the", "t\u200bhe")} for row in rows]
    write(tmp_path, "openai/gsm8k", "train", rows + twins, "main")
    write(tmp_path, "openai/gsm8k", "test", [{"question": "Who?", "answer": "#### 1"}], "main")
    overrides = [f"dataset.sources.{split}.held_out=20" for split in ("train", "validation")]
    gsm8k = load_splits(dataset_config("gsm8k", tmp_path, *overrides), ["train", "validation"])
    assert {role: table.height for role, table in gsm8k.items()} == {"train": 40, "validation": 40}
    path = tmp_path / "my.jsonl"
    path.write_text("\n".join(map(json.dumps, rows + twins)))
    shares = "dataset.shares={test: 50, train: 50}"
    own = load_splits(
        dataset_config("file", None, f"dataset.path={path}", shares), ["evaluation", "train"]
    )
    assert sum(table.height for table in own.values()) == 80


@needs_real_rows
@pytest.mark.parametrize("name", ["gsm8k", "mmlu", "triviaqa", "simpleqa_verified"])
def test_real_rows_are_no_near_duplicates_but_for_a_few(name):
    settings = ["dataset.limit=null", "dataset.near_duplicates=0.02"]
    if name == "triviaqa":  # of whose training rows there are some hundred here
        settings += [f"dataset.sources.{split}.held_out=100" for split in ("train", "validation")]
    config = dataset_config(name, REAL, *settings)
    assert set(load_splits(config, ["evaluation", "train", "validation"])) == set(config.splits)
