"""Where sentences end: not after abbreviations, initials, decimals, ellipses and addresses."""

import re
import unicodedata

# Abbreviations, without their last full stop. After these a sentence goes on ...
ALWAYS = frozenset(
    "e.g i.e cf vs viz approx ca z.b d.h u.a bzw bspw ggf inkl p.ex p.ej resp incl excl".split()
)
# ... after these unless a word follows that opens sentences, ...
BEFORE_NAMES = frozenset(
    "mr mrs ms mx dr drs prof st mt ft gen sen rep capt lt sgt rev hon gov messrs mme mlle hr fr "
    "frl sr sra dott u.s u.k u.n e.u d.c u.s.a a.d b.c inc ltd co corp bros jr phd ph.d al".split()
)
# ... after these where a number follows, ...
BEFORE_NUMBERS = frozenset("no nos nr vol sec ch fig figs eq p pp art v par".split())
# ... and after these unless a capital follows that is no day's or month's.
INSIDE = frozenset("etc usw a.m p.m jan feb apr aug sept oct nov dec min hrs".split())
STARTERS = frozenset(
    "the a an it its he she they we you i this that these those there then but and so if in on "
    "at as for from after before when while what why how who where my our your his her their "
    "however also now one some many most not to with by let please here both each since".split()
)
DATES = frozenset(
    "january february march april may june july august september october november december "
    "januar februar märz mai juni juli oktober dezember monday tuesday wednesday thursday friday "
    "saturday sunday est pst gmt utc cet".split()
)
CLOSERS = "\"'”’»)]}」』】）*_~"
OPENERS = "\"'“”‘’«»([{¿¡*_-—–„"
END = re.compile(r"(?<![.…!?‽؟۔।！？。｡])[.…!?‽؟۔।！？。｡]+$")
WIDE = "。！？｡।۔؟"
WIDE_END = re.compile(r"[。！？｡]+([」』”’）】]*)")
LOOSE_CLOSER = re.compile(r"(?<=[.!?…])\s+»(?=\s|$)")  # « Bonjour ! »
RUNS_ON = "とってのをはがにへもや"  # a quotation followed by one of these is part of a sentence
LIST_NUMBER = re.compile(r"\(?\d{1,2}\.$")


def split_sentences(text: str) -> list[str]:
    """The sentences of running text without line breaks; each holds a letter or a digit."""
    tokens = WIDE_END.sub(_part, LOOSE_CLOSER.sub("»", text)).split()
    follows = _next_words(tokens)
    lower_case = not any(c.isupper() for c in text)
    sentences: list[str] = []
    current: list[str] = []
    worded = False
    for token, following in zip(tokens, follows, strict=True):
        first = not current
        current.append(token)
        worded = worded or has_word(token)
        if worded and _ends(token, following, first, lower_case):
            sentences.append(" ".join(current))
            current, worded = [], False
    return [*sentences, " ".join(current)] if worded else sentences


def has_word(token: str) -> bool:
    """Whether a token holds a letter or a digit."""
    return any(map(str.isalnum, token))


def _part(match: re.Match[str]) -> str:
    """Parts text after a wide full stop, unless it closes a quotation and the sentence goes on."""
    after = match.string[match.end() : match.end() + 1]
    return match[0] if match[1] and after and after in RUNS_ON else match[0] + " "


def _next_words(tokens: list[str]) -> list[str]:
    """For each token the next one with a letter or a digit, without marks before it, or ""."""
    follows, following = [], ""
    for token in reversed(tokens):
        follows.append(following)
        if has_word(token):
            following = token.lstrip(OPENERS)
    return follows[::-1]


def _ends(token: str, following: str, first: bool, lower_case: bool) -> bool:
    """Whether a sentence ends with the token; `first`: the sentence begins with it, too."""
    body = token.rstrip(CLOSERS)
    match = END.search(body)
    if not match:
        return False
    mark = match[0]
    if not following or any(c in WIDE for c in mark):
        return True
    lower = following[0].islower() and not following[1:2].isupper()  # iPhones open a sentence
    if "!" in mark or "?" in mark or "‽" in mark:
        quoted = len(body) < len(token)
        return not lower or (lower_case and not quoted)  # "Stop!" he said.
    if len(mark) > 1 or mark == "…":
        return not lower
    if (lower and not lower_case) or (first and LIST_NUMBER.match(body)):
        return False
    return not _is_abbreviation(body[:-1].lstrip(OPENERS), following)


def _is_abbreviation(word: str, following: str) -> bool:
    """Whether the full stop after the word belongs to it, and the sentence goes on."""
    key = unicodedata.normalize("NFC", word).casefold()
    next_word = following.rstrip(CLOSERS + ",.;:!?").casefold()
    if key in ALWAYS:
        return True
    if key in BEFORE_NAMES:
        return next_word not in STARTERS
    if key in BEFORE_NUMBERS:
        return following[0].isdigit()
    if key in INSIDE:
        return not following[0].isupper() or next_word in DATES
    if key.isdigit():
        return len(key) <= 2 and next_word in DATES  # am 3. Oktober
    if len(word) == 1 and word.isalpha() and following[1:] == ".":
        return True  # z. B.
    parts = [part for part in re.split(r"[.-]", word) if part]
    initials = word != "I" and all(len(part) == 1 and part.isupper() for part in parts)
    return bool(parts) and initials and next_word not in STARTERS
