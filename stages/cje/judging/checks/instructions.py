"""What an answer must do to pass each kind of check.

Counts read the prose, without fenced code; phrases, letters and punctuation the whole text. Upper
and lower case differ only where a check says `match_case`, and curly quotation marks equal
straight ones.
"""

import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NoReturn

from pydantic_core import SchemaValidator

from cje.judging.checks import kinds
from cje.judging.checks.kinds import Check
from cje.judging.checks.language import is_in_language
from cje.judging.checks.numbers import final_number
from cje.judging.checks.patterns import pattern_matcher
from cje.judging.checks.text import UNSPACED, Answer, plain, straight

UNJOINED = re.compile(f"[{UNSPACED}\u1100-\u11ff\uac00-\ud7a3]")  # words here join their neighbours
COMMAS = ",，،、﹐﹑"
FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
LEADING = " \t\n#>*_~\"'“„«(["
TRAILING = " \t\n*_~\"'”“»)]"
FULL_STOPS = ".!?…。！？"
CODE_NAMES = {"py": "python", "python3": "python", "js": "javascript", "ts": "typescript",
              "sh": "bash", "shell": "bash", "c++": "cpp", "c#": "csharp", "cs": "csharp",
              "yml": "yaml", "md": "markdown", "rs": "rust", "rb": "ruby"}  # fmt: skip
BOLD = re.compile(
    r"(?<!\*)\*\*(?!\s)(?:[^*\n]|\*(?!\*))+?(?<!\s)\*\*"
    r"|(?<!\w)__(?!\s)(?:[^_\n]|_(?!_))+?(?<!\s)__(?!\w)"
    r"|</(?:b|strong)>"
)
INLINE_CODE = re.compile(r"`[^`\n]+`")
PLACEHOLDER = re.compile(r"(?<![\w\]!])\[([^\[\]\n]+)\](?!\(|\[|: ?http)")
PAIRS = ("“”", "„“", "„”", "«»", "»«", "「」", "『』")
SMALL_WORDS = frozenset(
    "a an and as at but by en for from if in into nor of off on onto or over per so than the to "
    "up upon v via vs with yet".split()
)
EMOJI_CHARACTER = r"^\p{Emoji_Presentation}$"
TEXT_EMOJI = r"^\p{Emoji}$"


def holds(check: Check, answer: Answer) -> bool:
    """Whether an answer, which must not be blank, passes the check."""
    return HOLDS[check.check](check, answer)


def _within(check: kinds._Bounded, count: int) -> bool:
    low, high = check.bounds
    return count >= low and (high is None or count <= high)


def _counted(count: Callable[..., int]) -> Callable[..., bool]:
    return lambda check, answer: _within(check, count(check, answer))


# Phrases


@lru_cache(maxsize=1024)  # an answer is looked through for one phrase after the other
def _folded(text: str, match_case: bool) -> str:
    text = straight(text)
    return text if match_case else unicodedata.normalize("NFC", text.casefold())


