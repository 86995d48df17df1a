"""docs/troubleshooting.md: a heading is what the program says, provoked; … is what varies."""

import contextlib
import errno
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest
import zc.lockfile

import cje
from cje.commands.leftovers import clear_leftovers
from cje.data.tables import read_table, write_csv
from cje.errors import CJEError, disk_problem
from cje.models.local.provider import BACKEND as LOCAL
from cje.models.providers.templates import render_prompt
from cje.models.runner.progress import CallProgress
from cje.results.opening import open_run
from loopback import Loopback
from pipeline import ROOT, new_project, run
from reported import write_run
from staged import run_stage
from test_errors import NOWHERE, OPENAI, SMALL, environment, settings, stage

PAGE = ROOT / "docs/troubleshooting.md"
HEADINGS = re.findall(r'^### [`"](.*)[`"]$', PAGE.read_text(encoding="utf-8"), re.MULTILINE)
PROVOKED: dict[str, Callable[[Path], str]] = {}
ASKING = {
    "base_model": OPENAI, "target_models": f"[{OPENAI}]", "top_p": "null", "max_samples": 30,
    "max_tokens": 12, "max_retries": 0, "timeout": 1,
}  # fmt: skip
LOG = {"prompt": "Why?", "answer": "So.", "judge_score": 0.5, "oracle_score": 0.5}


def provokes(heading: str):
    """The function provokes what the heading says; it gets an empty folder."""

    def keep(function):
        PROVOKED[heading] = function
        return function

    return keep


@cache
def prompts() -> Path:
    """The folder `data` of thirty prompts."""
    folder = Path(tempfile.mkdtemp())
    settings(folder, max_samples=30)
    assert stage(folder, "load_prompts").returncode == 0
    return folder / "data"


@cache
def project() -> Path:
    """The project, nothing run; to be copied."""
    return new_project(Path(tempfile.mkdtemp()) / "cje")


def said(done: subprocess.CompletedProcess) -> str:
    return done.stdout + done.stderr


def caught(action: Callable[[], object]) -> str:
    with pytest.raises(CJEError) as found:
        action()
    return str(found.value)


def here(folder: Path, name: str, url: str = NOWHERE, **variables: str) -> str:
    """What a stage says, run in this process: a start takes longer than most of what it says."""
    printed = io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        mock.patch.dict(os.environ, environment(folder, url, **variables), clear=True),
        pytest.raises(SystemExit) as left,
    ):
        run_stage(name)
    return f"{printed.getvalue()}\n{left.value.code}"


def first_stage(changes: dict, **variables: str) -> Callable[[Path], str]:
    """The first stage under changed settings."""

    def start(folder: Path) -> str:
        settings(folder, **SMALL | changes)
        return here(folder, "load_prompts", **variables)

    return start


def asked(fault: str, times: int = 1, **changes) -> Callable[[Path], str]:
    """A model that is asked, in so many runs, and answers with a fault."""

    def start(folder: Path) -> str:
        settings(folder, **SMALL | ASKING | changes)
        with Loopback() as server:
            server.decide = lambda path, body, attempt: fault
            for _ in range(times):
                shutil.rmtree(folder / "data", ignore_errors=True)
                shutil.copytree(prompts(), folder / "data")
                words = here(folder, "generate_logs", server.url)
        return words

    return start


def from_files(*rows: dict, draw: dict | None = LOG) -> Callable[[Path], str]:
    """The user's own files."""

    def start(folder: Path) -> str:
        scales = {"judge_range": "[0, 1]", "oracle_range": "[0, 1]"}
        settings(folder, **SMALL | scales | {"source": "files"})
        inputs = folder / "data/inputs"
        (inputs / "draws").mkdir(parents=True)
        if rows:
            (inputs / "logs.jsonl").write_text("\n".join(map(json.dumps, rows)))
        if draw:
            (inputs / "draws/t.jsonl").write_text(json.dumps(draw))
        return here(folder, "load_prompts")

    return start


