"""What DVC reads in YAML, kept in a folder: reading dvc.yaml and dvc.lock again and again is most
of the time that DVC takes, and what a text means never changes."""

import hashlib
import io
import pickle
import re
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

import yaml as pyyaml
from dvc.utils import strictyaml
from dvc.utils.serialize import _yaml as yaml
from ruamel.yaml.comments import CommentedMap

OTHERWISE = re.compile(r"(?i)[-+.\d][-+.:_\dexo]*|y|n|yes|no|on|off")  # in one of the versions

read, write = yaml.parse_yaml, yaml._dump


class LockDumper(pyyaml.CSafeDumper):
    """Writes dvc.lock as DVC does, in a tenth of the time, where all in it `is_simple`."""


LockDumper.add_representer(
    type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", "")
)


def plain(value: Any) -> Any:
    """A value that can be written back, as one that is read alone."""
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    assert value is None, type(value)
    return None


def is_simple(value: Any) -> bool:
    """Whether every text in it fits one line and all of it is the same in YAML 1.1 and 1.2."""
    if isinstance(value, Mapping):
        return all(is_simple(k) and len(k) < 26 and is_simple(item) for k, item in value.items())
    if isinstance(value, list):
        return None not in value and all(map(is_simple, value))
    if isinstance(value, float):
        return re.fullmatch(r"-?\d+\.\d+", repr(value)) is not None
    if not isinstance(value, str) or value == "2.0":
        return True
    one_line = re.fullmatch(r"[\w ./-]*", value, re.ASCII) and len(value) < 40
    return bool(one_line) and not OTHERWISE.fullmatch(value)


class KeptYaml:
    """DVC's reading and writing of YAML, of which `folder` keeps what a text means."""

    def __init__(self, folder: Path):
        self.folder = folder

    def use(self) -> None:
        """Have DVC, in this process and its forks, read and write so."""
        yaml.parse_yaml = strictyaml.parse_yaml = self.read
        yaml._dump = self.write

    def read(self, text: str, path: str, typ: str = "safe") -> Any:
        """As DVC's parse_yaml."""
        return self.kept(typ, text, lambda: read(text, path, typ))

    def write(self, data: Any, stream: TextIO) -> None:
        """As DVC's _dump. What was written of what can be written back need not be read."""
        if isinstance(data, Mapping) and {*data} == {"schema", "stages"} and is_simple(data):
            text = pyyaml.dump(
                plain(data), Dumper=LockDumper, sort_keys=False, default_flow_style=False,
                allow_unicode=True,
            )  # fmt: skip
        else:
            buffer = io.StringIO()
            write(data, buffer)
            text = buffer.getvalue()
        stream.write(text)
        if isinstance(data, CommentedMap) and data:
            self.kept("rt", text, lambda: data)
            self.kept("safe", text, lambda: plain(data))

    def kept(self, kind: str, text: str, make: Callable[[], Any]) -> Any:
        """What the text means: made, and kept whole or not at all, where it is not kept yet."""
        key = f"{kind} {text}".encode(errors="surrogatepass")
        place = self.folder / hashlib.sha256(key).hexdigest()
        if place.exists():
            return pickle.loads(place.read_bytes())
        found = make()
        half = place.with_suffix(f".{uuid.uuid4().hex}")
        half.write_bytes(pickle.dumps(found))
        half.replace(place)
        return found