def _joins(character: str) -> bool:
    """Whether the character next to a word would be part of the word."""
    return unicodedata.category(character)[0] in "LMN" and not UNJOINED.match(character)


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] is cut from no longer word or number; "can" is none of "can't"."""
    if start and _joins(text[start]):
        before = text[start - 1]
        if _joins(before):
            return False
        if before in ".," and text[start].isdigit() and text[start - 2 : start - 1].isdigit():
            return False
    if end < len(text) and _joins(text[end - 1]):
        after, later = text[end], text[end + 1 : end + 2]
        if _joins(after) or (after in ".," and text[end - 1].isdigit() and later.isdigit()):
            return False
        if text[end - 1] in "nN" and after == "'" and later in ("t", "T"):
            return False
    return True


@lru_cache(maxsize=8192)  # a prompt's phrases come again with every policy's answer
def _pattern(phrase: str) -> re.Pattern[str]:
    return re.compile(r"\s+".join(map(re.escape, phrase.split())))


def _find(phrase: str, text: str) -> Iterator[tuple[int, int]]:
    """Where the phrase occurs as whole words, any white space for a blank; no two overlap."""
    at = 0
    while match := _pattern(phrase).search(text, at):
        alone = _stands_alone(text, *match.span())
        if alone:
            yield match.span()
        at = match.end() if alone else match.start() + 1


def _occurrences(phrase: str, answer: Answer, match_case: bool) -> int:
    """How often the phrase occurs, in the text as it is or in that without its markup."""
    folded = _folded(phrase, match_case)
    texts = {answer.text, answer.plain}
    return max(sum(1 for _ in _find(folded, _folded(text, match_case))) for text in texts)


def _include(check: kinds.Include, answer: Answer) -> bool:
    return all(_within(check, _occurrences(word, answer, check.match_case)) for word in check.words)


def _include_any(check: kinds.IncludeAny, answer: Answer) -> int:
    return sum(_occurrences(word, answer, check.match_case) > 0 for word in check.words)


def _exclude(check: kinds.Exclude, answer: Answer) -> bool:
    return not any(_occurrences(word, answer, check.match_case) for word in check.words)


def _starts(check: kinds.Starts, answer: Answer) -> bool:
    phrase = _folded(check.with_, check.match_case)
    texts = (answer.body, answer.body.lstrip(LEADING), plain(answer.body).lstrip(LEADING))
    firsts = (next(_find(phrase, _folded(text, check.match_case)), (1, 1)) for text in texts)
    return any(start == 0 for start, _ in firsts)


def _ends(check: kinds.Ends, answer: Answer) -> bool:
    """The phrase ends the answer; closing marks may follow, and a full stop where it has none."""
    phrase = _folded(check.with_, check.match_case)
    allowed = TRAILING if phrase[-1] in FULL_STOPS + ",;:" else TRAILING + FULL_STOPS
    for text in (answer.body, plain(answer.body)):
        folded = _folded(text, check.match_case)
        *_, (_, end) = [(0, -1), *_find(phrase, folded)]
        if end >= 0 and not folded[end:].strip(allowed):
            return True
    return False


def _parts(check: kinds.Parts, answer: Answer) -> int:
    """Parts with something in them; a longer run of the separator's mark does not separate."""
    parts, at, separator, text = [], 0, check.separator, answer.text
    for start, end in _find(separator, text):
        mark = not separator[0].isalnum()
        if mark and separator[0] in text[max(start - 1, 0) : start] + text[end : end + 1]:
            continue
        parts.append(text[at:start])
        at = end
    return sum(any(map(str.isalnum, part)) for part in [*parts, text[at:]])


# Form


def _table(check: kinds.Tables, answer: Answer) -> int:
    return sum(check.columns in (None, table.columns) for table in answer.tables)


def _headings(check: kinds.Headings, answer: Answer) -> int:
    return sum(check.level in (None, level) for level in answer.headings)


def _code_blocks(check: kinds.CodeBlocks, answer: Answer) -> int:
    """Fences that are closed, hold something, and name the language where one is asked for."""
    found = [b.language for b in answer.code_blocks if b.closed and b.code.strip()]
    if check.language is None:
        return len(found)
    wanted = check.language.casefold()
    return sum(CODE_NAMES.get(n, n) == CODE_NAMES.get(wanted, wanted) for n in found)


def _bold(_: kinds.Bold, answer: Answer) -> int:
    return len(BOLD.findall(INLINE_CODE.sub(" ", answer.prose)))


def _placeholders(_: kinds.Placeholders, answer: Answer) -> int:
    """Text in square brackets with a letter in it; no link, index, footnote or ticked box."""
    inner = PLACEHOLDER.findall(INLINE_CODE.sub(" ", answer.prose))
    named = (text.strip() for text in inner if any(map(str.isalpha, text)))
    return sum(text not in ("x", "X") and text[0] != "^" for text in named)


