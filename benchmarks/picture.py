"""The picture of the report in the README: python benchmarks/picture.py

The top of the report of the run here, as Chromium shows it, in docs/pictures/report.png. Needs
playwright and a Chromium (`python tests/browser.py` fetches one).
"""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from cje.results.opening import open_run
from cje.results.report import write_report
from cje.results.view import RunView

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from browser import OPTIONS, chromium_path

WIDTH, HEIGHT = 1180, 900  # points of the page
PICTURE = Path("docs/pictures/report.png")
REPORT = Path("outputs/report.html")


def main() -> None:
    write_report(RunView(open_run(".")), REPORT)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=OPTIONS)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(REPORT.resolve().as_uri())
        page.screenshot(path=PICTURE)
        browser.close()
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
