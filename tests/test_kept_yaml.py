"""What the tests' DVC keeps of a YAML text is what reading it gives."""

import io

import pytest

import kept_yaml
from pipeline import ROOT


@pytest.mark.parametrize("name", ["dvc.yaml", "dvc.lock", "params.yaml"])
def test_what_was_written_is_read_as_it_would_be(name, tmp_path, monkeypatch):
    kept, text = kept_yaml.KeptYaml(tmp_path), (ROOT / name).read_text(encoding="utf-8")
    data = kept.read(text, name, "rt")
    data["new"] = {"list": [1, 2.5, 1e-05, True, None, "yes", "2.0"], "text": "a: b"}
    kept.write(data, stream := io.StringIO())
    shown = stream.getvalue()
    expected = repr(kept_yaml.read(shown, name))
    monkeypatch.setattr(kept_yaml, "read", None)  # and nothing is read any more
    assert repr(kept.read(shown, name)) == expected
    found = kept.read(shown, name, "rt")
    kept.write(found, stream := io.StringIO())
    assert stream.getvalue() == shown
    found["new"]["list"].append("more")
    kept.write(found, stream := io.StringIO())
    assert stream.getvalue() == shown.replace("'2.0'\n  text:", "'2.0'\n  - more\n  text:") != shown


OTHERS = [
    "more than a line has, " * 5, "yes", "1e-05", 1e-05, "two\nlines", "\u7b56 \U0001f600", "a'b\"",
]  # fmt: skip


@pytest.mark.parametrize("other", [None, *OTHERS])
def test_a_lock_file_is_written_as_dvc_writes_it(other, tmp_path):
    data = kept_yaml.read((ROOT / "dvc.lock").read_text(encoding="utf-8"), "dvc.lock", "rt")
    data["stages"] = {"cost": data["stages"]["cost"]}
    texts = ["", "2.0", " x", "- x", "null", "true", "none of it", "data/a b.txt", "md5", "x" * 39]
    texts += [other] if other else []
    numbers = [0, -1, 2.5, True, False]
    data["stages"]["new"] = {
        "cmd": texts,
        "params": {str(text)[:25] or "x": text for text in texts},
    }
    data["stages"]["new"] |= {"numbers": numbers, "of": {"nothing": None, "empty": [], "none": {}}}
    assert kept_yaml.is_simple(data) == (other is None)
    kept_yaml.write(data, own := io.StringIO())
    kept_yaml.KeptYaml(tmp_path).write(data, stream := io.StringIO())
    assert stream.getvalue() == own.getvalue()
