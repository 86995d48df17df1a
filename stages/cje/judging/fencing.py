"""Judged texts as data: hidden characters made visible, chat tokens broken, a fence around each.

The author of an answer may try to instruct its judge. Three things prevent that: nothing that a
judge's tokenizer takes for the end of a turn survives, nothing invisible stays invisible, and the
tags around a text end in a code that the text cannot contain. `cje.judging.rubric` tells the judge
about the tags.
"""

import hashlib
import re

MARK = "·"  # put into a chat token, to break it
NAMES = ("prompt", "answer", "reference")

# Of use between letters or emoji, or singly; in runs they hide messages.
JOINERS = "\u200c\u200d"
SINGLY = "\u00ad\u200e\u200f\u061c\ufe00-\ufe0f\U000e0100-\U000e01ef"
NEVER = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # control characters, but for tab and line ends
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2060-\u2064\u3164\ufeff\uffa0"
    "\u202a-\u202e\u2066-\u206f"  # direction
    "\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e007f"  # annotations, tags
    "\ud800-\udfff"  # half a surrogate pair
)
FLAGS = "\U0001f3f4\U000e0067\U000e0062(?:\U000e0065\U000e006e\U000e0067|" + (
    "\U000e0073\U000e0063\U000e0074|\U000e0077\U000e006c\U000e0073)\U000e007f"
)  # England, Scotland, Wales
HIDDEN = re.compile(f"({FLAGS})|[{JOINERS}{SINGLY}{NEVER}]+")
VARIED_JOINER = re.compile("[\ufe0e\ufe0f]?\u200d")  # as in the rainbow flag

CHAT_TOKEN = re.compile(
    r"<(?=[|｜][\w▁/.:-]{1,48}[|｜]?>)"  # <|im_end|>, <|turn>, <｜User｜>
    r"|<(?=\w{1,48}\|>)"  # <turn|>
    r"|<(?=/?s>|[be]os>|(?:start|end)_of_turn>|</?SYS>>)"
    r"|\[(?=/?INST\]|/?SYSTEM_PROMPT\]|/?AVAILABLE_TOOLS\]|/?TOOL_(?:CALLS|RESULTS|CONTENT)\])"
    rf"|<(?=/?(?:{'|'.join(NAMES)})-[0-9a-f]{{16}}>)"  # a fence of ours
    r"|(?:(?<=\n\nHuman)|(?<=\n\nAssistant))(?=:)"
)


def neutralise(text: str) -> str:
    """The text with nothing hidden in it and no chat tokens; ordinary text is left as it is.

    A hidden character becomes its number, [U+200B]; of a run only the first is shown, with the
    number of the others. Joiners inside words and emoji, and single soft hyphens, direction marks
    and variation selectors are kept. A chat token gets a dot after its first character,
    <·|im_end|>; so does the rare HTML tag <s>, which is also the start token of some models.
    """
    text = HIDDEN.sub(_shown, text)
    return CHAT_TOKEN.sub(lambda match: match[0] + MARK, text)


def fence(texts: dict[str, str]) -> tuple[dict[str, str], str]:
    """Each text (by its name, one of NAMES), neutralised, between tags of its own; and their code.

    The code is a hash of all the texts, so that equal texts give equal messages, and no text
    contains it.
    """
    texts = {name: neutralise(text) for name, text in texts.items()}
    whole = "\0".join(part for pair in texts.items() for part in pair)
    code, tried = _code(whole), 0
    while code in whole:  # found by chance or by much work
        tried += 1
        code = _code(f"{tried}\0{whole}")
    return {
        name: f"<{name}-{code}>\n{text}\n</{name}-{code}>" for name, text in texts.items()
    }, code


def _code(text: str) -> str:
    """16 hex digits."""
    return hashlib.blake2b(text.encode("utf-8"), digest_size=8).hexdigest()


def _shown(match: re.Match[str]) -> str:
    if match[1]:
        return match[0]
    run, text = match[0], match.string
    before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
    within = _is_joined(before) and _is_joined(after)
    if within and (run in JOINERS or VARIED_JOINER.fullmatch(run)):
        return run
    if len(run) == 1 and re.match(f"[{SINGLY}]", run):
        return run
    more = len(run) - 1
    first = f"U+{ord(run[0]):04X}"
    return f"[{first} and {more} more hidden characters]" if more else f"[{first}]"


def _is_joined(character: str) -> bool:
    """Whether joiners have a meaning next to it: letters outside ASCII, their marks, emoji."""
    return character != "" and not character.isascii() and not character.isspace()
