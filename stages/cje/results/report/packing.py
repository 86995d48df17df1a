"""Data inside the page: JSON, compressed, in letters that HTML leaves alone."""

import base64
import json
import zlib
from typing import Any


def to_json(value: Any) -> str:
    """JSON without white space."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def packed(text: str) -> str:
    """Text as base64 of its zlib stream, which a browser's DecompressionStream('deflate') reads."""
    return base64.b64encode(zlib.compress(text.encode("utf-8"), 6)).decode("ascii")
