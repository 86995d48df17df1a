"""How an answer ended: one table of the words of every interface.

A reply keeps the word as it was given (`finish_reason_given`) and what it means here
(`finish_reason`). Words are compared without regard to case, camelCase and the prefix of an
enumeration: `FinishReason.MAX_TOKENS`, `maxTokens` and `max_tokens` are one.
"""

import re
from typing import Literal

from cje.vocabulary import FINISH_REASONS, FinishReason

# Unfinished: given up on the way. It is no answer yet, and is asked for once more.
Meaning = FinishReason | Literal["unfinished"]

STOP: FinishReason = "stop"
LENGTH: FinishReason = "length"
REFUSAL: FinishReason = "refusal"
TOOL_CALL: FinishReason = "tool_call"
UNFINISHED: Literal["unfinished"] = "unfinished"

MEANINGS: tuple[Meaning, ...] = (*FINISH_REASONS, UNFINISHED)

# By interface: what its words mean.
ENDINGS: dict[str, dict[str, Meaning]] = {
    "OpenAI chat, Azure": {
        "stop": STOP,
        "length": LENGTH,
        "content_filter": REFUSAL,
        "tool_calls": TOOL_CALL,
        "function_call": TOOL_CALL,
    },
    "OpenAI responses": {
        "completed": STOP,
        "max_output_tokens": LENGTH,
        "content_filter": REFUSAL,
        "incomplete": UNFINISHED,
        "failed": UNFINISHED,
        "cancelled": UNFINISHED,
    },
    "Anthropic": {
        "end_turn": STOP,
        "stop_sequence": STOP,
        "max_tokens": LENGTH,
        "model_context_window_exceeded": LENGTH,
        "refusal": REFUSAL,
        "tool_use": TOOL_CALL,
        "pause_turn": UNFINISHED,
    },
    "vLLM, SGLang, TGI, llama.cpp": {
        "stop": STOP,
        "eos": STOP,
        "eos_token": STOP,
        "stop_sequence": STOP,
        "word": STOP,
        "length": LENGTH,
        "limit": LENGTH,
        "tool_calls": TOOL_CALL,
        "abort": UNFINISHED,
        "aborted": UNFINISHED,
        "error": UNFINISHED,
        "cancelled": UNFINISHED,
    },
    "OpenRouter, DeepSeek, Mistral": {
        "stop": STOP,
        "length": LENGTH,
        "model_length": LENGTH,
        "content_filter": REFUSAL,
        "tool_calls": TOOL_CALL,
        "error": UNFINISHED,
        "network_error": UNFINISHED,
        "insufficient_system_resource": UNFINISHED,
    },
    "Gemini": {
        "stop": STOP,
        "max_tokens": LENGTH,
        "safety": REFUSAL,
        "recitation": REFUSAL,
        "blocklist": REFUSAL,
        "prohibited_content": REFUSAL,
        "spii": REFUSAL,
        "model_armor": REFUSAL,
        "image_safety": REFUSAL,
        "image_prohibited_content": REFUSAL,
        "unexpected_tool_call": TOOL_CALL,
        "too_many_tool_calls": TOOL_CALL,
        "malformed_function_call": UNFINISHED,
        "malformed_response": UNFINISHED,
    },
    "Bedrock": {
        "end_turn": STOP,
        "stop_sequence": STOP,
        "finished": STOP,
        "max_tokens": LENGTH,
        "length": LENGTH,
        "model_context_window_exceeded": LENGTH,
        "content_filtered": REFUSAL,
        "guardrail_intervened": REFUSAL,
        "tool_use": TOOL_CALL,
        "malformed_model_output": UNFINISHED,
        "malformed_tool_use": UNFINISHED,
    },
    "Cohere": {
        "complete": STOP,
        "stop_sequence": STOP,
        "max_tokens": LENGTH,
        "error_limit": LENGTH,
        "error_toxic": REFUSAL,
        "tool_call": TOOL_CALL,
        "error": UNFINISHED,
        "timeout": UNFINISHED,
        "user_cancel": UNFINISHED,
    },
    "the code of an error in a reply's place": {
        "content_filter": REFUSAL,
        "content_policy_violation": REFUSAL,
        "responsibleaipolicyviolation": REFUSAL,
        "moderation": REFUSAL,
        "moderation_blocked": REFUSAL,
        "data_inspection_failed": REFUSAL,
        "prohibited_content": REFUSAL,
    },
}
WORDS = {word: means for words in ENDINGS.values() for word, means in words.items()}
FILTER_CODES = frozenset(ENDINGS["the code of an error in a reply's place"])
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def finish_reason(word: object) -> FinishReason | None:
    """How an answer ended, one of `FINISH_REASONS`, by the word of any interface; None for an
    unknown word, and for that of an unfinished reply."""
    means = WORDS.get(plain(word))
    return None if means == "unfinished" else means


def is_end(word: object) -> bool:
    """Whether a reply that ended with this word, known or not, is complete."""
    word = plain(word)
    return word != "" and WORDS.get(word) != UNFINISHED


def plain(word: object) -> str:
    """The word as the table has it; empty if it is not text."""
    if not isinstance(word, str):
        return ""
    word = word.partition(":")[0].strip()  # of Gemini's "content_filter: SAFETY"
    name = CAMEL.sub("_", word.rpartition(".")[2] or word)
    return name.casefold().removeprefix("finish_reason_")


def as_markdown() -> str:
    """The table as the documentation has it: a row an interface, a column a meaning."""
    lines = [
        f"| interface | {' | '.join(f'`{means}`' for means in FINISH_REASONS)} | asked again |"
    ]
    lines.append("|---" * (len(MEANINGS) + 1) + "|")
    for interface, words in ENDINGS.items():
        cells = (
            ", ".join(f"`{word}`" for word, found in words.items() if found == means)
            for means in MEANINGS
        )
        lines.append(f"| {interface} | {' | '.join(cells)} |")
    return "\n".join(lines)
