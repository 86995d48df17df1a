"""What a model thought is no part of its answer, wherever it stands."""

import json

import pytest

from cje.models.completions import CUT_OFF, chat_reply, text_reply
from cje.models.requests import CallFailed, Reply
from cje.models.thought import NOT_SEPARABLE, answer_tokens, split_thought, without_thought


@pytest.mark.parametrize(
    "text, answer, thought",
    [
        ("<think>Hm.</think>Yes.", "Yes.", "Hm."),
        ("<think>\nHm.\n</think>\n\nYes.", "Yes.", "Hm."),
        ("  <think></think>Yes.", "Yes.", ""),
        ("Hm, well.\n</think>\n\nYes.", "Yes.", "Hm, well."),  # the prompt ends in the tag
        ("[THINK]Hm.[/THINK]Yes.", "Yes.", "Hm."),
        ("<thought>Hm.</thought>\nYes.", "Yes.", "Hm."),
        ("<think>a</think><think>b</think>Yes.", "Yes.", "a\nb"),
        ("Yes.\n<think>Hm.</think>\nAnd no.", "Yes.\nAnd no.", "Hm."),
        ("<think>I will never end", "", "I will never end"),
        ("Yes.\n<think>and on", "Yes.", "and on"),
        ("<think>the tag </thought> is none</think>Yes.", "Yes.", "the tag </thought> is none"),
        # No thought: what an answer says about tags is its own.
        ("Write `<think>` first.", "Write `<think>` first.", None),
        ("```\n<think>x</think>\n```", "```\n<think>x</think>\n```", None),
        ("End it with `</think>`.", "End it with `</think>`.", None),
        ("I <think>so</think>.", "I <think>so</think>.", None),
        (" Yes. ", " Yes. ", None),
        ("", "", None),
    ],
)
def test_a_thought_is_told_apart(text, answer, thought):
    assert split_thought(text) == (answer, thought)


@pytest.mark.parametrize(
    "tokens, answer, own",
    [
        (["<think>", "a", "</think>", "\n\n", "Ye", "s"], "Yes", [4, 6]),
        (["a", "b", "Ye", "s", "<|im_end|>"], "Yes", [2, 5]),
        (["a", "b", "Ye", "s", ""], "Yes", [2, 5]),
        (["Ye", "s"], "Yes", [0, 2]),
        (["b", " Yes"], "Yes", [1, 2]),
        (["</think>Ye", "s"], "Yes", None),
        (["something", "else"], "Yes", None),
        ([], "Yes", None),
    ],
)
def test_the_tokens_of_an_answer_are_the_last_that_spell_it(tokens, answer, own):
    assert answer_tokens(tokens, answer) == (own and slice(*own))


def body(content, tokens=(), reason="stop", **message):
    rows = [{"token": token, "logprob": -0.5 * (i + 1)} for i, token in enumerate(tokens)]
    choice = {"message": {"content": content, **message}, "finish_reason": reason}
    choice["logprobs"] = {"content": rows} if tokens else None
    usage = {"prompt_tokens": 5, "completion_tokens": len(tokens)}
    return {"choices": [choice], "usage": usage, "model": "m"}


THOUGHT = ["Hm", ". "]
YES = ["Ye", "s."]


@pytest.mark.parametrize(
    "given",
    [
        body("<think>Hm. </think>Yes.", ["<think>", *THOUGHT, "</think>", *YES]),
        body("Yes.", [*THOUGHT, *YES], reasoning_content="Hm. "),
        body("Yes.", [*THOUGHT, *YES], reasoning="Hm. "),
        body(
            [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm. "}]},
             {"type": "text", "text": "Yes."}],
            [*THOUGHT, *YES],
        ),
    ],
    ids=["tags", "reasoning_content", "reasoning", "blocks"],
)  # fmt: skip
def test_tokens_and_log_probabilities_are_the_answers_alone(given):
    reply = chat_reply(given, "sampling")
    assert reply.text == "Yes." and reply.reasoning.strip() == "Hm."
    count = len(given["choices"][0]["logprobs"]["content"])
    assert reply.tokens == YES
    assert reply.token_logprobs == [-0.5 * (count - 1), -0.5 * count]
    assert reply.logprob_kind == "raw"  # given the thought: no propensity of the answer


def test_where_the_server_cannot_tell_the_row_has_none_and_says_so():
    reply = chat_reply(body("Yes.", ["Hm. Ye", "s."], reasoning_content="Hm."), "sampling")
    assert reply.text == "Yes." and reply.tokens is None and reply.token_logprobs is None
    assert reply.note == NOT_SEPARABLE


