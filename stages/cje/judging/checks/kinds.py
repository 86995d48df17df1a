"""The kinds of checks: the parameters of each, and which values are allowed.

A count is bounded by `exactly`, or by `at_least` and `at_most`. A kind is of an answer's *form*
(counts, casing, structure, punctuation, format) unless it looks at what the text says.
"""

import unicodedata
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    model_validator,
)
from pydantic_core import SchemaValidator

from cje.data.languages import NAMES
from cje.judging.checks.patterns import pattern_matcher


def _text(value: str) -> str:
    value = unicodedata.normalize("NFC", value).strip()
    if not value:
        raise ValueError("must not be empty")
    return value


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    folded = [value.casefold() for value in values]
    if len(set(folded)) < len(folded):
        raise ValueError("names one thing twice")
    return values


def _letter(value: str) -> str:
    if len(value) != 1 or not value.isalpha():
        raise ValueError("must be one letter")
    return value


def _marks(value: str) -> str:
    if any(unicodedata.category(c)[0] not in "PS" for c in value):
        raise ValueError("must be punctuation marks alone, such as '!' or ',;'")
    if len(set(value)) < len(value):
        raise ValueError("names one mark twice")
    return value


def _tag(value: str) -> str:
    if not value.replace("-", "").replace("_", "").isalnum() or not value[0].isalpha():
        raise ValueError("must be the bare name of a tag, such as 'answer'")
    return value


def _language(code: str) -> str:
    if code not in NAMES:
        raise ValueError(f"must be a language's ISO 639-1 code: {', '.join(NAMES)}")
    return code


def _pattern(value: str) -> str:
    pattern_matcher(value)
    return value


Whole = Annotated[int, Strict(), Field(ge=0)]
Text = Annotated[str, Strict(), AfterValidator(_text)]
Words = Annotated[tuple[Text, ...], Field(min_length=1), AfterValidator(_distinct)]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Flag = Annotated[bool, Strict()]