def _tagged(check: kinds.Tagged, answer: Answer) -> int:
    """Pairs of the tag with something between them."""
    text, count, at = answer.text.casefold(), 0, 0
    opening, closing = f"<{check.tag.casefold()}>", f"</{check.tag.casefold()}>"
    while (start := text.find(opening, at)) >= 0:
        end = text.find(closing, start)
        if end < 0:
            break
        count += bool(text[start + len(opening) : end].strip())
        at = end + len(closing)
    return count


def _json(check: kinds.Json, answer: Answer) -> bool:
    """The whole answer is one JSON object or list, in a fence or not, and has the keys."""
    try:
        value = json.loads(answer.body, parse_constant=_no_constant, parse_int=float)
    except (ValueError, RecursionError):
        return False
    if check.keys is None:
        return isinstance(value, dict | list)
    entries = value if isinstance(value, list) else [value]
    return bool(entries) and all(
        isinstance(entry, dict) and set(check.keys) <= set(entry) for entry in entries
    )


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _quoted(_: kinds.Quoted, answer: Answer) -> bool:
    """One pair of double quotation marks holds the whole answer."""
    text = plain(answer.body).strip()
    if len(text) < 3 or not any(map(str.isalnum, text)):
        return False
    if text[0] == text[-1] == '"':
        inside = re.search(r'(?<!\\)"', text[1:-1])
        if not inside:
            return True
        before, after = text[inside.start()], text[inside.end() + 1]
        return (before.isspace() or before in "([—-") and not after.isspace()
    return any(text[0] == p[0] and text[-1] == p[1] and _one_pair(text, p) for p in PAIRS)


def _one_pair(text: str, pair: str) -> bool:
    depth = 0
    for character in text[:-1]:
        depth += (character == pair[0]) - (character == pair[1])
        if depth <= 0:
            return False
    return True


# Letters and marks


def _casing(check: kinds.Casing, answer: Answer) -> bool:
    """No letter of the other case, and one at least that has a case; addresses and inline code are
    left out. Title case: every word but small ones begins with a capital, each line does, and not
    all is capitals."""
    upper = sum(map(_is_upper, answer.cased))
    lower = sum(map(_is_lower, answer.cased))
    if check.is_ == "lower":
        return lower > 0 and upper == 0
    if check.is_ == "upper":
        return upper > 0 and lower == 0
    return upper > 0 and lower > 0 and all(map(_is_title_line, answer.cased.split("\n")))


def _is_upper(c: str) -> bool:
    return unicodedata.category(c) in ("Lu", "Lt") and c.lower() != c


def _is_lower(c: str) -> bool:
    return unicodedata.category(c) == "Ll" and c.upper() != c and len(c.upper()) == 1


def _is_title_line(line: str) -> bool:
    words = [
        "".join(c for c in word if c.isalnum() or c in "'-") for word in straight(line).split()
    ]
    words = [word.strip("'-") for word in words if any(map(str.isalpha, word))]
    for i, word in enumerate(words):
        small = i and word.casefold() in SMALL_WORDS
        if not small and _is_lower(word[0]) and not any(map(_is_upper, word)):
            return False
    return not (len(words) > 1 and all(word.isupper() for word in words))


def _letters(check: kinds.Letter, answer: Answer) -> int:
    return _folded(answer.text, False).count(_folded(check.letter, False))


def _marks(check: kinds.Punctuation, answer: Answer) -> int:
    text = straight(answer.text.translate(FULL_WIDTH))
    return sum(map(text.count, set(straight(check.marks.translate(FULL_WIDTH)))))


def _no_commas(_: kinds.NoCommas, answer: Answer) -> bool:
    return not any(comma in answer.text for comma in COMMAS)


