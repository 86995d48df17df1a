"""Calls against a bare loop over the same SDK client, and memory as calls grow.

    python benchmarks/calls.py             # 2,000 calls, 64 at once, on a 50 ms server, both ways
    python benchmarks/calls.py --memory    # what 1,000 and 50,000 calls add to the peak of memory

Prints seconds of ours over those of the bare loop, pair by pair; and for memory what the calls add,
and apart from it what grows with any table: the list of calls and the answers. The server is a
process of its own on this machine.
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
        print(*ours(given.only, given.concurrency))
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
    """What so many calls, and then the tables of them, add to the peak memory of a process."""
    added = {}
    for count in (1_000, 50_000):
        command = [sys.executable, __file__, "--only", str(count)]
        done = subprocess.run(
            [*command, "--concurrency", str(concurrency)],
            capture_output=True,
            text=True,
            check=True,
        )
        prompts, asked, listed, table = map(float, done.stdout.split()[-4:])
        added[count] = asked - prompts
        print(
            f"{count:,} calls: prompts and all else {prompts:.0f} MiB; the calls add "
            f"{added[count]:.0f}, their list {listed - asked:.0f}, "
            f"the answers {table - listed:.0f}",
            flush=True,
        )
    print(f"ratio of what the calls add {added[50_000] / added[1_000]:.2f}")


def peak() -> float:
    """Peak memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def clock(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def texts(count: int) -> list[str]:
    return [f"Say something about the number {i}, and why it matters to you." for i in range(count)]


def ours(count: int, concurrency: int) -> list[float]:
    """The calls as a stage makes them, each reply kept, and the table of answers; the memory's
    peak before them, once they are asked, once they are listed, and with the table."""
    from cje.models.lookup import provider_for
    from cje.models.runner.calls import Calls
    from cje.models.runner.store import ReplyStore
    from cje.settings import Policy, parse_settings

    base = {"base_model": MODEL, "target_models": [MODEL], "concurrency": concurrency}
    with tempfile.TemporaryDirectory() as folder:
        calls = Calls(parse_settings(base), "generate_logs", ReplyStore(Path(folder)))
        policy = Policy(name="p", model=MODEL, temperature=0.7, top_p=0.9, max_tokens=40)
        prompts = pd.DataFrame({"uid": map(str, range(count)), "prompt": texts(count)})
        provider, peaks = provider_for(MODEL, calls), [peak()]
        requests = provider.answer_requests(prompts, policy, draw=0, seed=1)
        outcomes = calls.replies(requests, provider.backend, "answers")
        assert next(outcomes).text
        peaks.append(peak())
        assert all(outcome.text for outcome in outcomes)
        peaks.append(peak())
        found = provider.generate(prompts, policy, draw=0, seed=1)
        assert found["answer"].notna().all()
        return [*peaks, peak()]


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
