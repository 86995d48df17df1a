"""Where a study's tables go: between two marks of a page of the documentation."""

from pathlib import Path


def put_between(marks: tuple[str, str], text: str, page: Path) -> None:
    """Replace what stands between the marks in the page."""
    whole = page.read_text(encoding="utf-8")
    before, after = whole.split(marks[0])[0], whole.split(marks[1])[1]
    page.write_text(f"{before}{marks[0]}\n{text}\n{marks[1]}{after}", encoding="utf-8")
