"""Plain standard English in everything that a user reads."""

import ast
import re
from itertools import pairwise

import pytest
from matplotlib.colors import CSS4_COLORS

from cje.results import theme
from pipeline import ROOT

# What has crept in before, and what to write instead.
BANNED = {
    r"\bdear(er|est)?\b": "expensive",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\banew\b": "again",
    r"\btold apart\b": "clearly different",
    r"\bcan(not)? be had of\b": "available for",
    r"\bholds none\b": "contains none",
    r"\bupholds?\b": "supports",
    r"\bstands? for (them|it|a|the)\b": "represents, replaces",
}
PROSE = [
    ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "params.yaml", *ROOT.glob("docs/*.md"),
    *ROOT.glob("data/*/README.md"), *ROOT.glob("stages/cje/**/*.html"),
    *ROOT.glob("stages/cje/**/*.js"), *ROOT.glob("stages/cje/**/*.j2"),
]  # fmt: skip


def strings() -> list[tuple[str, str]]:
    """Every string of the code, docstrings among them, and every text, with its place."""
    found = [(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")) for path in PROSE]
    for path in ROOT.glob("stages/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append((f"{path.relative_to(ROOT)}:{node.lineno}", node.value))
    return found


@pytest.mark.parametrize("banned", BANNED)
def test_no_text_uses_a_word_that_native_engineers_do_not(banned):
    pattern = re.compile(banned, re.IGNORECASE)
    places = [place for place, text in strings() if pattern.search(text)]
    assert places == [], f"write: {BANNED[banned]}"


RESULTS = ROOT / "stages" / "cje" / "results"
COLOUR = re.compile(
    r"#(?:[0-9a-f]{8}|[0-9a-f]{6}|[0-9a-f]{3,4})(?![\w-])|\brgba?\(|\bhsla?\(", re.I
)
NUMBER_FORMAT = re.compile(r"^[^%]*?(?:[,_]|\.\d+[efg%]?|[efgn%])$", re.I)  # not of dates


def trees() -> list[tuple[str, ast.AST]]:
    """The code of the results, with its place."""
    return [
        (str(path.relative_to(RESULTS)), ast.parse(path.read_text(encoding="utf-8")))
        for path in RESULTS.rglob("*.py")
    ]


def test_every_colour_is_of_the_theme():
    names = set(CSS4_COLORS)
    found = []
    for place, tree in trees():
        for node in ast.walk(tree) if place != "theme.py" else ():
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named = node.value in names or node.value.startswith("color(")
                found += [f"{place}: {node.value}"] if named or COLOUR.search(node.value) else []
    for path in (*RESULTS.rglob("*.css"), *RESULTS.rglob("*.html"), *RESULTS.rglob("*.js")):
        text = re.sub(r'href="#\w+"', "", path.read_text(encoding="utf-8"))
        found += [f"{path.name}: {match}" for match in COLOUR.findall(text)]
    assert found == []
    style = (RESULTS / "report/assets/page.css").read_text(encoding="utf-8")
    used = set(re.findall(r"var\(--([\w-]+)\)", style))
    assert used - {"serif", "sans", "mono", "tone"} <= set(theme.PAGE_LIGHT)
    assert set(theme.PAGE_LIGHT) - set(theme.PAGE_DARK) == {"shown", "faded"}


def test_every_number_is_formatted_by_words():
    found = []
    for place, tree in trees():
        back = {  # a number in digits that becomes a number again is not shown
            id(part)
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "float"
            for part in ast.walk(node)
        }
        for node in ast.walk(tree) if place != "words.py" else ():
            if isinstance(node, ast.FormattedValue) and node.format_spec and id(node) not in back:
                form = ast.unparse(node.format_spec)[2:-1]
                found += [f"{place}:{node.lineno}: {form}"] if NUMBER_FORMAT.match(form) else []
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "format":
                found.append(f"{place}:{node.lineno}")
    for path in RESULTS.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        found += [f"{path.name}: {words}" for words in re.findall(r"\| *format|\.format\(", text)]
    for path in RESULTS.rglob("*.js"):
        if path.name != "numbers.js":
            text = path.read_text(encoding="utf-8")
            found += [f"{path.name}: {x}" for x in re.findall(r"toFixed|toExponential", text)]
    assert found == []


# Nouns that are counted, with an adjective at most before them.
PLURAL = re.compile(
    r" (?:[a-z-]+ )?(answers|batches|calls|draws|files|labels|models|pairs|policies|prompts|raters|"
    r"replies|requests|rows|scores|texts|tokens)\b"
)
PART_OF = re.compile(r"\bof (?:the |its |the base policy's )?$")  # `1 of 1 answers` is English


def is_number(part: ast.FormattedValue) -> bool:
    """Whether what is formatted is surely a number: by its format, or by what makes it."""
    value = part.value
    made_by = {"count", "int", "len", "sum"}
    if isinstance(value, ast.Call):
        name = getattr(value.func, "id", getattr(value.func, "attr", ""))
        return name in made_by
    named = getattr(value, "id", getattr(value, "attr", ""))
    number = PLURAL.fullmatch(f" {named}") or named in ("count", "total", "number")
    return bool(number) or (part.format_spec is not None and "," in ast.unparse(part.format_spec))


def test_a_count_and_its_noun_are_put_together_by_counted():
    """`counted` of the vocabulary: an f-string says `1 answers` where there is one."""
    found = []
    for path in ROOT.glob("stages/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else []
            for place, (part, after) in enumerate(pairwise(parts)):
                before = parts[place - 1].value if place else ""
                counts = isinstance(part, ast.FormattedValue) and is_number(part)
                noun = isinstance(after, ast.Constant) and PLURAL.match(after.value)
                if counts and noun and not PART_OF.search(str(before)):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}:{after.value[:30]}")
    assert found == []
