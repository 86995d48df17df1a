"""A Chromium for the tests, where one is to be found."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update"
).split()


def chromium_path() -> str | None:
    """An installed Chromium; Playwright's own, where it has fetched one; else None."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    if Path(own).exists():
        return own
    shells = Path(own).parents[2].glob("chromium_headless_shell-*/*/*headless*shell*")
    return next((str(path) for path in sorted(shells) if path.suffix in ("", ".exe")), None)


@pytest.fixture(scope="session")
def chromium() -> Iterator:
    """A running Chromium; skips where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = chromium_path()
    if path is None:
        pytest.skip("no Chromium here: install one, or python -m playwright install chromium")
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=OPTIONS)
        yield running
        running.close()


if __name__ == "__main__":
    raise SystemExit(chromium_path() is None)
