import time

import pytest

from benchmark.engines.reasoning import (
    Split,
    answer_start,
    opens_reasoning,
    split_reasoning,
)

ANALYSIS = "<|channel|>analysis<|message|>User asks 2+2. \\boxed{5}?<|end|>"
FINAL = "<|start|>assistant<|channel|>final<|message|>It is \\boxed{4}.<|return|>"


@pytest.mark.parametrize(
    ("text", "opened", "expected"),
    [
        ("<think>\na\n</think>\n\n4", False, Split("a", "4", True)),
        ("\n<think>a</think>4", False, Split("a", "4", True)),
        ("<think>\n\n</think>\n\n4", False, Split(None, "4", True)),
        ("a</think>4", True, Split("a", "4", True)),
        ("a</think>4", False, Split("a", "4", True)),
        ("4", False, Split(None, "4", True)),
        ("<think>a \\boxed{5}", False, Split("a \\boxed{5}", "", False)),
        ("a \\boxed{5}", True, Split("a \\boxed{5}", "", False)),
        ("<think>a</think>4 </think> 5", False, Split("a\n\n4", "5", True)),
        ("<think>a</think>4<think>b</think> is it", False, Split("a\n\nb", "4 is it", True)),
        ("a</think>4<think>b</think>!", True, Split("a\n\nb", "4!", True)),
        ("<think>a<think>b</think>4", False, Split("a\n\nb", "4", True)),
        ("<think>a</think>4<think>b", False, Split("a\n\nb", "", False)),
        ("<thinking>a</thinking>4", False, Split("a", "4", True)),
        ("<Thought>a</Thought>4", False, Split("a", "4", True)),
        ("[THINK]a[/THINK]4", False, Split("a", "4", True)),
        ("Write `<think>` first", False, Split(None, "Write `<think>` first", True)),
        ("", True, Split(None, "", False)),
        ("", False, Split(None, "", True)),
    ],
)
def test_think_tags_split_reasoning_from_the_answer(text, opened, expected):
    assert split_reasoning(text, "think", opened=opened) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ANALYSIS + FINAL, Split("User asks 2+2. \\boxed{5}?", "It is \\boxed{4}.", True)),
        (ANALYSIS, Split("User asks 2+2. \\boxed{5}?", "", False)),
        (ANALYSIS.removesuffix("<|end|>"), Split("User asks 2+2. \\boxed{5}?", "", False)),
        (FINAL, Split(None, "It is \\boxed{4}.", True)),
        (FINAL.removesuffix("<|return|>"), Split(None, "It is \\boxed{4}.", True)),
        (
            ANALYSIS + "<|start|>assistant<|channel|>commentary to=f <|constrain|>json<|message|>{}"
            "<|call|>" + FINAL,
            Split("User asks 2+2. \\boxed{5}?\n\n{}", "It is \\boxed{4}.", True),
        ),
        ("4", Split(None, "4", True)),
        ("<|channel|>analysis", Split(None, "", False)),
    ],
)
def test_harmony_channels_split_reasoning_from_the_answer(text, expected):
    assert split_reasoning(text, "harmony") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" 4\n", Split(None, " 4\n", True)),
        (" <think>a</think>4", Split("a", "4", True)),
        ("a</think>4", Split("a", "4", True)),
        ("<thinking>a</thinking>\n4", Split("a", "4", True)),
        ("4 <think>a</think>", Split("a", "4", True)),
        ("1 <think>a</think>2 <think>b</think>3", Split("a\n\nb", "1 2 3", True)),
        ("<think>a", Split("a", "", False)),
        ("1 < 2 and <b>4</b>", Split(None, "1 < 2 and <b>4</b>", True)),
        ("the tag `</think>` ends it", Split(None, "the tag `</think>` ends it", True)),
    ],
)
def test_a_model_that_does_not_reason_keeps_its_text_without_thoughts(text, expected):
    assert split_reasoning(text, "none") == expected


@pytest.mark.parametrize("form", ["none", "think"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>it is `x`</think>4", Split("it is `x`", "4", True)),
        ("<think>a</think>`B`", Split("a", "`B`", True)),
        ("<think>`x` or `y`</think>`x`", Split("`x` or `y`", "`x`", True)),
        ("<think>a\n```py\nx\n```</think>\n4", Split("a\n```py\nx\n```", "4", True)),
        ("<think>not `</think>` yet</think>4", Split("not `</think>` yet", "4", True)),
        ("<think>```</think>``` yet</think>4", Split("```</think>``` yet", "4", True)),
        ("write `<think>a</think>` first", Split(None, "write `<think>a</think>` first", True)),
        ("write `x` and `</think>`", Split(None, "write `x` and `</think>`", True)),
        ("a lone ` here\n<think>b</think>4", Split("b", "a lone ` here\n4", True)),
    ],
)
def test_only_tags_inside_of_back_quotes_are_talked_about(form, text, expected):
    assert split_reasoning(text, form) == expected


