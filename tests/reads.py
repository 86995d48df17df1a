"""Run stages one after another and print what each really read, as JSON: reads.py <stage>...

By stage: the `settings` that were taken from params.yaml, the `files` of this folder that were
opened or folders that were listed, and the `variables` of the environment that the project's own
code looked up.
"""

import json
import os
import runpy
import sys
from pathlib import Path

STAGES = Path(__file__).resolve().parents[1] / "stages"
LOOKUP_FRAMES = 2  # from a look-up in the environment up to whoever wanted it, `get` between

read: dict[str, set[str]] = {}


def note(kind: str, what: str) -> None:
    if read:
        read[kind].add(what)


def note_file(path: object) -> None:
    if not isinstance(path, str | bytes | os.PathLike):
        return
    place = Path(os.path.realpath(os.fsdecode(path)))
    here = Path(os.path.realpath("."))
    if here in place.parents:
        note("files", str(place.relative_to(here)))


def audit(event: str, arguments: tuple) -> None:
    if event == "open":
        path, mode, flags = arguments
        writes = any(c in mode for c in "wax+") if mode else bool(flags & (os.O_WRONLY | os.O_RDWR))
        if not writes:
            note_file(path)
    elif event in ("os.listdir", "os.scandir"):
        note_file(arguments[0])


def watch_arrow() -> None:
    """Parquet is opened by Arrow's own code, which is not audited."""
    import pyarrow.parquet as pq

    for name in ("ParquetFile", "read_table", "read_schema", "read_metadata"):
        original = getattr(pq, name)

        def opened(path, *rest, original=original, **more):
            note_file(path)
            return original(path, *rest, **more)

        setattr(pq, name, opened)


def watch_environment() -> None:
    original = os._Environ.__getitem__

    def looked_up(self, name):
        frame = sys._getframe(1)
        for _ in range(LOOKUP_FRAMES):
            if frame is not None and str(STAGES) in frame.f_code.co_filename:
                note("variables", name)
                break
            frame = frame and frame.f_back
        return original(self, name)

    os._Environ.__getitem__ = looked_up


def watch_settings() -> None:
    from cje.settings import Settings

    original = Settings.__getattribute__
    names = set(Settings.model_fields)

    def taken(self, name):
        if name in names:
            note("settings", name)
        return original(self, name)

    Settings.__getattribute__ = taken


def main(stages: list[str]) -> None:
    sys.path.insert(0, str(STAGES))
    sys.addaudithook(audit)
    watch_arrow()
    watch_environment()
    watch_settings()
    found = {}
    for stage in stages:
        read.update(settings=set(), files=set(), variables=set())
        runpy.run_path(str(STAGES / f"{stage}.py"), run_name="__main__")
        found[stage] = {kind: sorted(names) for kind, names in read.items()}
        read.clear()
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
