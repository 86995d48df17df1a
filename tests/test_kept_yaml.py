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
