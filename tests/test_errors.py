"""Errors provoked on purpose, as a user meets them: words in few lines, and never a traceback."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zc.lockfile

import warm
from loopback import Loopback
from pipeline import ROOT, SIMULATED, interruptible, new_project, ran, run
from staged import run_stage

OPENAI, CLAUDE, SERVER = "openai/gpt-4o-mini", "anthropic/claude-haiku-4-5", "server/mine"
TARGETS = {OPENAI: "openai/gpt-4o", CLAUDE: CLAUDE, SERVER: SERVER}
SECRET = "sk-loopback-0123456789abcdef"
MOST_LINES = 5
NOWHERE = "http://127.0.0.1:9"
LABELLING = ("load_prompts", "generate_logs", "draw_targets", "proxy_score", "oracle_label")
SMALL = {
    "max_samples": 120,
    "target_labels": 40,
    "oracle_samples": 40,
    "target_models": "[clone, better]",
}
SMALL_DISK = "mount -t tmpfs -o size=32k tmpfs {0} || exit 99; "
FULL = SMALL_DISK + "dd if=/dev/zero of={0}/filler bs=1k 2>/dev/null || true; "
READ_ONLY = "mount --bind {0} {0} && mount -o remount,ro,bind {0} || exit 99; "


def settings(folder: Path, **changes) -> None:
    """params.yaml of the simulated models, changed."""
    text = SIMULATED.read_text(encoding="utf-8")
    for key, value in changes.items():
        text = re.sub(rf"(?m)^{key}:.*$", f"{key}: {value}", text)
    (folder / "params.yaml").write_text(text, encoding="utf-8")


def environment(folder: Path, url: str = NOWHERE, **variables: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k != "DVC_ROOT"}
    return kept | {
        "PYTHONPATH": str(ROOT / "stages"), "CJE_STORE": str(folder / "store"),
        "OPENAI_API_KEY": SECRET, "ANTHROPIC_API_KEY": SECRET,
        "OPENAI_BASE_URL": f"{url}/v1", "ANTHROPIC_BASE_URL": url,
        "DVC_NO_ANALYTICS": "1",
    } | variables  # fmt: skip


def stage(folder: Path, name: str, url: str = NOWHERE, before: str = "", **variables: str):
    """Run a stage's script there; `before`: shell commands of root's, in its own mounts."""
    script = [str(ROOT / "tests/staged.py"), name, *([before] if before else [])]
    command = [str(warm.programs() / "python"), *script]
    return subprocess.run(
        command, cwd=folder, env=environment(folder, url, **variables),
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip


def error_of(done) -> str:
    """The words of a run that must have failed in words."""
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert "Traceback" not in output and SECRET not in output
    _, mark, words = output.partition("\nerror: ")
    assert mark and len(words.strip().splitlines()) <= MOST_LINES, output
    return words


@pytest.fixture
def folder(tmp_path) -> Path:
    settings(tmp_path, **SMALL)
    return tmp_path


@pytest.fixture
def load_prompts(folder, monkeypatch, capsys):
    """Run the first stage's script in this process; its words, as `error_of` gives them."""

    def start() -> str:
        monkeypatch.chdir(folder)
        with pytest.raises(SystemExit) as left:
            run_stage("load_prompts")
        printed = capsys.readouterr()
        said = f"{printed.err}\n{left.value.code}"
        return error_of(subprocess.CompletedProcess("load_prompts", 1, printed.out, said))

    return start


@pytest.fixture(scope="module")
def prompts(tmp_path_factory) -> Path:
    """The folder `data` of thirty prompts."""
    folder = tmp_path_factory.mktemp("prompts")
    settings(folder, max_samples=30)
    assert stage(folder, "load_prompts").returncode == 0
    return folder / "data"


@pytest.fixture
def asking(folder, prompts):
    """Settings that have a model answer thirty prompts."""
    shutil.copytree(prompts, folder / "data")

    def change(model: str, **changes) -> None:
        called = {"base_model": model, "target_models": f"[{TARGETS[model]}]", "max_samples": 30}
        called |= {"top_p": "null", "max_tokens": 12, "max_retries": 1, "timeout": 5}
        settings(folder, **(called | changes))

    return change


