"""The files of local models: in a folder, in a package, or of the hub by its own client."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from cje.errors import CJEError
from cje.models.local import files as local_files
from cje.models.local.files import NAMED, model_path
from cje.models.local.provider import BACKEND
from loopback_hub import Hub, serving

GGUF = b"GGUF and so on"
NAME = "qwen2.5-coder-0.5b"
QWEN = NAMED[NAME]


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Hub:
    monkeypatch.chdir(tmp_path)
    with serving(monkeypatch, tmp_path / "cache") as found:
        yield found


@pytest.fixture
def small(monkeypatch) -> None:
    """The named model, a few bytes long."""
    model = replace(QWEN, sha256=hashlib.sha256(GGUF).hexdigest())
    monkeypatch.setitem(local_files.NAMED, NAME, model)


def test_a_named_model_is_fetched_once_and_checked(hub, small):
    hub.files[QWEN.repository] = {QWEN.file: GGUF, "README.md": b"x"}
    path = model_path(NAME)
    assert path.read_bytes() == GGUF and path.name == QWEN.file
    asked = len(hub.served)
    assert model_path(NAME) == path and len(hub.served) == asked


def test_a_file_that_is_not_the_one_meant_is_refused(hub):
    hub.files[QWEN.repository] = {QWEN.file: GGUF}
    with pytest.raises(CJEError, match=r"not the file that this name means: its sha256 is \w{12}"):
        model_path(NAME)


def test_what_lies_under_models_is_not_fetched(hub, small):
    Path("models").mkdir()
    own = Path("models") / QWEN.file
    own.write_bytes(GGUF)
    assert model_path(NAME) == own and not hub.served
    own.write_bytes(b"another")
    with pytest.raises(CJEError, match="remove it, or name it by its path"):
        model_path(NAME)


def test_any_gguf_file_of_the_hub_has_a_name(hub):
    hub.files["a/b"] = {"deep/m.gguf": GGUF, "m.bin": b"x"}
    assert model_path("hf:a/b/deep/m.gguf").read_bytes() == GGUF
    with pytest.raises(CJEError, match=r"is not a \.gguf file"):
        model_path("hf:a/b/m.bin")
    with pytest.raises(CJEError, match=r"a/b has no file n\.gguf"):
        model_path("hf:a/b/n.gguf")


def test_a_model_of_many_files_is_fetched_without_the_rest(hub):
    hub.files["a/b"] = {"config.json": b"{}", "model.safetensors": b"x", "photo.png": b"x"}
    folder = model_path("hf:a/b")
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    hub.files["a/c"] = {"m.gguf": GGUF}
    with pytest.raises(CJEError, match=r"name the \.gguf file in it: local/hf:a/c/<file>\.gguf"):
        model_path("hf:a/c")


@pytest.mark.parametrize(
    "name, words",
    [("hf:a/none", "there is no https://huggingface.co/a/none"), ("hf:a", "names no repository"),
     ("hf:a/-b-", "is not the name of a repository")],
)  # fmt: skip
def test_names_that_are_none_are_errors_in_words(hub, name, words):
    with pytest.raises(CJEError, match=words):
        model_path(name)


def test_without_a_network_it_is_said_what_to_do(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    hub.server.shutdown()
    hub.server.server_close()
    with pytest.raises(CJEError, match=r"could not be fetched .*HF_HUB_OFFLINE, or put it into mo"):
        model_path(NAME)


def test_a_package_that_is_missing_is_named_before_the_download(hub, monkeypatch):
    find = local_files.importlib.util.find_spec
    monkeypatch.setattr(
        local_files.importlib.util,
        "find_spec",
        lambda name: None if name == "torch" else find(name),
    )
    with pytest.raises(CJEError, match=r"torch.* must be installed.*\n.*the model itself, 491 MB"):
        BACKEND.ready(NAME)
    assert not hub.served
