"""Calls against a bare loop over the same SDK client, and memory as calls grow.

    python benchmarks/calls.py             # 2,000 calls, 64 at once, on a 50 ms server, both ways
    python benchmarks/calls.py --memory    # peak memory of 1,000 and of 50,000 calls

Prints ratios, which hold on any machine: seconds of ours over those of the bare loop, pair by pair,
and peak memory over that of the small run. The server is a process of its own on this machine.
"""

import argparse
import asyncio
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "stages"))

MODEL = "openai/gpt-4o-mini"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--calls", type=int, default=2000)
    options.add_argument("--concurrency", type=int, default=64)
    options.add_argument("--delay", type=float, default=0.05, help="of the server, in seconds")
    options.add_argument("--pairs", type=int, default=5)
    options.add_argument("--memory", action="store_true")
    options.add_argument("--only", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.only:
        ours(given.only, given.concurrency)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    command = [sys.executable, "tests/loopback.py", "--port", "0"]
    delay = 0.0 if given.memory else given.delay
    server = subprocess.Popen(
        [*command, "--delay", str(delay)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        os.environ["OPENAI_BASE_URL"] = server.stdout.readline().strip() + "/v1"
        os.environ["OPENAI_API_KEY"] = "sk-loopback-key"
        memory(given.concurrency) if given.memory else times(given)
    finally:
        server.terminate()


def times(given: argparse.Namespace) -> None:
    """Both ways in turn, and the ratio of each pair."""
    ratios = []
    for _ in range(given.pairs):
        bare = clock(lambda: asyncio.run(bare_loop(given.calls, given.concurrency)))
        own = clock(lambda: ours(given.calls, given.concurrency))
        ratios.append(own / bare)
        print(f"bare loop {bare:.2f} s, ours {own:.2f} s, ratio {own / bare:.2f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.2f}")


def memory(concurrency: int) -> None:
    """Peak memory of a process that makes so many calls and reads them into a table."""
    peaks = {}
    for count in (1_000, 50_000):
        command = [sys.executable, __file__, "--only", str(count)]
        done = subprocess.run(
            [*command, "--concurrency", str(concurrency)],
            capture_output=True,
            text=True,
            check=True,
        )
        peaks[count] = float(done.stdout.split()[-1])
        print(f"{count:,} calls: peak {peaks[count]:.0f} MiB", flush=True)
    print(f"ratio {peaks[50_000] / peaks[1_000]:.2f}")


def clock(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def texts(count: int) -> list[str]:
    return [f"Say something about the number {i}, and why it matters to you." for i in range(count)]


def ours(count: int, concurrency: int) -> None:
    """The calls as a stage makes them, each reply kept, and the table of answers."""
    from cje.models import provider_for
    from cje.models.calls import Calls
    from cje.models.store import ReplyStore
    from cje.settings import Policy, parse_settings

    base = {"base_model": MODEL, "target_models": [MODEL], "concurrency": concurrency}
    with tempfile.TemporaryDirectory() as folder:
        calls = Calls(parse_settings(base), "generate_logs", ReplyStore(Path(folder)))
        policy = Policy(name="p", model=MODEL, temperature=0.7, top_p=0.9, max_tokens=40)
        prompts = pd.DataFrame({"uid": map(str, range(count)), "prompt": texts(count)})
        found = provider_for(MODEL, calls).generate(prompts, policy, draw=0, seed=1)
        assert found["answer"].notna().all()


async def bare_loop(count: int, concurrency: int) -> None:
    """The same calls by the SDK alone, nothing kept."""
    import openai

    client = openai.AsyncOpenAI()
    gate = asyncio.Semaphore(concurrency)

    async def ask(text: str) -> str:
        async with gate:
            reply = await client.chat.completions.create(
                model=MODEL.partition("/")[2],
                messages=[{"role": "user", "content": text}],
                temperature=0.7, top_p=0.9, max_completion_tokens=40, logprobs=True,
            )  # fmt: skip
        return reply.choices[0].message.content

    found = await asyncio.gather(*(ask(text) for text in texts(count)))
    assert all(found)
    await client.close()


if __name__ == "__main__":
    main()
