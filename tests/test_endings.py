"""How answers ended: one table for all interfaces, kept as given, the same in the documentation."""

import importlib.util

import pytest

from cje.data.endings import ENDINGS, FILTER_CODES, UNFINISHED, WORDS, finish_reason
from cje.data.endings import is_end as ends
from cje.models.completions import chat_reply, text_reply
from cje.models.providers.anthropic import parse_message
from cje.models.requests import CallFailed, Request
from cje.vocabulary import FINISH_REASONS
from pipeline import ROOT

REQUEST = Request("answer", "anthropic/claude-haiku-4-5", (("user", "x"),))


def anthropic(word):
    content = [{"type": "text", "text": "Music."}]
    return parse_message(REQUEST, {"content": content, "stop_reason": word, "usage": {}})


READERS = {
    "chat": lambda word: chat_reply(
        {"choices": [{"message": {"content": "Music."}, "finish_reason": word}]}
    ),
    "text": lambda word: text_reply({"choices": [{"text": "Music.", "finish_reason": word}]}),
    "anthropic": anthropic,
}


def test_a_word_means_the_same_wherever_it_is_said():
    for words in ENDINGS.values():
        for word, means in words.items():
            assert means in (*FINISH_REASONS, UNFINISHED) and WORDS[word] == means
            assert word == word.casefold()
    assert set(FINISH_REASONS) <= {means for w in ENDINGS.values() for means in w.values()}


@pytest.mark.parametrize("reader", READERS)
def test_every_word_is_read_in_every_interface_and_kept_as_it_was_given(reader):
    for word in [w for words in ENDINGS.values() for w in words] + list(FINISH_REASONS):
        for said in (word, word.upper()):
            if not ends(said):
                with pytest.raises(CallFailed) as failed:
                    READERS[reader](said)
                assert failed.value.again and failed.value.billed is (reader == "anthropic")
                continue
            reply = READERS[reader](said)
            assert (reply.finish_reason, reply.finish_reason_given) == (finish_reason(word), said)


@pytest.mark.parametrize(
    "word, means",
    [
        ("FinishReason.MAX_TOKENS", "length"), ("FINISH_REASON_SAFETY", "refusal"),
        ("endTurn", "stop"), (" stop ", "stop"), ("satisfied", None), ("", None), (None, None),
        (["stop"], None), ("OTHER", None), ("pause_turn", None), (".", None),
    ],
)  # fmt: skip
def test_other_spellings_and_other_words(word, means):
    assert finish_reason(word) == means
    assert ends(word) == (isinstance(word, str) and word != "" and word != "pause_turn")


def test_a_tool_call_and_a_refusal_count_whatever_the_word_is():
    def reply(**message):
        return chat_reply({"choices": [{"message": message, "finish_reason": "stop"}]})

    assert reply(content=None, tool_calls=[{"id": "1"}]).finish_reason == "tool_call"
    refused = reply(content=None, refusal="I cannot.")
    assert (refused.finish_reason, refused.finish_reason_given) == ("refusal", "stop")
    assert refused.text == "I cannot." and {"content_filter"} <= FILTER_CODES


def test_the_documentation_has_the_table_of_the_code():
    path = ROOT / "scripts/endings_table.py"
    spec = importlib.util.spec_from_file_location("endings_table", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = script.PAGE.read_text(encoding="utf-8")
    assert page == script.with_table(page), "run python scripts/endings_table.py"