def file_of_prompts(text: str) -> Callable[[Path], str]:
    def start(folder: Path) -> str:
        (folder / "data/prompts").mkdir(parents=True)
        (folder / "data/prompts/mine.jsonl").write_text(text)
        return first_stage({"prompts": "data/prompts/mine.jsonl"})(folder)

    return start


# Settings and files

nothing = {"OPENAI_API_KEY": "", "ANTHROPIC_API_KEY": ""}
openai_base = {"base_model": OPENAI, "target_models": f"[{OPENAI}]", "top_p": "null"}
provokes("No provider API key found! Please set … in the environment")(
    first_stage(openai_base, **nothing)
)
provokes("there is no provider '…'")(first_stage({"base_model": "openia/gpt-4o"}))
provokes("… was shut down by … on …; take …")(
    first_stage(
        {"base_model": "gpt-3.5-turbo", "target_models": "[gpt-3.5-turbo]", "top_p": "null"},
        **nothing | {"OPENAI_BASE_URL": ""},
    )
)


@provokes("chat_template: … has changed since the settings were checked")
def another_template(folder: Path) -> str:
    template = folder / "mine.jinja"
    template.write_text("{{ messages }}", encoding="utf-8")
    return caught(lambda: render_prompt(str(template), [("user", "Why?")], "of before"))


provokes("… is not defined; did you mean …? Give a defined policy")(
    first_stage({"base_model": "bse"})
)
provokes("… is not allowed; give …")(first_stage({"temperature": "warm"}))
provokes("unknown key; did you mean '…'?")(first_stage({"seed": "1\nsede: 2"}))
provokes("… is now guard_rails.…")(first_stage({"seed": "1\nmin_oracle_labels: 20"}))
provokes("… refuses temperature; set temperature: null for it")(
    first_stage({"base_model": "openai/o3", "top_p": "null"})
)
provokes("… needs the address of its server; set base_url")(
    first_stage({"base_model": "server/mine"})
)
provokes("… user, password and what follows ? or # are not allowed in an address")(
    first_stage({"base_url": "http://me:mine@h/v1"})
)
provokes("no such file; see `prompts` in params.yaml")(
    first_stage({"prompts": "data/prompts/none.jsonl"})
)
provokes("prompt: missing or empty; every row needs a prompt's text")(
    file_of_prompts('{"prompt": "x"}\n{"text": "y"}')
)


provokes("… not valid JSON: …; write one JSON object per line")(file_of_prompts('{"prompt": "x"'))


@provokes("needs the package huggingface_hub; run: pip install -e '.[hub]'")
def without_hub(folder: Path) -> str:
    stub = folder / "stub"
    stub.mkdir()
    (stub / "huggingface_hub.py").write_text("raise ImportError")
    settings(folder, **SMALL | {"prompts": "hf:a/b"})
    return said(stage(folder, "load_prompts", PYTHONPATH=f"{stub}:{ROOT / 'stages'}"))


@provokes("… must be installed. Choose one of:")
def without_torch(folder: Path) -> str:
    find, importlib.util.find_spec = importlib.util.find_spec, lambda name: None
    try:
        return caught(lambda: LOCAL.ready("smollm2-135m"))
    finally:
        importlib.util.find_spec = find


provokes("none of logs.jsonl, logs.csv, … is there")(from_files())
provokes("no draws; give fresh answers of each target policy")(from_files(LOG, draw=None))
provokes("… is outside judge_range …; set judge_range=…?")(from_files(LOG | {"judge_score": 8}))
provokes("… is in no good row of the logs; theirs are …")(
    from_files(LOG | {"uid": 7}, draw=LOG | {"uid": "0007"})
)
provokes("… in all: fix them, or set on_bad_row=skip")(from_files(LOG | {"judge_score": "good"}))


@provokes("nothing ties the judge to the oracle")
def without_labels(folder: Path) -> str:
    logs = pd.DataFrame({"uid": ["a", "b"], "judge_raw": 0.5, "oracle_score": None})
    draws = pd.DataFrame({"uid": ["a", "b"], "policy": "t", "draw": 0, "judge_raw": 0.5})
    return caught(lambda: cje.analyze(logs, None, draws))


