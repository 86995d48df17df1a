"""Separates what a model thought from its answer.

Models that think mark their thoughts in the text (`<think>...</think>`), unless a server has
removed them. A thought is not part of the answer: it is neither judged nor scored. A tag counts at
the start of a line and outside code. A closing tag counts without an opening one, too, since that
is often the last token of the prompt.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from cje.models.requests import Reply

TAG = re.compile(r"<(/?)(think|thought)>|\[(/?)(THINK)\]")
QUOTES = "`'\"\u201c\u2018"
NOT_SEPARABLE = (
    "the answer's log-probabilities cannot be separated from those of the thought before it"
)
END_TOKENS = 2  # that may follow the answer's own, at most


def split_thought(text: str) -> tuple[str, str | None]:
    """The answer in a text, and what was thought around it; None where nothing was.

    An answer without a thought is the text as it is. A thought without an end has no answer after
    it.
    """
    thoughts: list[str] = []
    answer: list[str] = []
    start, opened = 0, None
    first = next((tag.start() for tag in TAG.finditer(text)), None)
    for tag in TAG.finditer(text):
        closes, name = bool(tag[1] or tag[3]), tag[2] or tag[4]
        if opened is not None:
            if closes and name == opened:
                thoughts.append(text[start : tag.start()])
                start, opened = tag.end(), None
        elif closes and tag.start() == first and _counts(text, first, line=False):
            thoughts.append(text[start : tag.start()])
            start = tag.end()
        elif not closes and _counts(text, tag.start(), line=True, since=start):
            answer.append(text[start : tag.start()])
            start, opened = tag.end(), name
    (answer if opened is None else thoughts).append(text[start:])
    if not thoughts:
        return text, None
    said = "\n".join(part for part in map(str.strip, answer) if part)
    return said, "\n".join(part for part in map(str.strip, thoughts) if part)


def without_thought(reply: Reply) -> Reply:
    """The reply with its thought, if any, separated from its answer.

    After a thought, log-probabilities are those of the answer given that thought, which is not the
    answer's propensity: they are `raw`.
    """
    answer, thought = split_thought(reply.text or "")
    if thought is None:
        return reply
    own = answer_tokens(reply.tokens or (), answer) if answer.strip() else None
    lists = ("tokens", "token_ids", "token_logprobs")
    given = {name: getattr(reply, name) for name in lists}
    return replace(
        reply,
        text=answer if answer.strip() else None,
        reasoning=thought,
        logprob_kind=None if own is None else "raw",
        note=NOT_SEPARABLE if own is None and answer.strip() else None,
        **{name: None if own is None or v is None else v[own] for name, v in given.items()},
    )


def answer_tokens(tokens: Sequence[str], answer: str) -> slice | None:
    """Which of a reply's tokens, thoughts' and answer's, are the answer's: the last ones that spell
    it, and end tokens behind them. None where no cut between two tokens fits."""
    wanted = answer.strip()
    for end in range(len(tokens), max(len(tokens) - END_TOKENS, 0) - 1, -1):
        begin, spelt = end, ""
        while begin > 0 and len(spelt.strip()) < len(wanted):
            begin -= 1
            spelt = tokens[begin] + spelt
        if spelt.strip() == wanted:
            return slice(begin, len(tokens))
    return None


def _counts(text: str, place: int, line: bool, since: int = 0) -> bool:
    """Whether a tag there is one: not quoted, not in code, and, for a `line`, with nothing before
    it on its line since the last thought's end."""
    before = text[:place]
    if before.count("```") % 2 or (before and before[-1] in QUOTES):
        return False
    return not line or not text[max(since, before.rfind("\n") + 1) : place].strip()