class _Check(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    of_form: ClassVar[bool] = True
    if TYPE_CHECKING:
        check: str  # each kind has its own word


class _OfContent:
    """A check of what the text says."""

    of_form: ClassVar[bool] = False


class _Bounded(_Check):
    """A check with bounds on a count; at least one bound must be given."""

    exactly: Whole | None = None
    at_least: Whole | None = None
    at_most: Whole | None = None

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        low, high = self.at_least, self.at_most
        if self.exactly is not None and (low, high) != (None, None):
            raise ValueError("give 'exactly', or 'at_least' and 'at_most', not both")
        if low is not None and high is not None and low > high:
            raise ValueError(f"at_least {low} is above at_most {high}: no answer can pass")
        if self.exactly is None and high is None and not low and low is not None:
            raise ValueError("at_least 0 holds for every answer; give 1 or more")
        if (self.exactly, low, high) == (None, None, None) and not self.default_low:
            raise ValueError("needs a bound: 'exactly', 'at_least' or 'at_most'")
        if (self.exactly == 0 or high == 0) and self.never_none:
            raise ValueError(f"no answer has 0 {self.never_none}; give 1 or more")
        return self

    @property
    def default_low(self) -> int:
        """The lower bound where no bound is given; 0: a bound must be given."""
        return 0

    @property
    def never_none(self) -> str:
        """The word for what every answer has one of at least, or ""."""
        return ""

    @property
    def bounds(self) -> tuple[int, int | None]:
        """The lowest and highest count that pass; None: no highest."""
        if self.exactly is not None:
            return self.exactly, self.exactly
        if self.at_least is None and self.at_most is None:
            return self.default_low, None
        return self.at_least or 0, self.at_most


class _Length(_Bounded):
    """A bounded count of which every answer has one or more."""

    @property
    def never_none(self) -> str:
        return self.check


class _Present(_Bounded):
    """A bounded count that is "at least 1" where no bound is given."""

    @property
    def default_low(self) -> int:
        return 1


class Include(_OfContent, _Bounded):
    """Every word or phrase occurs, each as often as the bounds say: once or more without bounds."""

    check: Literal["include"]
    words: Words
    match_case: Flag = False

    @property
    def default_low(self) -> int:
        return 1

    @property
    def never_none(self) -> str:
        return "of a word to include (use the check 'exclude')"

    @property
    def bounds(self) -> tuple[int, int | None]:
        low, high = super().bounds
        return max(low, 1), high


class IncludeAny(_OfContent, _Present):
    """The number of different words of the list that occur: one or more without bounds."""

    check: Literal["include_any"]
    words: Words
    match_case: Flag = False

    @model_validator(mode="after")
    def _enough_words(self) -> Self:
        if self.bounds[0] > len(self.words):
            raise ValueError(f"asks for {self.bounds[0]} of {len(self.words)} words")
        return self


class Exclude(_OfContent, _Check):
    """None of the words or phrases occurs."""

    check: Literal["exclude"]
    words: Words
    match_case: Flag = False


class WordCount(_Length):
    """The number of words; in scripts without spaces, of letters."""

    check: Literal["words"]


class CharacterCount(_Length):
    """The number of Unicode characters (NFC), with blanks and markup, without outer white space."""

    check: Literal["characters"]


class SentenceCount(_Length):
    """The number of sentences; headings do not count, a list item is at least one."""

    check: Literal["sentences"]


class ParagraphCount(_Length):
    """The number of paragraphs between blank lines; headings, lists and tables do not count."""

    check: Literal["paragraphs"]


class LineCount(_Length):
    """The number of lines that are not blank."""

    check: Literal["lines"]


class Questions(_Present):
    """The number of sentences that end with a question mark."""

    check: Literal["questions"]


class Bullets(_Present):
    """The number of bullet points, at any depth."""

    check: Literal["bullets"]


class Numbered(_Present):
    """The number of numbered items, at any depth."""

    check: Literal["numbered"]


class Headings(_Present):
    """The number of markdown headings, of one level or of any."""

    check: Literal["headings"]
    level: Annotated[int, Strict(), Field(ge=1, le=6)] | None = None


class Tables(_Present):
    """The number of markdown tables, with the given number of columns if any."""

    check: Literal["table"]
    columns: Annotated[int, Strict(), Field(ge=1)] | None = None


class CodeBlocks(_Present):
    """The number of fenced blocks of code, in the given language if any."""

    check: Literal["code_block"]
    language: Text | None = None


class Bold(_Present):
    """The number of passages in bold."""

    check: Literal["bold"]


class Placeholders(_Present):
    """The number of placeholders in square brackets, [name]."""

    check: Literal["placeholder"]


class Tagged(_Present):
    """The number of passages between <tag> and </tag>."""

    check: Literal["tag"]
    tag: Annotated[Text, AfterValidator(_tag)]


class Emoji(_Present):
    """The number of emoji."""

    check: Literal["emoji"]


class CapitalWords(_Present):
    """The number of words of two letters or more in capitals."""

    check: Literal["capital_words"]


class Parts(_Length):
    """The number of parts, with the separator between them."""

    check: Literal["parts"]
    separator: Text


class Letter(_Bounded):
    """How often the letter occurs, small or capital."""

    check: Literal["letter"]
    letter: Annotated[Text, AfterValidator(_letter)]


class Punctuation(_Bounded):
    """How often the marks occur together, including those of lists and markup."""

    check: Literal["punctuation"]
    marks: Annotated[Text, AfterValidator(_marks)]


class NoCommas(_Check):
    """No comma of any script."""

    check: Literal["no_commas"]


class Casing(_Check):
    """All letters small, all capital, or words in title case."""

    check: Literal["casing"]
    is_: Literal["lower", "upper", "title"] = Field(alias="is")


class Starts(_OfContent, _Check):
    """The answer begins with the phrase, whatever markup is around it."""

    check: Literal["starts"]
    with_: Text = Field(alias="with")
    match_case: Flag = False


class Ends(_OfContent, _Check):
    """The answer ends with the phrase, whatever markup or full stop comes after it."""

    check: Literal["ends"]
    with_: Text = Field(alias="with")
    match_case: Flag = False


class Language(_OfContent, _Check):
    """The whole answer is in the language, an ISO 639-1 code. Unsure below five words."""

    check: Literal["language"]
    is_: Annotated[str, Strict(), AfterValidator(_language)] = Field(alias="is")


class Json(_Check):
    """The whole answer is a JSON object or list, with the keys where they are given."""

    check: Literal["json"]
    keys: Words | None = None


class Quoted(_Check):
    """One pair of double quotation marks holds the whole answer."""

    check: Literal["quoted"]


class Regex(_OfContent, _Check):
    """The pattern, in Rust's syntax, occurs, is the whole answer, or does not occur."""

    check: Literal["regex"]
    pattern: Annotated[str, Strict(), Field(min_length=1), AfterValidator(_pattern)]
    matches: Literal["anywhere", "whole", "nowhere"] = "anywhere"

    @property
    def matcher(self) -> SchemaValidator:
        return pattern_matcher(f"^(?:{self.pattern})$" if self.matches == "whole" else self.pattern)

    @model_validator(mode="after")
    def _compiles(self) -> Self:
        _ = self.matcher
        return self


class FinalNumber(_OfContent, _Check):
    """The last number of the answer is this one, give or take `within`."""

    check: Literal["number"]
    is_: Number = Field(alias="is")
    within: Annotated[Number, Field(ge=0)] = 0.0


class Choice(_OfContent, _Check):
    """The answer is one of these and nothing else."""

    check: Literal["choice"]
    of: Annotated[Words, Field(min_length=2)]


Check = (
    Include | IncludeAny | Exclude | WordCount | CharacterCount | SentenceCount | ParagraphCount
    | LineCount | Questions | Bullets | Numbered | Headings | Tables | CodeBlocks | Bold
    | Placeholders | Tagged | Emoji | CapitalWords | Parts | Letter | Punctuation | NoCommas
    | Casing | Starts | Ends | Language | Json | Quoted | Regex | FinalNumber | Choice
)  # fmt: skip
KINDS: dict[str, type[Check]] = {
    get_args(kind.model_fields["check"].annotation)[0]: kind for kind in get_args(Check)
}
