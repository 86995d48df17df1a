"""Conversations in data sets and logs, and which prompts belong together.

Turns are a text, or a list of texts, of messages {role, content}, of contents {content}, or of
exchanges {user: {content}, ...}. A cluster is what several prompts have in common: a conversation,
a session, a user, a document.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

# full_conversation has a session's opening; conversation_a may begin at a later turn of it.
TURNS = ("full_conversation", "conversation_a", "conversation", "messages", "turns", "prompt")
USERS = ("user", "human")
INPUT_ROLES = (*USERS, "system", "developer")
# The columns of a cluster; the first that a row has counts. `conversation` may be turns instead.
CLUSTERS = ("cluster", "conversation_id", "conversation", "session_id", "user", "document")

WORDS_FOR_NOTHING = ("", "nan", "none", "null", "<na>", "nat")  # a missing value made text of

Cluster = tuple[str, str | None]  # the column that it is read in, and the cluster


def first_user_text(turns: Any) -> str | None:
    """The text of the first user turn; None if it is missing or not text alone. Later turns are not
    read."""
    if turns is None or isinstance(turns, str):
        return content_text(turns)
    return next((content_text(said) for role, said in _turns(turns) if role in USERS), None)


def says_more(turns: Any) -> bool:
    """Whether the model gets more than the first user turn: later ones, a system message."""
    return isinstance(turns, list) and sum(role in INPUT_ROLES for role, _ in _turns(turns)) > 1


def turns_key(turns: list[Any]) -> str:
    """A key that equal conversations share, however they are written."""
    return json.dumps([(role, content_text(said)) for role, said in _turns(turns)])


def prompt_turns(row: Mapping[str, Any]) -> Any:
    """What a row of a file of prompts asks: the text or list in `prompt`, else the list in the
    first column of TURNS that has one, perhaps as JSON; None where there is none."""
    prompt = row.get("prompt")
    if isinstance(prompt, list) or (isinstance(prompt, str) and prompt.strip()):
        return prompt
    found = (row.get(name) for name in TURNS)
    lists = (from_json(value) if isinstance(value, str) else value for value in found)
    return next((value for value in lists if isinstance(value, list)), None)


def content_text(content: Any) -> str | None:
    """Content as text that is not blank, or None; its parts {type: text, text} are joined."""
    if isinstance(content, list):
        parts = [p.get("text") if isinstance(p, Mapping) else p for p in content]
        texts = [part for part in parts if isinstance(part, str)]
        if len(texts) < len(parts):
            return None
        if any(p.get("type") not in (None, "text") for p in content if isinstance(p, Mapping)):
            return None
        content = "\n".join(texts)
    if not isinstance(content, str) or not content.strip():
        return None
    return content if _is_unicode(content) else None


def from_json(text: str) -> Any:
    """The parsed text, or None if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def id_text(value: Any) -> str | None:
    """An id as text: text that is not empty, or a whole number; None for anything else."""
    if isinstance(value, str):
        return value if value and _is_unicode(value) else None
    if value is None or isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    return str(int(value)) if math.isfinite(value) and value == int(value) else None


def stands_for_nothing(value: Any) -> bool:
    """Whether there is no value, or a text that programs write where there was none."""
    return value is None or (isinstance(value, str) and value.casefold() in WORDS_FOR_NOTHING)


def cluster_of(row: Mapping[str, Any], names: Iterable[str] = CLUSTERS) -> Cluster:
    """The first of the columns `names` that contains an id, and the id; "" and None if none
    does."""
    for name in names:
        cluster = id_text(row.get(name))
        if cluster is None or stands_for_nothing(cluster):
            continue
        if not (name in TURNS and cluster.startswith("[")):
            return name, cluster
    return "", None


def grouping(found: Sequence[Cluster]) -> list[str | None]:
    """The cluster of each row. A column other than `cluster` with the same value in every row is
    ignored, such as the session of a whole evaluation."""
    if len(found) > 1 and len(set(found)) == 1 and found[0][0] != "cluster":
        return [None] * len(found)
    return [cluster for _, cluster in found]


def repeats(uids: Sequence[str]) -> list[str | None]:
    """The cluster of each prompt by its uid from `cje.data.tables.prompt_uids`: prompts of the same
    text are one cluster, named by the text's hash; None for a text that occurs once."""
    stems = [uid.partition("-")[0] for uid in uids]
    count = Counter(stems)
    return [stem if count[stem] > 1 else None for stem in stems]


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _turns(turns: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """The role and content of each turn."""
    for turn in turns:
        if isinstance(turn, Mapping):
            message = turn["user"] if isinstance(turn.get("user"), Mapping) else turn
            yield str(message.get("role") or "user").casefold(), message.get("content")
        else:
            yield "user", turn