@pytest.mark.parametrize("content", [None, "", "\n", "<think>Hm"])
def test_an_answer_that_the_thought_used_up_is_missing(content):
    given = body(content, THOUGHT, reason="length", reasoning_content="Hm. ")
    reply = chat_reply(given, "sampling")
    assert reply.text is None and reply.finish_reason == "length" and reply.reasoning
    assert reply.tokens is None and not reply.is_empty
    assert chat_reply(body(content, reason="stop"), None).is_empty


def test_a_thought_that_only_its_count_tells_of_makes_the_log_probabilities_raw():
    given = body("Yes.", YES)
    given["usage"]["completion_tokens_details"] = {"reasoning_tokens": 7}
    assert chat_reply(given, "sampling").logprob_kind == "raw"


def test_a_reply_of_a_model_in_process_is_cut_too():
    whole = Reply(
        text="<think>Hm.</think>Yes.", finish_reason="stop",
        tokens=["<think>", "Hm.", "</think>", "Yes", ".", "<end>"], token_ids=[1, 2, 3, 4, 5, 6],
        token_logprobs=[-0.1, -0.2, -0.3, -0.4, -0.5, -0.6], logprob_kind="sampling",
    )  # fmt: skip
    cut = without_thought(whole)
    assert (cut.text, cut.tokens, cut.token_ids) == ("Yes.", ["Yes", ".", "<end>"], [4, 5, 6])
    assert cut.token_logprobs == [-0.4, -0.5, -0.6] and cut.logprob_kind == "raw"
    plain = Reply(text="Yes.", tokens=["Yes."], token_logprobs=[-0.1], logprob_kind="sampling")
    assert without_thought(plain) is plain


# What is odd in a reply: kept out where it is made


@pytest.mark.parametrize("usage", [{"prompt_tokens": -1, "completion_tokens": "12"}, [], "x", 3])
def test_odd_facts_count_as_not_told(usage):
    given = body("Yes\ud800.", ["Yes\ud800", "."]) | {"usage": usage, "model": 5}
    given["choices"][0]["token_ids"] = [2**70, 1]
    reply = chat_reply(given, "raw")
    assert reply.text == "Yes?." and reply.tokens == ["Yes?", "."]
    assert reply.model is reply.prompt_tokens is reply.completion_tokens is reply.token_ids is None
    assert Reply.from_json(reply.as_json) == reply


@pytest.mark.parametrize("reason", [["stop"], {"a": 1}, None, 3, "", "abort", "pause_turn"])
def test_what_did_not_end_is_asked_again(reason):
    with pytest.raises(CallFailed) as failed:
        chat_reply(body("Yes.", reason=reason))
    assert failed.value.again


def test_an_end_in_a_word_that_is_not_known_is_kept_as_given():
    reply = text_reply({"choices": [{"text": "Yes.", "finish_reason": "satisfied"}]})
    assert (reply.finish_reason, reply.finish_reason_given) == (None, "satisfied")


def test_a_tool_call_is_no_answer():
    reply = chat_reply(body(None, reason="tool_calls", tool_calls=[{"id": "a"}]))
    assert reply.text is None and reply.finish_reason == "tool_call" and not reply.is_empty


@pytest.mark.parametrize(
    "values, words",
    [
        ([-1.0, None], "null"), ([float("nan"), -1.0], "null"), ([-1.0, -9999.0], CUT_OFF),
        ([-1.0], "1 log-probability for 2 tokens"), (["-1", -1.0], "not numbers"),
    ],
)  # fmt: skip
def test_log_probabilities_of_no_use_are_left_out_and_the_answer_stays(values, words):
    given = body("Yes.", YES)
    given["choices"][0]["logprobs"] = {"tokens": YES, "token_logprobs": values}
    reply = chat_reply(given, "raw")
    assert reply.text == "Yes." and reply.tokens == YES and reply.token_logprobs is None
    assert words in reply.note


@pytest.mark.parametrize(
    "text, words",
    [
        ('{"text": 3}', "text"), ('{"finish_reason": ["stop"]}', "finish_reason"),
        ('{"text": "a", "mood": 1}', "unknown field 'mood'"), ("[]", "no JSON object"),
        ("[" * 100_000, "nested too deep"), ("{", "Expecting property name"),
    ],
)  # fmt: skip
def test_a_kept_reply_of_another_form_ends_in_words(text, words):
    with pytest.raises(ValueError, match=words):
        Reply.from_json(text)


def test_a_reply_of_an_earlier_version_is_read_as_it_was():
    fields = {"text": "", "finish_reason": "stop", "tokens": [], "token_logprobs": []}
    reply = Reply.from_json(json.dumps(fields))
    assert reply.text == "" and not reply.is_empty and json.loads(reply.as_json) == fields
