"""Plain standard English in everything that a user reads."""

import ast
import re

import pytest

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
