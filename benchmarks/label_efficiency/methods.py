"""Running every method on the same redraws, each in its environment, in pieces side by side."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

import cje
from label_efficiency.environments import NotHere, former_stages, installed, variables
from label_efficiency.exchange import Task

PEERS = Path(__file__).parent / "peers"
OWN_PYTHON = Path(sys.executable)
FORMER = "48f2ea5"
Start = tuple[Path, dict[str, str]]  # an interpreter, and its environment variables
Quantities = dict[str, np.ndarray]  # (R, ...) by name


@dataclass(frozen=True)
class Peer:
    """A script of `peers/`, what the table calls it, and how its environment is made."""

    script: str
    title: str
    start: Callable[[Path], Start]


def requirement(name: str, wanted: str, oldest: tuple[int, int]) -> Callable[[Path], Start]:
    return lambda cache: (installed(name, wanted, oldest, cache), variables())


PEER_LIST = (
    Peer("labels", "the labels' mean", lambda cache: (OWN_PYTHON, variables())),
    Peer("ppi_py", "ppi_py", requirement("ppi_py", "ppi-python==0.2.3", (3, 11))),
    Peer("glide", "GLIDE", requirement("glide", "glide-py==0.11.0", (3, 12))),
    Peer(
        "former",
        "CJE before",
        lambda cache: (OWN_PYTHON, variables(former_stages(FORMER, cache))),
    ),
    Peer("cje", "CJE", lambda cache: (OWN_PYTHON, variables(Path(cje.__file__).parents[1]))),
)
PEER_NAMES = tuple(peer.script for peer in PEER_LIST)


def ready_peers(names: Iterable[str], cache: Path) -> tuple[dict[str, Start], dict[str, str]]:
    """How each of the peers is started; and of those that cannot be, by title, why not."""
    starts, absent = {}, {}
    for peer in PEER_LIST:
        if peer.script in names:
            try:
                starts[peer.script] = peer.start(cache)
            except NotHere as reason:
                absent[peer.title] = str(reason)
    return starts, absent


def run(task: Task, starts: Mapping[str, Start], processes: int) -> dict[str, Quantities]:
    """Every method's answers to every redraw, by method."""
    redraws = len(task.rows)
    edges = np.linspace(0, redraws, processes + 1).astype(int).tolist()
    pieces = [(first, last) for first, last in pairwise(edges) if last > first]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(processes) as pool:
        given = Path(folder) / "task.npz"
        task.write(given)

        def ask(script: str, first: int, last: int) -> Quantities:
            python, environment = starts[script]
            answers = Path(folder) / f"{script}-{first}.npz"
            command = [python, PEERS / f"with_{script}.py", given, answers, str(first), str(last)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{PEERS.name}/with_{script}.py failed:\n{done.stderr}")
            with np.load(answers) as found:
                return {name: found[name] for name in found.files}

        waiting = {s: [pool.submit(ask, s, *piece) for piece in pieces] for s in starts}
        methods: dict[str, Quantities] = {}
        for futures in waiting.values():
            parts = [future.result() for future in futures]
            for name in parts[0]:
                method, quantity = name.split("/")
                whole = np.concatenate([part[name] for part in parts])
                methods.setdefault(method, {})[quantity] = whole
    return methods