# What a provider says


def test_no_key(folder):
    settings(folder, base_model=OPENAI, target_models=f"[{CLAUDE}]", top_p="null")
    words = error_of(stage(folder, "load_prompts", OPENAI_API_KEY="", ANTHROPIC_API_KEY=""))
    assert "Please set OPENAI_API_KEY and ANTHROPIC_API_KEY in the environment" in words


@pytest.mark.parametrize(
    "model, fault, calls, words",
    [
        (OPENAI, "quota-bare", 1, "the account has no credit left, add some: You exceeded"),
        # Only the words of its message say so, as those of a refused prompt may.
        (CLAUDE, "credit", 3, "the account has no credit left, add some: Your credit balance"),
        (CLAUDE, "404", 1, "the model or address is unknown, correct it: model: claude"),
        (OPENAI, "401", 1, "access is denied, check the API key: Incorrect API key provided: ***"),
    ],
)
def test_what_no_retry_mends_stops_at_the_first_call(folder, asking, model, fault, calls, words):
    asking(model, max_retries=6)
    with Loopback() as server:
        server.decide = lambda path, body, attempt: fault
        assert words in error_of(stage(folder, "generate_logs", server.url))
    assert len(server.calls) == calls


def test_credit_that_ends_midway_stops_at_once_and_what_was_paid_for_is_kept(folder, asking):
    asking(OPENAI, concurrency=4, max_retries=6)
    with Loopback() as server:
        server.decide = lambda path, body, attempt: "quota-bare" if len(server.calls) > 9 else None
        words = error_of(stage(folder, "generate_logs", server.url))
        assert "no credit left" in words and "are kept: fix the cause and run again" in words
        asked = len(server.calls)
        assert asked <= 10 + 2 * 4
        server.decide = None
        assert stage(folder, "generate_logs", server.url).returncode == 0
        assert server.paid_twice() == {}


@pytest.mark.parametrize(
    "fault, words",
    [
        ("429-bare", "too many requests; set a lower concurrency or requests_per_minute"),
        ("html", "the reply is not JSON but a web page, of a proxy perhaps; check the address"),
        ("502", "the server failed: HTTP 502"),
    ],
)
def test_what_never_ends_is_given_up(folder, asking, fault, words):
    asking(OPENAI)
    with Loopback() as server:
        server.decide = lambda path, body, attempt: fault
        found = error_of(stage(folder, "generate_logs", server.url))
    assert words in found and "fix the cause and run again" in found
    assert len(server.calls) < 20 * 4


@pytest.mark.parametrize(
    "model, url",
    [(CLAUDE, NOWHERE), (SERVER, NOWHERE), (OPENAI, "http://none.invalid")],
)
def test_a_server_that_is_not_there_is_named(folder, asking, model, url):
    asking(model, base_url=f"{NOWHERE}/v1" if model == SERVER else "null")
    words = error_of(stage(folder, "generate_logs", url))
    assert f"no connection to {url}, check the address and the network" in words