# Providers

provokes("the account has no credit left, add some: …")(asked("quota-bare"))
provokes("access is denied, check the API key: …")(asked("401"))
provokes("the model or address is unknown, correct it: …")(asked("404"))
provokes("the model refuses temperature; set temperature: null")(asked("400-temperature"))
provokes("too many requests; set a lower concurrency or requests_per_minute")(asked("429-bare"))
provokes("… calls failed (max_failed_fraction …)")(asked("502"))
provokes("no whole reply in time; a longer `timeout` may help")(
    asked("timeout:3", max_samples=2, concurrency=30)
)
provokes("the reply is not JSON but a web page, of a proxy perhaps; check the address")(
    asked("html")
)
provokes("max_cost_usd: … is spent and the next call could cost …")(
    asked(None, max_cost_usd=0.00001)
)
provokes("max_cost_usd: the price of … is not known, so the bound cannot be enforced")(
    asked(None, base_model="openai/gpt-nobody-knows", max_cost_usd=5)
)


provokes("… not made: 4 replies to each were paid for and unusable")(
    asked("empty", times=5)  # each asks the first of them twice, and the others once
)


@provokes("no connection to …, check the address and the network")
def without_server(folder: Path) -> str:
    shutil.copytree(prompts(), folder / "data")
    settings(folder, **SMALL | ASKING)
    return here(folder, "generate_logs")


# The disk


@provokes("the disk is full; free some space, then run this again")
def full_disk(folder: Path) -> str:
    return caught(lambda: write_csv(pd.DataFrame({"a": [1]}), Path("/dev/full")))


@provokes("not allowed; fix the permissions of the file or its folder")
def no_permission(folder: Path) -> str:
    return disk_problem(PermissionError(errno.EACCES, "Permission denied", "metrics/cost.json"))


@provokes("the reply store cannot be written …; make room or set CJE_STORE to a folder that can")
def closed_store(folder: Path) -> str:
    shutil.copytree(prompts(), folder / "data")
    settings(folder, **SMALL | ASKING)
    with Loopback() as server:
        return here(folder, "generate_logs", server.url, CJE_STORE="/proc/store")


@provokes("not a readable Parquet file; …")
def cut_table(folder: Path) -> str:
    (folder / "logs.parquet").write_bytes(b"PAR1 and no more")
    return caught(lambda: read_table(folder / "logs.parquet", "logs"))


# DVC, git and finished runs


