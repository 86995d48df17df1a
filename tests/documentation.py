"""The pages of the documentation taken apart: commands, Python, files, headings, links.

A fenced block `sh` is run, `python` is run; with a path after the language, as in
```jsonl data/inputs/logs.jsonl, the block is what that file holds. All else is only shown. In
README.md, where blocks are indented, those are commands.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline import ROOT, commit, new_project

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*) ?(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?<=\n\n)((?:    .*\n)+)")
HEADING = re.compile(r"^(#+) (.*)$", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
TIMEOUT = 200

# What no test runs, by how a command begins; and why. `make` is looked at with `make -n`.
NOT_RUN = {
    "make ": "installs, or runs the whole project",
    "git clone": "needs the address of a copy",
    "cd cje": "goes with git clone",
    "source .venv": "the tests have a Python of their own",
    "pip install": "installs",
    "vllm serve": "needs a GPU",
    "cje report --open": "opens a browser; without --open it is run",
    "cje completion bash >": "writes into the home folder; without > it is run",
    "jupyter": "waits for its user",
    "python benchmarks/": "takes minutes; benchmarks have tests of their own numbers",
    "dvc plots show --open": "opens a browser; without --open it is run",
}
# What is put in the place of what a test cannot have.
IN_PLACE_OF = {
    "local/smollm2-135m": "sim/base",  # torch and a model
    "hf:lmarena-ai/arena-human-preference-140k": "data/prompts/arena.jsonl",  # a network
    "/mnt/team/cje": "../remote",  # a folder that all can reach
    "-S language=English": "",  # goes with the data set of the hub
}


@dataclass(frozen=True)
class Block:
    """A block of a page; `path` is that of the file that it is, or empty."""

    language: str
    path: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The blocks of a page that are run or written, in order."""
    text = page.read_text(encoding="utf-8")
    found = [
        (match.start(), match.group(1), match.group(2).strip(), match.group(3))
        for match in FENCE.finditer(text)
    ]
    if page == README:
        bare = FENCE.sub(lambda match: re.sub(r"[^\n]", "x", match.group()), text)
        for match in INDENTED.finditer(bare):
            lines = [line[4:] for line in match.group(1).splitlines(keepends=True)]
            found.append((match.start(), "sh", "", "".join(lines)))
    return [
        Block(language, path, body, text.count("\n", 0, place) + 1)
        for place, language, path, body in sorted(found)
        if path or language in ("sh", "bash", "python")
    ]


def commands(text: str) -> list[str]:
    """The commands of a block, without comments, continued lines joined."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        line = re.sub(r"(^|\s)#\s.*$", "", line).strip()
        if line:
            found.append(re.sub(r"\s{2,}", " ", line))
    return found


def is_run(command: str) -> bool:
    """Whether a test can run it."""
    return not command.startswith(tuple(NOT_RUN))


def replaced(text: str) -> str:
    """The text with what a test can have."""
    for words, others in IN_PLACE_OF.items():
        text = text.replace(words, others)
    return text


class Shell:
    """A page's shell: what one block exports the next ones have."""

    def __init__(self, folder: Path, **variables: str):
        self.folder = folder
        self.bin = folder.parent / "bin"
        self.bin.mkdir(exist_ok=True)
        program = self.bin / "cje"  # of this checkout, whatever is installed
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cje.cli "$@"\n')
        program.chmod(0o755)
        path = [str(self.bin), str(Path(sys.executable).parent), os.environ["PATH"]]
        self.environment = os.environ | {
            "PATH": os.pathsep.join(path),
            "PYTHONPATH": str(folder / "stages"),
            "DVC_NO_ANALYTICS": "1",
            **variables,
        }

    def run(self, command: str) -> tuple[int, str]:
        """Exit status and output of a command in sh."""
        kept = self.folder.parent / "environment"
        script = f"{command}\nstatus=$?\nenv -0 > {shlex.quote(str(kept))}\nexit $status"
        done = subprocess.run(
            ["sh", "-c", script], cwd=self.folder, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT,
        )  # fmt: skip
        if kept.exists():
            pairs = kept.read_bytes().decode().split("\0")
            self.environment = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        return done.returncode, done.stdout

    def python(self, code: str) -> tuple[int, str]:
        """Exit status and output of Python code."""
        script = self.folder.parent / "block.py"
        script.write_text(code, encoding="utf-8")
        return self.run(f"{shlex.quote(sys.executable)} {shlex.quote(str(script))}")


def run_page(page: Path, shell: Shell, python_first: str = "") -> None:
    """Run and write the blocks of a page in their order; a block that fails fails."""
    code = python_first
    for block in blocks(page):
        where = f"{page.name}:{block.line}"
        if block.path:
            target = shell.folder / block.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(replaced(block.text), encoding="utf-8")
        elif block.language == "python":
            code += block.text
            status, output = shell.python(code)
            assert status == 0, f"{where}\n{output}"
        else:
            for command in filter(is_run, commands(block.text)):
                status, output = shell.run(replaced(command))
                assert status == 0, f"{where}: {command}\n{output}"
                assert "Traceback" not in output, f"{where}: {command}\n{output}"


def slug(heading: str) -> str:
    """The anchor that GitHub makes of a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def headings(page: Path) -> list[str]:
    """The headings of a page, those in blocks left out."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [match.group(2) for match in HEADING.finditer(text)]


def sections(page: Path) -> Iterator[tuple[str, str]]:
    """Heading and text of every section."""
    parts = re.split(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    yield from zip(parts[1::2], parts[2::2], strict=True)


def links(page: Path) -> list[str]:
    """What a page links to."""
    return LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8")))


def documented_project(repo: Path, **changes) -> Path:
    """The project as it is shipped, with simulated models in the place of the real one and few
    prompts: all its policies by their names, nothing run."""
    new_project(repo)
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    changed = {
        "likelihood/local/smollm2-135m": "sim/judge",
        "local/smollm2-135m": "sim/base",
        "checks/share": "sim/oracle",
        "max_samples: 1000": "max_samples: 80",
        "oracle_samples: 1000": "oracle_samples: 40",
    }
    for words, others in changed.items():
        assert words in text, words
        text = text.replace(words, others)
    for key, value in changes.items():
        text, count = re.subn(rf"(?m)^{key}: .*$", f"{key}: {value}", text)
        assert count == 1, key
    (repo / "params.yaml").write_text(text, encoding="utf-8")
    for name in ("examples", "docs", "README.md", "Makefile", ".ci", ".github"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, repo / name)
        else:
            shutil.copy(source, repo / name)
    commit(repo)
    return repo