def _capital_words(_: kinds.CapitalWords, answer: Answer) -> int:
    """Words of two letters or more, all capitals."""
    return sum(
        sum(map(str.isalpha, word)) > 1 and not any(c.isalpha() and not _is_upper(c) for c in word)
        for word in answer.words
    )


def _emoji(_: kinds.Emoji, answer: Answer) -> int:
    """Emoji as they are seen: joined ones, skin tones, flags and keycaps are one each. A symbol
    such as ❤ or ✔ is one only with the selector that asks for its picture."""
    picture, symbol = pattern_matcher(EMOJI_CHARACTER), pattern_matcher(TEXT_EMOJI)
    count, before, joined, flag = 0, "", False, False
    for c in answer.text:
        if c == "\u200d":
            joined = True
            continue
        if c < "\u00a9" or c.isalnum():
            before, joined, flag = c, False, False
            continue
        is_flag = "\U0001f1e6" <= c <= "\U0001f1ff"
        is_tone = "\U0001f3fb" <= c <= "\U0001f3ff"
        if c == "\u20e3":
            count += 1
        elif c == "\ufe0f":
            bare = before and before not in "0123456789#*" and not joined
            count += bool(bare and _is(symbol, before) and not _is(picture, before))
            continue
        elif is_flag:
            count += not flag
        elif not is_tone and not joined:
            count += _is(picture, c)
        flag, before = is_flag and not flag, "" if joined else c
        joined = False
    return count


def _is(matcher: SchemaValidator, character: str) -> bool:
    return matcher.isinstance_python(character)


# What is said


def _regex(check: kinds.Regex, answer: Answer) -> bool:
    found = check.matcher.isinstance_python(answer.text)
    return found != (check.matches == "nowhere")


def _choice(check: kinds.Choice, answer: Answer) -> bool:
    """The answer is one of the options; case, quotation marks, brackets, markup and a full stop
    around it do not matter."""
    return _bare(answer.body) in map(_bare, check.of)


def _bare(text: str) -> str:
    folded = " ".join(_folded(plain(text), False).split())
    return folded.strip(LEADING + TRAILING + ".!。") or folded


def _number(check: kinds.FinalNumber, answer: Answer) -> bool:
    """The last number of the answer is the one asked for, or near it by `within`."""
    value = final_number(plain(answer.body))
    if value is None:
        return False
    return math.isclose(value, check.is_, rel_tol=1e-9, abs_tol=max(check.within, 1e-12))


HOLDS: dict[str, Callable[..., bool]] = {  # of a check of that kind, and an answer
    "include": _include,
    "include_any": _counted(_include_any),
    "exclude": _exclude,
    "words": _counted(lambda _, answer: len(answer.words)),
    "characters": _counted(lambda _, answer: len(answer.text)),
    "sentences": _counted(lambda _, answer: len(answer.sentences)),
    "paragraphs": _counted(lambda _, answer: len(answer.paragraphs)),
    "lines": _counted(lambda _, answer: sum(bool(line.strip()) for line in answer.lines)),
    "questions": _counted(lambda _, answer: answer.questions),
    "bullets": _counted(lambda _, answer: len(answer.bullets)),
    "numbered": _counted(lambda _, answer: answer.numbered),
    "headings": _counted(_headings),
    "table": _counted(_table),
    "code_block": _counted(_code_blocks),
    "bold": _counted(_bold),
    "placeholder": _counted(_placeholders),
    "tag": _counted(_tagged),
    "emoji": _counted(_emoji),
    "capital_words": _counted(_capital_words),
    "parts": _counted(_parts),
    "letter": _counted(_letters),
    "punctuation": _counted(_marks),
    "no_commas": _no_commas,
    "casing": _casing,
    "starts": _starts,
    "ends": _ends,
    "language": lambda check, answer: is_in_language(answer, check.is_),
    "json": _json,
    "quoted": _quoted,
    "regex": _regex,
    "number": _number,
    "choice": _choice,
}
