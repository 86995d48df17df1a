"""Write the table of how an answer ended, from stages/cje/data/endings.py, into docs/models.md."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "stages"))

from cje.data.endings import as_markdown  # noqa: E402

PAGE = ROOT / "docs/models.md"
START, END = "<!-- endings: scripts/endings_table.py -->\n", "<!-- end of endings -->"


def with_table(page: str) -> str:
    """The page with the table of the code in the place of its own."""
    before, rest = page.split(START)
    return before + START + as_markdown() + "\n" + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