@pytest.mark.parametrize("form", ["none", "think"])
def test_a_stray_closing_tag_at_the_end_leaves_the_answer(form):
    for end in ("</think>", "\n</think>\n", "</think></think>", "</thinking>"):
        split = split_reasoning(f"<think>a</think>4{end}", form)
        assert split == Split("a", "4", True)
    assert split_reasoning("a</think>4</think>", form, opened=True) == Split("a", "4", True)
    assert split_reasoning("a</think>", form) == Split("a", "", True)
    tokens = ["<think>", "a", "</think>", "Yes", "</think>"]
    assert answer_start(tokens, form) == 3


@pytest.mark.parametrize("form", ["none", "think"])
@pytest.mark.parametrize(
    "tags",
    [
        "<seed:think> </seed:think>", "◁think▷ ◁/think▷", "<|START_THINKING|> <|END_THINKING|>",
        "<|begin_of_thought|> <|end_of_thought|>", "<THINK> </THINK>", "[THINK] [/THINK]",
    ],
)  # fmt: skip
def test_every_makers_tags_are_known(form, tags):
    begin, end = tags.split(" ")
    assert split_reasoning(f"{begin}a{end}4", form) == Split("a", "4", True)
    assert split_reasoning(f"a{end}4", form, opened=True) == Split("a", "4", True)
    assert split_reasoning(f"{begin}a", form) == Split("a", "", False)


@pytest.mark.parametrize("form", ["none", "think", "harmony"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ANALYSIS + FINAL, Split("User asks 2+2. \\boxed{5}?", "It is \\boxed{4}.", True)),
        ("<|start|>assistant" + ANALYSIS, Split("User asks 2+2. \\boxed{5}?", "", False)),
        ("analysisWe add.assistantfinalIt is 4.", Split("We add.", "It is 4.", True)),
        ("analysis2+2.assistantfinal4", Split("2+2.", "4", True)),
        ("analysisWe add \\boxed{5}", Split("We add \\boxed{5}", "", False)),
        ("analysis of A", Split(None, "analysis of A", True)),
        ("Analysis: 4", Split(None, "Analysis: 4", True)),
    ],
)
def test_channels_are_known_whatever_the_model_is_said_to_write(form, text, expected):
    assert split_reasoning(text, form) == expected


@pytest.mark.parametrize("form", ["none", "think", "harmony"])
@pytest.mark.parametrize(
    "text",
    [
        "<think>`" * 100_000,
        "`</think>" * 100_000,
        "analysisA" * 100_000,
        "<think>" * 100_000,
        "<|channel|>final" * 50_000,
        "<|message|>" * 50_000,
        "<" * 10**6,
    ],
)
def test_hostile_texts_are_split_fast(form, text):
    start = time.process_time()
    split_reasoning(text, form)
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("form", "tokens", "settings", "expected"),
    [
        ("none", ["Yes"], {}, 0),
        ("none", ["<think>", "a", "</think>", " ", "Yes"], {}, 4),
        ("none", ["a", "</think>", "Yes"], {}, 2),
        ("think", ["<think>", "a", "</think>", "b", "<think>", "</think>", "Yes"], {}, 6),
        ("think", ["<think>", "a", "</think>", "\n\n", "Yes"], {}, 4),
        ("think", ["a", "</think>", "Yes"], {"opened": True}, 2),
        ("think", ["a", "</th", "ink>", " No"], {"opened": True}, 3),
        ("think", ["a", "b"], {"opened": True}, None),
        ("think", ["<think>", "a", "</think>", "\n"], {}, None),
        ("think", [" Yes", "."], {}, 0),
        ("think", ["hm", " hm", "Yes"], {"answer": "Yes", "opened": True}, 2),
        ("harmony", ["<|channel|>", "analysis", "<|message|>", "Yes"], {}, None),
        (
            "harmony",
            ["<|channel|>", "analysis", "<|message|>", "a", "<|end|>", "<|start|>", "assistant",
             "<|channel|>", "final", "<|message|>", "Yes"],
            {}, 10,
        ),
    ],
)  # fmt: skip
def test_the_first_answer_token_lies_behind_the_reasoning(form, tokens, settings, expected):
    assert answer_start(tokens, form, **settings) == expected


@pytest.mark.parametrize(
    ("prompt", "opens"),
    [
        ("assistant\n<think>\n", True), ("<think>\n\n</think>\n\n", False), ("<Thinking>", True),
        ("[THINK]", True), ("[/THINK]", False), ("is <think> ?\nassistant\n", False), ("", False),
    ],
)  # fmt: skip
def test_a_prompt_that_ends_with_an_opening_tag_leaves_the_model_in_its_reasoning(
    prompt: str, opens: bool
) -> None:
    assert opens_reasoning(prompt) is opens
