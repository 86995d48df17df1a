"""Every command, file and Python block of README.md and docs/ is run, page by page, in order.

What is not run stands in `documentation.NOT_RUN`, with the reason.
"""

import shutil
from pathlib import Path

import pytest

from documentation import PAGES, Shell, blocks, commands, documented_project, is_run, run_page
from pipeline import ROOT, commit, run
from test_model_pipeline import Server

FRAMES = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from worlds import frames
logs, target_logps, draws = frames(1, 300, shifts={{"cooler": 0.3, "clone": 0.0}}, label_draws=100)
"""
RUN = [page for page in PAGES if any(not block.path for block in blocks(page))]


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """The documented project, run once; pages get copies, and share its cache of runs."""
    repo = documented_project(tmp_path_factory.mktemp("docs") / "cje")
    run("dvc", "config", "--local", "cache.dir", str(repo.parent / "cache"), cwd=repo)
    run("dvc", "repro", "-q", cwd=repo)
    commit(repo)
    return repo


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    found = Server(tmp_path_factory.mktemp("server") / "calls.txt")
    yield found
    found.process.terminate()
    found.process.wait()


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run_in_their_order(page, finished, server, tmp_path):
    shutil.copytree(finished, tmp_path / "cje")
    shell = Shell(
        tmp_path / "cje",
        OPENAI_BASE_URL=f"{server.url}/v1",
        ANTHROPIC_BASE_URL=server.url,
        SERVER_BASE_URL=f"{server.url}/v1",
    )
    if page.name == "README.md":  # which sends its readers there for the files
        for block in blocks(ROOT / "docs/your-logs.md"):
            if block.path:
                target = shell.folder / block.path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(block.text, encoding="utf-8")
    run_page(page, shell, FRAMES)


def test_what_make_is_asked_for_is_there():
    for page in PAGES:
        for block in blocks(page):
            if block.language in ("sh", "bash"):
                for command in commands(block.text):
                    if command.startswith("make ") and not is_run(command):
                        run("make", "-n", *command.split()[1:], cwd=ROOT)
