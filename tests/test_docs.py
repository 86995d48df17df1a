"""Every command and every example of the documentation, run as it stands; and its links."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline import ROOT, commit, new_project, own_cje, rerun, run

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"(?:^`([^`\n]+)`:\n\n)?^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SKIPPED = {  # beginning of a command: why it is not run here
    "git clone": "the project is here already",
    "make": "makes an environment; the target is looked up instead",
    "source .venv": "the tests have their environment",
    "dvc plots show": "tests/test_views.py",
    "dvc plots diff": "tests/test_views.py",
    "cje label": "serves a page; tests/test_labelling.py",
    "cje store verify --ask": "asks the model itself; tests/test_verification.py",
    "cje store export": "simulated models keep no replies; tests/test_store.py",
    "cje store import": "likewise",
    "cje store prune": "likewise",
    "dvc add data/recordings": "likewise",
    "git add .dvc/config data/recordings": "likewise",
    "cje run -S 'judge_range": "docs/your-logs.md makes files for it",
    "export OPENAI": "no key is needed to look at a cost",
}
ELSEWHERE = {  # page: beginnings of commands that another test runs
    "README": ("cje run --oracle-fraction", "cje run --temperature", "dvc exp run -S folds"),
    "start": ("dvc exp run -S temperature=0.4",),
    "cli": ("cje run --max-samples 60 --oracle-fraction", "python examples/analyze"),
}
INSTEAD = {  # what the commands name, and what stands for it in a small simulated project
    "local/qwen2.5-coder-0.5b": "sim/base",
    "pip install": "python -m pip install -q --no-deps --no-build-isolation --target stages",
    "hf:lmarena-ai/arena-human-preference-140k -S language=English": "sim/arena",
}
POLICIES = {
    "base": {"model": "sim/base"},
    "clone": {"model": "sim/base"},
    "cooler": {"model": "sim/base", "temperature": 0.6},
    "concise": {"model": "sim/terse"},
    "unhelpful": {"model": "sim/unhelpful"},
}
CHANGE = re.compile(r"-S ('?)([+\w][^\s`']*)\1")  # of a setting, in a block or in a sentence
FRAMES = """
from cje.results.opening import open_run
found = open_run()
logs, target_logps, draws = found.logs, found.target_logps, found.draws
"""


@dataclass(frozen=True)
class Block:
    """A fenced block; `path` is the file that a line before it names."""

    path: str | None
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    return [Block(m[1], m[2], m[3]) for m in found if m[1] or m[2] in ("sh", "python", "diff")]


RUN = [page for page in PAGES if blocks(page)]
EXAMPLES = ("extending", "reproducibility", "your-logs")  # tests/test_docs_examples.py


@pytest.fixture(scope="module")
def ready(tmp_path_factory) -> Path:
    """A small simulated project with the policies' names of the recorded one, run once."""
    repo = new_project(tmp_path_factory.mktemp("docs") / "cje")
    yaml = YAML()
    params = yaml.load(repo / "params.yaml")
    params.update(
        policies=POLICIES, target_models=["clone", "cooler", "unhelpful"], max_samples=60,
        target_labels=20, oracle_samples=30, oracle_fraction=0.4,
    )  # fmt: skip
    yaml.dump(params, repo / "params.yaml")
    shutil.copytree(ROOT / "examples", repo / "examples")
    # One cache for all pages: what one has run, with the same settings, no other runs again.
    run("dvc", "config", "--local", "cache.dir", str(repo.parent / "cache"), cwd=repo)
    rerun(repo)
    commit(repo)
    return repo


@pytest.fixture
def project(ready, tmp_path) -> Path:
    """A copy for one page; `cje` there is the copy's own."""
    repo = tmp_path / "cje"
    shutil.copytree(ready, repo, symlinks=True)
    own_cje(tmp_path / "bin")
    return repo


def commands(text: str, page: str) -> str:
    """The block without what is not run here, and with what stands for models and data."""
    left_out = (*SKIPPED, *ELSEWHERE.get(page, ()))
    lines, skipping, inside = [], False, False
    for line in text.splitlines():
        skipping = skipping or line.startswith(left_out)
        if inside or not skipping:
            lines.append(line)
        inside = (inside or line.endswith("<<'END'")) and line != "END"
        skipping = skipping and line.endswith("\\")
    text = "\n".join(lines)
    for name, other in INSTEAD.items():
        text = text.replace(name, other)
    return text


def shell(text: str, project: Path) -> None:
    programs = project.parent / "bin"
    script = f'export PATH="{programs}:$PATH"\nset -eu\n{text}'
    run("bash", "-c", script, cwd=project)


def named(page: Path) -> str:
    return f"{page.parent.name}-{page.stem}"


@pytest.mark.parametrize("page", [p for p in RUN if p.stem not in EXAMPLES], ids=named)
def test_a_page_does_what_it_says(page, project):
    do(page, project)


def do(page: Path, project: Path) -> None:
    """Everything on the page, in its order."""
    for block in blocks(page):
        if block.path:
            (project / block.path).parent.mkdir(parents=True, exist_ok=True)
            (project / block.path).write_text(block.text, encoding="utf-8")
        elif block.language == "diff":
            patch = ["patch", "-p1", "--no-backup-if-mismatch"]
            done = subprocess.run(patch, input=block.text, cwd=project, text=True, stdout=-1)
            assert done.returncode == 0 and "fuzz" not in done.stdout, done.stdout
        elif block.language == "python":
            run(sys.executable, "-c", FRAMES + block.text, cwd=project)
        else:
            shell(commands(block.text, page.stem), project)


def test_what_make_is_asked_for_exists():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    targets = set(re.findall(r"^(?:`?)make ([a-z-]+)", text, re.MULTILINE))
    assert {"repro", "test", "local"} <= targets
    for target in targets:
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), target
        if anchor:
            assert anchor in anchors(place), target


def test_every_page_is_in_the_index():
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index


def test_every_command_has_its_section():
    from cje.cli import COMMANDS

    page = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    heads = " ".join(re.findall(r"^## (.+)$", page, re.MULTILINE))
    for command in COMMANDS:
        assert f"cje {command.__name__.rsplit('.', 1)[-1]}" in heads


def test_the_workflow_in_the_docs_is_a_part_of_the_real_one():
    yaml = YAML(typ="safe")
    page = (ROOT / "docs/reproducibility.md").read_text(encoding="utf-8")
    shown = yaml.load(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])
    real = yaml.load(ROOT / ".github/workflows/reproduce.yml")
    assert shown["jobs"]["recorded"] == real["jobs"]["recorded"]
    assert shown["on"] == real["on"] and shown["name"] == real["name"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_change_of_a_setting_is_one_that_dvc_takes(page, tmp_path):
    """As written: with a + where params.yaml lacks the name, and without one where it has it."""
    from dvc.utils.hydra import apply_overrides
    from dvc.utils.serialize import modify_yaml

    text = page.read_text(encoding="utf-8")
    for change in {found[2] for found in CHANGE.finditer(text)} - {"KEY=VALUE", "..."}:
        path = tmp_path / "params.yaml"
        shutil.copy(ROOT / "params.yaml", path)
        with modify_yaml(path) as settings:
            settings["policies"]["mine"] = {"model": "gpt-5.4-mini"}
        apply_overrides(path, [change])
