"""A Chromium for the tests: found, or fetched (`python tests/browser.py`)."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

SECONDS = 180  # for one command that installs
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


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    """A running Chromium; skips where there is none. Of a module alone: while it is open,
    Playwright runs an event loop in this thread, and nothing else can."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = chromium_path()
    if path is None:
        pytest.skip("no Chromium here: install one, or python -m playwright install chromium")
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=OPTIONS)
        yield running
        running.close()


def fetch() -> None:
    """Install a Chromium where there is none; if that fails, the tests that need it are skipped."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    playwright = [sys.executable, "-m", "playwright", "install", "chromium-headless-shell"]
    commands = [[*playwright, "--with-deps"] if root else playwright]
    if root and shutil.which("apt-get"):
        commands += [["apt-get", "update"], ["apt-get", "install", "-y", "chromium"]]
    for command in commands:
        if chromium_path():
            return
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                timeout=SECONDS, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            )  # fmt: skip
    if not chromium_path():
        print("no browser could be installed: the tests that need one are skipped")


if __name__ == "__main__":
    fetch()
