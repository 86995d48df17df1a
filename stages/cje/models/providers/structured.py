"""Structured verdicts: by a JSON schema where the server takes one, else by the prompt.

Which of the two is found out by the first verdicts, once, and kept in a file beside the replies.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cje.models.requests import Reply, Request, required

SCHEMA_WORDS = "\n\nReply with one JSON object and nothing else. Its JSON schema:\n"

Place = tuple[str | None, str]  # address and model


def json_schema(schema: str) -> dict[str, Any]:
    """The `response_format` that holds a model to a JSON schema."""
    form = {"name": "verdict", "strict": True, "schema": json.loads(schema)}
    return {"type": "json_schema", "json_schema": form}


def verdict_turns(request: Request, in_prompt: bool) -> list[dict[str, str]]:
    """The messages of a judgement, the last with the schema in it where that is the way."""
    turns = [{"role": role, "content": content} for role, content in request.messages]
    if in_prompt:
        turns[-1]["content"] += SCHEMA_WORDS + required(request.schema)
    return turns


class SchemasSeen:
    """Which models take no JSON schema, learnt from what they refuse and from what they say: one
    that is held to a schema says nothing but an object. `notes` gets what was learnt, and the file
    `path`, where there is one, keeps it for the next run."""

    def __init__(self, notes: list[str], path: Path | None):
        self.notes, self.path = notes, path
        self._take: set[Place] = set()
        self._kept = set(self._read())
        self._none = set(self._kept)

    def in_prompt(self, request: Request) -> bool:
        """Whether the schema must be put in the prompt."""
        return _place(request) in self._none

    def refused(self, request: Request, noted: bool = False) -> None:
        """The model does not take `response_format`; `noted`: and somebody has said so."""
        self._note(_place(request), "" if noted else "refuses")
        self._keep(_place(request))

    def see(self, request: Request, reply: Reply) -> None:
        """Take note of what a model has said that was given a schema, in one of the two ways."""
        place = _place(request)
        if reply.finish_reason != "stop" or reply.text is None or place in self._take:
            return
        if not _is_object(reply.text):
            self._note(place, "ignores")
        elif place in self._none:
            self._keep(place)  # the prompt does it
        else:
            self._take.add(place)

    def _note(self, place: Place, verb: str) -> None:
        if verb and place not in self._none:
            self.notes.append(f"{place[1]} {verb} JSON schemas: they are put in the prompt")
        self._none.add(place)

    def _keep(self, place: Place) -> None:
        if self.path is None or place in self._kept:
            return
        self._kept.add(place)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"address": place[0], "no_schema": place[1]}) + "\n")

    def _read(self) -> list[Place]:
        if self.path is None or not self.path.is_file():
            return []
        found = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                fields = json.loads(line)
                found.append((fields["address"], fields["no_schema"]))
            except (ValueError, KeyError, TypeError):
                continue  # damaged: it is found out once more
        return found


def _place(request: Request) -> Place:
    return request.base_url, request.model


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), Mapping)
    except ValueError:
        return False
