"""Programs that start at once: `python`, `dvc` and `cje` as forks of a process that has imported
what they import, which is most of the time that short runs take. DVC also remembers what the texts
of dvc.yaml and dvc.lock mean (`kept_yaml`).

`programs()` is a folder of them for PATH. Each asks the process, over a socket, to run what it was
called with, in its folder and environment and on its files, and ends as that ends. What an
interpreter reads when it starts (options but -c and -m, variables of Python and of the number of
threads) is not available for a fork: there the program is the real interpreter.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from functools import cache
from pathlib import Path

IMPORTED = (
    "PIL.JpegImagePlugin", "PIL.PngImagePlugin", "anthropic", "celery.bin.celery",
    "celery.worker.consumer", "dulwich.porcelain", "dvc.cachemgr", "dvc.cli.parser",
    "dvc.data_cloud", "dvc.repo", "dvc.repo.experiments.queue.celery",
    "dvc.repo.experiments.queue.workspace", "dvc.repo.experiments.run",
    "dvc.repo.experiments.show", "dvc.repo.index", "dvc.repo.plots", "dvc.utils.strictyaml",
    "dvc_data", "dvc_data.index.checkout", "dvc_task.worker", "encodings.ascii",
    "encodings.utf_8_sig", "filelock", "genai_prices", "httpx2", "hydra", "jinja2",
    "jinja2.sandbox", "matplotlib.axes", "matplotlib.backends.backend_agg", "matplotlib.figure",
    "matplotlib.style", "networkx", "numpy", "openai", "pandas", "pandas.core.reshape.reshape",
    "pandas.io.formats.csvs", "pyarrow.pandas_compat", "pyarrow.parquet", "pydantic", "pygit2",
    "rich.progress", "rich.rule", "ruamel.yaml", "scipy.optimize", "scipy.special",
    "scipy.stats", "scmrepo.git.backend.pygit2.filter", "tabulate",
)  # fmt: skip

CLIENT = """#!{python} -ISE
import json, os, socket, sys

REAL = {python!r}
variables = dict(os.environ)
name, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
main = {{"dvc": ["-m", "dvc"], "cje": ["-m", "cje.cli"]}}.get(name, [])
command = [*main, *arguments]
fixed = {{k: v for k, v in variables.items() if v and k.startswith({fixed!r})}}
fixed.pop("PYTHONPATH", None)
plain = command and (command[0] in ("-c", "-m") or not command[0].startswith("-"))
if fixed != {own!r} or not plain:
    os.execv(REAL, [REAL, *command])
wire = socket.socket(socket.AF_UNIX)
wire.connect({address!r})
asked = {{
    "command": command, "name": name, "folder": os.getcwd(), "variables": variables,
    "client": os.getpid(),
}}
socket.send_fds(wire, [b"."], [0, 1, 2])
wire.sendall(json.dumps(asked).encode())
wire.shutdown(socket.SHUT_WR)
sys.exit(int(wire.recv(8) or 137))
"""
FIXED = ("PYTHON", "OMP_", "OPENBLAS_", "NPY_", "MPL")  # what only a start reads


def own_variables() -> dict[str, str]:
    """Those of this process that a start reads."""
    every = {k: v for k, v in os.environ.items() if v and k.startswith(FIXED)}
    return {k: v for k, v in every.items() if k != "PYTHONPATH"}


@cache
def programs() -> Path:
    """The folder with `python`, `dvc` and `cje`; their process ends with this one. Where processes
    do not fork safely, or where `fcntl` is hidden, the environment's own."""
    if sys.platform != "linux" or sys.modules.get("fcntl", True) is None:
        return Path(sys.executable).parent
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "yaml").mkdir()
    address = str(folder / "socket")
    text = CLIENT.format(python=sys.executable, address=address, fixed=FIXED, own=own_variables())
    for name in ("python", "dvc", "cje"):
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)
    command = [sys.executable, "-X", "utf8", __file__, address]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}  # no files, whose place counts
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, **pipes)
    atexit.register(server.kill)
    assert server.stdout.readline() == b"ready\n"
    return folder


def place_of(folder: Path, client: int) -> Path:
    """The file with the number of the process that a client stands for."""
    return folder / f"process of {client}"


def kill(client: int) -> None:
    """Kill the program that a client stands for, as `kill -9` does."""
    os.kill(client, 0)  # it lives as long as the program
    place = place_of(programs(), client)
    os.kill(int(place.read_text()) if place.exists() else client, signal.SIGKILL)


def serve(address: str) -> None:
    """Fork for each program that is asked for, until killed."""
    for name in IMPORTED:
        importlib.import_module(name)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    importlib.import_module("kept_yaml").KeptYaml(Path(address).parent / "yaml").use()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000)  # DVC makes many small objects and few cycles
    print("ready", flush=True)
    while True:
        wire, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            answer(wire, address)
        wire.close()


def answer(wire: socket.socket, address: str) -> None:
    """Be the program, and say how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, files, _, _ = socket.recv_fds(wire, 1, 3)
    asked = json.loads(b"".join(iter(lambda: wire.recv(65536), b"")))
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    place_of(Path(address).parent, asked["client"]).write_text(str(os.getpid()), encoding="utf-8")
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["variables"])
    code = ended(asked["command"], asked["name"], Path(address).parent / "python")
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    wire.sendall(str(code).encode())
    os._exit(code)


def ended(command: list[str], name: str, python: Path) -> int:
    """The exit status of what the command runs."""
    kind, *rest = command
    sys.executable = str(python)
    sys.path[0] = os.getcwd() if kind in ("-c", "-m") else str(Path(kind).resolve().parent)
    sys.path[1:1] = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    try:
        if kind == "-c":
            sys.argv = ["-c", *rest[1:]]
            exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
        elif kind == "-m":
            sys.argv = [name if name != "python" else rest[0], *rest[1:]]
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        else:
            sys.argv = command
            runpy.run_path(kind, run_name="__main__")
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        print(stop.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
