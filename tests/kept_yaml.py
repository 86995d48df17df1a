"""What DVC reads in YAML, kept in a folder: reading dvc.yaml and dvc.lock again and again is most
of the time that DVC takes, and what a text means never changes."""

import hashlib
import io
import pickle
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from dvc.utils import strictyaml
from dvc.utils.serialize import _yaml as yaml
from ruamel.yaml.comments import CommentedMap

read, write = yaml.parse_yaml, yaml._dump


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