@provokes("interrupted: the replies so far are kept, run again to go on")
def interrupted(folder: Path) -> str:
    code = "from cje.pipeline.stage import run\ndef main(): raise KeyboardInterrupt\nrun(main, 'x')"
    variables = {"PYTHONPATH": str(ROOT / "stages"), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", code]
    return said(subprocess.run(command, capture_output=True, text=True, env=variables))


@provokes("interrupted: batch … goes on at …")
def interrupted_batch(folder: Path) -> str:
    """Ctrl-C at the first look at a batch."""
    shutil.copytree(prompts(), folder / "data")
    settings(folder, **SMALL | ASKING | {"batch": "true"})

    def interrupt(*shown: object) -> None:
        raise KeyboardInterrupt

    with Loopback() as server, mock.patch.object(CallProgress, "look", interrupt):
        return here(folder, "generate_logs", server.url)


@provokes("Unable to acquire lock. Most likely another DVC process is running")
def held_lock(folder: Path) -> str:
    repo = shutil.copytree(project(), folder / "cje")
    lock = zc.lockfile.LockFile(str(repo / ".dvc/tmp/lock"))
    try:
        return run("dvc", "repro", "load_prompts", cwd=repo, ok=False)
    finally:
        lock.close()


def stopped(folder: Path, leave: Callable[[Path], object]) -> str:
    """What DVC says of what a stopped one left; once that is cleared it says so no more."""
    (folder / "in").write_text("1", encoding="utf-8")
    stages = {"copy": {"cmd": "cp in out", "deps": ["in"], "outs": ["out"]}}
    (folder / "dvc.yaml").write_text(json.dumps({"stages": stages}), encoding="utf-8")
    run("dvc", "init", "-q", "--no-scm", cwd=folder)
    run("dvc", "repro", "-q", cwd=folder)
    (folder / "dvc.lock").unlink()
    leave(folder / ".dvc")
    found = run("dvc", "repro", cwd=folder, ok=False)
    assert clear_leftovers(folder) and not clear_leftovers(folder)
    run("dvc", "repro", cwd=folder)
    return found


@provokes("join() argument must be str, bytes, or os.PathLike object, not 'NoneType'")
def stopped_in_the_run_cache(folder: Path) -> str:
    def leave(dvc: Path) -> None:
        (entry,) = (path for path in (dvc / "cache/runs").rglob("*") if path.is_file())
        entry.unlink()
        other = entry.parents[1] / "0123" / ".half.tmp"  # of another stage
        other.parent.mkdir()
        other.write_text("cmd: ", encoding="utf-8")

    return stopped(folder, leave)


@provokes("Unable to read RWLock-file '.dvc/tmp/rwlock'. JSON structure is corrupted")
def stopped_in_the_list_of_readers(folder: Path) -> str:
    return stopped(folder, lambda dvc: (dvc / "tmp/rwlock").write_text('{"wri', encoding="utf-8"))


@provokes("… is not a git repository")
def without_git(folder: Path) -> str:
    repo = shutil.copytree(project(), folder / "cje")
    shutil.rmtree(repo / ".git")
    return run(
        "dvc", "repro", "load_prompts", cwd=repo, ok=False, GIT_CEILING_DIRECTORIES=str(folder)
    )


@provokes("an experiment needs a git repository with a commit")
def without_commit(folder: Path) -> str:
    repo = shutil.copytree(project(), folder / "cje")
    shutil.rmtree(repo / ".git")
    command = [sys.executable, "-m", "cje.cli", "run"]
    return run(*command, cwd=repo, ok=False, GIT_CEILING_DIRECTORIES=str(folder))


def nameless(folder: Path, *command: str) -> str:
    """A command where git knows nobody's name."""
    repo = shutil.copytree(project(), folder / "cje")
    for key in ("user.name", "user.email"):
        run("git", "config", "--unset", key, cwd=repo)
    run("git", "config", "user.useConfigOnly", "true", cwd=repo)
    nobody = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "EMAIL": ""}
    return run(*command, cwd=repo, ok=False, **nobody)


@provokes("git does not know your name, which an experiment needs")
def cje_without_name(folder: Path) -> str:
    return nameless(folder, sys.executable, "-m", "cje.cli", "run")


@provokes("the results here are not those of the settings: …")
def stale_results(folder: Path) -> str:
    run_folder = write_run(folder / "run")
    return caught(lambda: open_run(run_folder))


@provokes("… no such file; run dvc repro (what was paid for is kept)")
def nothing_run(folder: Path) -> str:
    repo = shutil.copytree(project(), folder / "cje")
    return run(sys.executable, "-m", "cje.cli", "analyze", cwd=repo, ok=False)


@provokes("… already exists; remove it, or give another --out")
def export_twice(folder: Path) -> str:
    from cje.results.export import check_free

    return caught(lambda: check_free(folder))


@provokes("failed to pull data from the cloud")
def nothing_to_pull(folder: Path) -> str:
    repo = shutil.copytree(project(), folder / "cje")
    shutil.copy(ROOT / "dvc.lock", repo)
    run("dvc", "remote", "add", "-d", "nowhere", str(folder / "nowhere"), cwd=repo)
    return run("dvc", "pull", cwd=repo, ok=False)


def test_every_heading_is_provoked_and_no_other():
    assert sorted(HEADINGS) == sorted(PROVOKED)


@pytest.mark.parametrize("heading", PROVOKED)
def test_the_program_says_so(heading, tmp_path):
    words = PROVOKED[heading](tmp_path)
    one_line = " ".join(words.split())
    pattern = ".*".join(map(re.escape, heading.split("…")))
    assert re.search(pattern, one_line), words
    assert "Traceback" not in words
