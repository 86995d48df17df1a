"""A check as the sentence that a person would put into a prompt."""

from cje.data.languages import NAMES
from cje.judging.checks import kinds
from cje.judging.checks.kinds import Check

COUNTED = {
    "words": ("Write", "word", "words"),
    "characters": ("Write", "character", "characters"),
    "sentences": ("Write", "sentence", "sentences"),
    "paragraphs": ("Write", "paragraph", "paragraphs"),
    "lines": ("Write", "line", "lines"),
    "questions": ("Ask", "question", "questions"),
    "bullets": ("Use", "bullet point", "bullet points"),
    "numbered": ("Use", "numbered item", "numbered items"),
    "headings": ("Use", "heading", "headings"),
    "table": ("Include", "table", "tables"),
    "code_block": ("Include", "block of code", "blocks of code"),
    "bold": ("Put", "passage in bold", "passages in bold"),
    "placeholder": ("Use", "placeholder in square brackets", "placeholders in square brackets"),
    "tag": ("Include", "passage", "passages"),
    "emoji": ("Use", "emoji", "emoji"),
    "capital_words": ("Write", "word in capitals", "words in capitals"),
    "parts": ("Give", "part", "parts"),
    "letter": ("Use", "letter", "letters"),
    "punctuation": ("Use", "mark", "marks"),
}
CASES = {"lower": "small letters", "upper": "capital letters", "title": "title case"}
PLACES = {
    "anywhere": "Include text that matches the pattern",
    "whole": "The whole answer must match the pattern",
    "nowhere": "Include nothing that matches the pattern",
}


def describe(check: Check) -> str:
    """The check as an instruction: one sentence with its full stop."""
    if isinstance(check, kinds._Bounded) and check.check in COUNTED:
        verb, one, many = COUNTED[check.check]
        one, many = (f"{_before(check)}{noun}{_after(check)}" for noun in (one, many))
        return f"{verb} {_amount(check.bounds, one, many)}."
    match check:
        case kinds.Include():
            times = _amount(check.bounds, "time", "times")
            often = "" if check.bounds == (1, None) else f" {times}"
            each = " each" if often and len(check.words) > 1 else ""
            return f"Include {_listed(check.words, 'and')}{each}{often}{_case(check)}."
        case kinds.IncludeAny():
            amount = _amount(check.bounds, "", "").strip()
            return f"Include {amount} of {_listed(check.words, 'and')}{_case(check)}."
        case kinds.Exclude():
            return f"Do not use {_listed(check.words, 'or')}{_case(check)}."
        case kinds.NoCommas():
            return "Do not use commas."
        case kinds.Casing():
            return f"Write everything in {CASES[check.is_]}."
        case kinds.Starts():
            return f"Start the answer with {_quote(check.with_)}{_case(check)}."
        case kinds.Ends():
            return f"End the answer with {_quote(check.with_)}{_case(check)}."
        case kinds.Language():
            return f"Write the whole answer in {NAMES[check.is_]}."
        case kinds.Json():
            keys = f" with the keys {_listed(check.keys, 'and')}" if check.keys else ""
            return f"Answer with nothing but JSON{keys}."
        case kinds.Quoted():
            return "Put the whole answer in double quotation marks."
        case kinds.Regex():
            return f"{PLACES[check.matches]} {check.pattern}."
        case kinds.FinalNumber():
            near = f", give or take {check.within:g}" if check.within else ""
            return f"The last number of the answer must be {check.is_:.15g}{near}."
        case kinds.Choice():
            return f"Answer with exactly one of {_listed(check.of, 'or')}."
    raise AssertionError(f"no words for the check {check.check}")


def _amount(bounds: tuple[int, int | None], one: str, many: str) -> str:
    low, high = bounds
    if low == high:
        return f"no {many}" if high == 0 else f"exactly {low} {one if low == 1 else many}"
    if high is None:
        return f"at least {low} {one if low == 1 else many}"
    if low == 0:
        return f"no {many}" if high == 0 else f"at most {high} {one if high == 1 else many}"
    return f"{low} to {high} {many}"


def _before(check: Check) -> str:
    match check:
        case kinds.Tables(columns=int(columns)):
            return f"{columns}-column "
        case kinds.CodeBlocks(language=str(language)):
            return f"{language} "
    return ""


def _after(check: Check) -> str:
    match check:
        case kinds.Headings(level=int(level)):
            return f" of level {level}"
        case kinds.Tagged():
            return f" in <{check.tag}> tags"
        case kinds.Parts():
            return f" separated by {_quote(check.separator)}"
        case kinds.Letter():
            return f" {_quote(check.letter)}"
        case kinds.Punctuation():
            return f" of {' '.join(check.marks)}"
    return ""


def _quote(text: str) -> str:
    return f"'{text}'" if '"' in text else f'"{text}"'


def _listed(words: tuple[str, ...], last: str) -> str:
    quoted = [_quote(word) for word in words]
    if len(quoted) == 1:
        return quoted[0]
    return f"{', '.join(quoted[:-1])} {last} {quoted[-1]}"


def _case(
    check: kinds.Include | kinds.IncludeAny | kinds.Exclude | kinds.Starts | kinds.Ends,
) -> str:
    return " (upper and lower case as here)" if check.match_case else ""