# What the user wrote


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"base_model": "openia/gpt-4o"}, "there is no provider 'openia'; there are anthropic/..."),
        ({"base_model": "bse"}, '"bse" is not defined; did you mean "base"?'),
        ({"base_model": SERVER}, "set base_url, as in http://localhost:8000/v1"),
        ({"base_url": "localhost:8000"}, "give an address such as http://localhost:8000/v1"),
        ({"temperature": "warm"}, 'temperature: "warm" is not allowed; give a number from 0 to 2'),
        ({"folds": "2.5"}, "folds: 2.5 is not allowed; give"),
        ({"seed": "1\nsede: 2"}, "sede: unknown key; did you mean 'seed'?"),
        ({"seed": "1\nseed: 2"}, 'duplicate key "seed"'),
        ({"seed": "["}, "not valid YAML"),
        ({"prompts": "data/prompts"}, "or a .jsonl, .csv or .parquet file"),
        ({"prompts": "data/prompts/none.jsonl"}, "none.jsonl: no such file; see `prompts`"),
    ],
)
def test_a_setting_that_is_wrong(folder, load_prompts, changes, words):
    settings(folder, **changes)
    found = load_prompts()
    assert words in found and found.startswith(("params.yaml", "data/prompts"))


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("a.jsonl", b'{"prompt": "x"}\n{"prompt": "y"', "a.jsonl:2: not valid JSON: Expecting ','"),
        ("a.jsonl", b"", "a.jsonl: there are no rows; every row needs a prompt's text"),
        ("a.jsonl", b'{"prompt": "x"}\n{"text": "y"}', "a.jsonl:2: prompt: missing or empty"),
        ("a.jsonl", b'{"prompt": "caf\xe9"}', "a.jsonl:1: not UTF-8 text: "),
        ("a.csv", b"prompt\ncaf\xe9s\n", "a.csv: not UTF-8 text: "),
        ("a.csv", b"prompt\nHi, you\n", "a.csv:2: 2 cells, where the header has 1; write a text"),
        ("a.csv", b'prompt\n\n"a\nb"\n"c', "a.csv:5: quotes that do not close"),
        ("a.csv", b"prompt,prompt\na,b\n", "a.csv:1: column prompt: there twice"),
        ("a.jsonl", b'{"prompt": "x", "prompt": "y"}', "a.jsonl:1: prompt: there twice, "),
        (
            "a.jsonl",
            b"[" * 99999,
            "a.jsonl:1: not valid JSON: a number too long or nested too deep",
        ),
        ("a.jsonl", b'{"prompt": "x", "reference": ["y"]}', 'a.jsonl:1: reference: ["y"] is not'),
        ("a.jsonl", None, "a.jsonl: a folder; write its parts into one file"),
        ("a.csv", None, "a.csv: cannot be read as csv: Is a directory; "),
        ("a.parquet", b"PAR1 and no more", "a.parquet: cannot be read as parquet: "),
    ],
)
def test_a_file_of_prompts_that_is_wrong(folder, load_prompts, name, content, words):
    path = folder / "data/prompts" / name
    path.parent.mkdir(parents=True)
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    settings(folder, prompts=f"data/prompts/{name}")
    found = load_prompts()
    assert words in found and re.search(r"fix|save|create|needs|write|keep|rename", found)


# What the disk does


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    """A folder in which all stages before `calibrate` have run."""
    folder = tmp_path_factory.mktemp("labelled")
    settings(folder, **SMALL)
    for name in LABELLING:
        assert stage(folder, name).returncode == 0
    return folder


