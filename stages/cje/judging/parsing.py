"""A judge's verdict: its JSON schema, and the score in a judge's reply."""

import json
import re
from typing import Any

from cje.settings import show_value

REASON_WORDS = "one or two short sentences on what decides the score"
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
FENCE = re.compile(r"^\s*```\w*|```\s*$")
OBJECT = re.compile(r'\{\s*["}]')  # what looks like the start of a JSON object

ScoreRange = tuple[float, float]


class _Repeated:
    """The value of a key that an object has twice with different values."""


def score_schema(score_range: ScoreRange) -> str:
    """The JSON schema of a verdict as canonical JSON: `reason`, then `score` on the scale.

    It holds only what the strict modes of OpenAI, vLLM and llama.cpp take. Anthropic's refuses
    `minimum` and `maximum`; its SDK's `transform_schema` moves them into the description.
    """
    low, high = map(plain_number, score_range)
    properties = {
        "reason": {"type": "string", "description": REASON_WORDS},
        "score": {
            "type": "number",
            "description": f"the score, a number from {low} to {high}",
            "minimum": low,
            "maximum": high,
        },
    }
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return json.dumps(
        schema, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    )


def parse_score(text: str | None, score_range: ScoreRange) -> tuple[float | None, str | None]:
    """The score in a judge's reply and its reason (None if it gave none in words); or None and why
    there is no score.

    A verdict is a JSON object with a `score` on the scale, ends included: the whole reply, or the
    only such object in it (in a fence, among prose, after the thought of a model that thinks
    aloud). A score is a JSON number, or a string that is a plain decimal ("7.5"), which may be over
    the scale's high ("7/10" on a scale to 10). Nothing else becomes a number: no words, no score
    off the scale, none of two that differ, and nothing from a reply with a broken object in it,
    which may be the verdict while the whole one is a quotation.
    """
    if text is None or not text.strip():
        return None, "the judge said nothing"
    verdicts, problem = _verdicts(text)
    if problem:
        return None, problem
    if not verdicts:
        return None, f"the judge gave no JSON object with a score: {show_value(text.strip())}"
    scores = [_score(verdict["score"], score_range) for verdict in verdicts]
    for _, problem in scores:
        if problem:
            return None, problem
    if len({score for score, _ in scores}) > 1:
        return None, "the judge gave several scores that differ"
    return scores[0][0], next(filter(None, map(_reason, verdicts)), None)


def is_verdict_alone(text: str | None) -> bool:
    """Whether a reply is one JSON object, perhaps in a fence, and nothing else."""
    inside = FENCE.sub("", text or "").strip()
    try:
        return isinstance(_DECODER.decode(inside), dict)
    except (ValueError, RecursionError):
        return False


def plain_number(value: float) -> int | float:
    """A bound of a scale as people write it: 10 rather than 10.0."""
    return int(value) if abs(value) < 1e15 and value == int(value) else value


def _verdicts(text: str) -> tuple[list[dict[str, Any]], str | None]:
    """The outermost JSON objects with a `score`, or why the reply cannot be read."""
    try:
        whole = _DECODER.decode(text.strip())
    except (ValueError, RecursionError):
        whole = None
    if isinstance(whole, dict):
        if "score" in whole:
            return [whole], None
        return [], f"the judge's JSON has no score: {show_value(text.strip())}"
    text = text.rpartition("</think>")[2]
    found, start = [], 0
    while match := OBJECT.search(text, start):
        try:
            value, start = _DECODER.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            rest = show_value(text[match.start() :])
            return [], f"the judge's JSON is broken or cut short: {rest}"
        if "score" in value:
            found.append(value)
    return found, None


def _reason(verdict: dict[str, Any]) -> str | None:
    """The words of a verdict on its score; half a surrogate pair becomes a question mark."""
    words = verdict.get("reason")
    if not isinstance(words, str):
        return None
    return words.encode("utf-8", "replace").decode("utf-8").strip() or None


def _score(value: Any, score_range: ScoreRange) -> tuple[float | None, str | None]:
    low, high = score_range
    number = value
    if value is _Repeated:
        return None, "the judge gave several scores that differ"
    if isinstance(value, str):
        number = _decimal(value.strip(), high)
    if isinstance(number, bool) or not isinstance(number, int | float):
        return None, f"the judge's score is not a number: {show_value(value)}"
    if not low <= number <= high:  # also true of NaN
        scale = f"{plain_number(low)} to {plain_number(high)}"
        return None, f"the judge's score is not on the scale from {scale}: {show_value(value)}"
    return float(number) + 0.0, None  # -0.0 is 0.0


def _decimal(text: str, high: float) -> float | None:
    number, slash, over = text.partition("/")
    if slash and not (NUMBER.fullmatch(over.strip()) and float(over) == high):
        return None
    return float(number) if NUMBER.fullmatch(number.strip()) else None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in pairs:
        same = key not in fields or _same(fields[key], value)
        fields[key] = value if same else _Repeated
    return fields


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


# Not strict: a line break in a reason must not cost the score.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=float, strict=False)
