"""The language of a text: by its script where that decides, else by the package py3langid."""

import re
import unicodedata
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

from cje.data.languages import NAMES
from cje.errors import CJEError
from cje.judging.checks.text import Answer

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

PACKAGE = "py3langid"
BY_SCRIPT = {
    "GREEK": "el", "HEBREW": "he", "ARMENIAN": "hy", "GEORGIAN": "ka", "THAI": "th", "LAO": "lo",
    "KHMER": "km", "MYANMAR": "my", "HANGUL": "ko", "TAMIL": "ta", "TELUGU": "te",
    "KANNADA": "kn", "MALAYALAM": "ml", "GUJARATI": "gu", "GURMUKHI": "pa", "SINHALA": "si",
    "BENGALI": "bn", "ETHIOPIC": "am", "HIRAGANA": "ja", "KATAKANA": "ja", "CJK": "zh",
}  # fmt: skip
# Languages too similar to be distinguished by a few sentences.
ALIKE = ({"bs", "hr", "sr"}, {"id", "ms"})
# A letter of these scripts counts as this many of an alphabet.
WEIGHTS = {"CJK": 3, "HIRAGANA": 3, "KATAKANA": 3, "HANGUL": 3}
KANA_SHARE = 0.1  # of kana among Han and kana letters, from which text is Japanese
LONG_PARAGRAPH = 20  # words from which a paragraph is judged by itself
PLAIN = 0.8  # probability from which a paragraph is plainly in a language; names alone have less


def is_in_language(answer: Answer, code: str) -> bool:
    """Whether the answer is in the language, and no paragraph of 20 words or more plainly in
    another.

    Code, addresses and block quotations are left out. False where there is no letter. Raises
    CJEError as `need_package`.
    """
    kept = [line for line in answer.cased.split("\n") if not line.lstrip().startswith(">")]
    text = "\n".join(kept)
    paragraphs = re.split(r"\n(?:[ \t]*\n)+", text)
    parts = [part for part in paragraphs if len(paragraphs) > 1 and _size(part) >= LONG_PARAGRAPH]
    alike = next((group for group in ALIKE if code in group), {code})
    told_by = _by_script if code in BY_SCRIPT.values() else detect
    if told_by(text)[0] not in alike:
        return False
    found = (told_by(part) for part in parts)
    return all(language in alike or probability < PLAIN for language, probability in found)


def detect(text: str) -> tuple[str | None, float]:
    """The ISO 639-1 code of the text's main language and its probability; None: no letter."""
    if not any(map(str.isalpha, text)):
        return None, 1.0
    by_script, _ = _by_script(text)
    return (by_script, 1.0) if by_script else _identifier().classify(text)


def _by_script(text: str) -> tuple[str | None, float]:
    return script_language(text), 1.0


def script_language(text: str) -> str | None:
    """The language of the text's main script, where that script writes one language only."""
    scripts: Counter[str] = Counter()
    for script in (_script(c) for c in text if c.isalpha()):
        scripts[script] += WEIGHTS.get(script, 1)
    kana = scripts["HIRAGANA"] + scripts["KATAKANA"]
    if kana > KANA_SHARE * (kana + scripts["CJK"]):
        scripts["HIRAGANA"] = kana + scripts.pop("CJK", 0)
        del scripts["KATAKANA"]
    return BY_SCRIPT.get(max(scripts, key=lambda script: scripts[script], default=""))


def need_package(code: str) -> None:
    """Raise CJEError if detecting the language needs a package that is not installed."""
    if code not in BY_SCRIPT.values():
        _identifier()


@cache
def _identifier() -> "LanguageIdentifier":
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise CJEError(
            f"the check 'language' needs the package {PACKAGE}: run `pip install {PACKAGE}`"
        ) from None
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(sorted(NAMES))
    return identifier


@cache
def _script(letter: str) -> str:
    return unicodedata.name(letter, "UNKNOWN").split()[0].removesuffix("-COMPATIBILITY")


def _size(text: str) -> int:
    """How many words there are, or thrice as many letters of scripts without spaces."""
    wide = sum(_script(c) in ("CJK", "HIRAGANA", "KATAKANA", "THAI") for c in text if c.isalpha())
    return max(len(text.split()), wide // 3)