@pytest.fixture
def writable(labelled, tmp_path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(labelled, folder)
    for name in ("metrics", "plots"):
        (folder / name).mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def mounts():
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", "mount -t tmpfs tmpfs /mnt"], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("only root may mount a small disk")


@pytest.mark.parametrize(
    "before, file, words",
    [
        (FULL, "metrics/calibration.json", "the disk is full; free some space"),
        (FULL, "plots/calibration_curve.png", "the disk is full; free some space"),
        (READ_ONLY, "plots/calibration_curve.png", "the disk is read-only; work in another"),
    ],
    ids=["metrics", "figure", "read-only"],
)
def test_a_disk_that_cannot_be_written(writable, mounts, before, file, words):
    place = file.partition("/")[0]
    found = error_of(stage(writable, "calibrate", before=before.format(place)))
    assert found.startswith(f"{file}: {words}") and "run this again" in found


def test_a_table_that_finds_no_room(writable, mounts):
    move = (
        "cp -r data kept && mount -t tmpfs -o size=4m tmpfs data && cp -r kept/. data/ || exit 99; "
    )
    fill = "dd if=/dev/zero of=data/filler bs=1k 2>/dev/null || true"
    found = error_of(stage(writable, "calibrate", before=move + fill))
    assert found.startswith("data/rewards.parquet: the disk is full; free some space")


def test_a_file_that_may_not_be_so_large(writable):
    limit = (
        "import resource as r, runpy, sys; r.setrlimit(r.RLIMIT_FSIZE, (512, r.RLIM_INFINITY)); "
    )
    code = limit + "sys.path.insert(0, sys.argv[1]); runpy.run_path(sys.argv[2], None, '__main__')"
    script = str(ROOT / "stages/calibrate.py")
    done = subprocess.run(
        [sys.executable, "-B", "-c", code, str(ROOT / "stages"), script],
        cwd=writable, env=environment(writable), capture_output=True, text=True,
    )  # fmt: skip
    assert error_of(done).startswith("data/rewards.parquet: the file is too large")


@pytest.mark.parametrize(
    "before, words",
    [
        (FULL, ["the reply store cannot be written (No space left on device); make room or set"]),
        (
            SMALL_DISK,
            [  # whichever is written when the room is gone: a reply, or a call's share of
                "a reply cannot be kept (No space left on device); make room or set",  # the bound
                "the reply store cannot be written (No space left on device); make room or set",
            ],
        ),
        (
            READ_ONLY,
            ["the reply store cannot be written (Read-only file system); make room or set"],
        ),
    ],
    ids=["full", "filled", "read-only"],
)
def test_a_reply_store_that_cannot_be_written(folder, asking, mounts, before, words):
    asking(OPENAI)
    (folder / "store").mkdir()
    with Loopback() as server:
        found = error_of(stage(folder, "generate_logs", server.url, before.format("store")))
    assert any(found.startswith(f"{folder / 'store'}: {one} CJE_STORE to ") for one in words)


def test_a_table_that_was_cut_short(writable):
    path = writable / "data/logs.parquet"
    path.write_bytes(path.read_bytes()[:300])
    found = error_of(stage(writable, "calibrate"))
    assert "data/logs.parquet: not a readable Parquet file; the stage generate_logs makes" in found


# What DVC does


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    repo = new_project(tmp_path_factory.mktemp("project") / "cje")
    settings(repo, **SMALL)
    run("dvc", "repro", "generate_logs", cwd=repo)
    return repo


@pytest.fixture
def repo(project):
    yield project
    settings(project, **SMALL)


def test_an_error_through_dvc_is_of_the_same_few_words(repo):
    settings(repo, **SMALL | {"max_samples": "many"})
    output = run("dvc", "repro", cwd=repo, ok=False)
    assert ran(output) == ["check_settings"] and "Traceback" not in output
    said = output.partition("\nerror: ")[2].strip().splitlines()
    assert said[0].startswith('params.yaml: max_samples: "many" is not allowed; give')
    assert len(said) == 2 and said[1].startswith("ERROR: failed to reproduce 'check_settings'")


def test_a_lock_that_another_process_holds(repo):
    lock = zc.lockfile.LockFile(str(repo / ".dvc/tmp/lock"))
    try:
        output = run("dvc", "repro", "load_prompts", cwd=repo, ok=False)
    finally:
        lock.close()
    assert "Unable to acquire lock. Most likely another DVC process" in output


def test_a_lock_file_of_other_settings_runs_what_it_lacks(repo):
    path = repo / "dvc.lock"
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole.replace("temperature: 0.7", "temperature: 0.6"), encoding="utf-8")
    run("dvc", "repro", "generate_logs", cwd=repo)
    assert path.read_text(encoding="utf-8") == whole


def test_a_folder_that_is_no_git_repository(repo, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(repo, copy, ignore=shutil.ignore_patterns(".git", "cache", "tmp"))
    assert "is not a git repository" in run("dvc", "repro", "load_prompts", cwd=copy, ok=False)
    run("dvc", "config", "core.no_scm", "true", cwd=copy)
    run("dvc", "repro", "load_prompts", cwd=copy)


def test_an_interrupted_repro_keeps_what_was_paid_for_and_goes_on(repo, tmp_path):
    models = {"base_model": OPENAI, "target_models": f"[{OPENAI}]", "top_p": "null"}
    settings(repo, **SMALL | models | {"max_samples": 60, "max_tokens": 12, "concurrency": 2})
    command = [str(Path(sys.executable).parent / "dvc"), "repro", "generate_logs"]
    path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with Loopback(delay=0.05) as server:
        options = {"cwd": repo, "env": environment(tmp_path, server.url, **path)}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True, preexec_fn=interruptible, **options,
        )  # fmt: skip
        while sum(server.successes.values()) < 20:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        output, _ = process.communicate(timeout=120)
        assert process.returncode != 0 and "Traceback" not in output
        assert "interrupted: the replies so far are kept, run again to go on" in output
        run("dvc", "repro", "generate_logs", cwd=repo, **options["env"])
        assert len(server.paid_twice()) <= 2
