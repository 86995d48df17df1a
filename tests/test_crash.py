"""Kill -9 at any moment: only calls in flight are lost, and the table comes out the same."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import warm
from pipeline import ROOT, interruptible, stages_first

KILLS, CONCURRENCY = int(os.environ.get("KILLS", "10")), 16
CALLS = 40 * KILLS
SETTINGS = f"""
prompts: sim/arena
max_samples: {CALLS}
base_model: openai/gpt-4o-mini
target_models: [openai/gpt-4o]
top_p: null
max_tokens: 12
concurrency: {CONCURRENCY}
"""


@pytest.fixture
def server(tmp_path):
    """A loopback server in a process of its own, and the file of its calls."""
    log = tmp_path / "calls.txt"
    command = [sys.executable, "tests/loopback.py", "--port", "0", "--delay", "0.05"]
    process = subprocess.Popen(
        [*command, "--log", str(log)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    yield process.stdout.readline().strip(), log
    process.terminate()
    process.wait()


def start(
    folder: Path, url: str, stage: str = "generate_logs", python: str | None = None
) -> subprocess.Popen:
    environment = os.environ | {
        "PYTHONPATH": stages_first(), "OPENAI_API_KEY": "sk-loopback-key",
        "OPENAI_BASE_URL": f"{url}/v1", "CJE_STORE": str(folder / "store"),
    }  # fmt: skip
    environment.pop("DVC_ROOT", None)
    script = ROOT / f"stages/{stage}.py"
    return subprocess.Popen(
        [python or warm.programs() / "python", script], cwd=folder, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=interruptible,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return output


def project(folder: Path, url: str) -> Path:
    folder.mkdir()
    (folder / "params.yaml").write_text(SETTINGS, encoding="utf-8")
    for stage in ("check_settings", "load_prompts"):
        finish(start(folder, url, stage))
    return folder


def kept(folder: Path) -> int:
    path = folder / "store/openai/gpt-4o-mini.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_stage_killed_ten_times_ends_with_the_same_bytes_and_repeats_only_calls_in_flight(
    tmp_path, server
):
    url, log = server
    calm = project(tmp_path / "calm", url)
    finish(start(calm, url))
    before = Counter(line.split()[0] for line in log.read_text().splitlines())
    assert sum(before.values()) == CALLS and max(before.values()) == 1

    stormy = project(tmp_path / "stormy", url)
    dice = random.Random(20261125)
    moments = sorted(dice.sample(range(CALLS // 50, CALLS - CALLS // 20), KILLS))
    for moment in moments:
        process = start(stormy, url)
        while kept(stormy) < moment:  # so each kill is in the midst of the calls
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.02)
        warm.kill(process.pid)
        process.wait()
    finish(start(stormy, url))

    for name in ("logs", "generate_logs_calls"):
        one, other = (f / "data" / f"{name}.parquet" for f in (calm, stormy))
        assert one.read_bytes() == other.read_bytes()
    after = Counter(line.split()[0] for line in log.read_text().splitlines())
    repeats = sum(after.values()) - 2 * CALLS
    assert 0 <= repeats <= CONCURRENCY * KILLS


def test_an_interrupted_stage_says_nothing_ugly_and_goes_on(tmp_path, server):
    url, log = server
    folder = project(tmp_path / "p", url)
    process = start(folder, url, python=sys.executable)
    while kept(folder) < 100:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in output and "are kept" in output
    finish(start(folder, url))
    assert len(log.read_text().splitlines()) <= CALLS + CONCURRENCY
