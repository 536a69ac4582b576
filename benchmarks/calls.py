"""The running app's documented calls over plain HTTP: a thread and an open connection a caller, and nothing else, so that
many of them leave the machine to the app."""

import json
from collections.abc import Iterator

import httpx


class Refused(Exception):
    """The app answered with a sentence instead of a result."""


class Caller:
    """Whoever calls the app at `url`."""

    def __init__(self, url: str, patience: float = 900.0):
        self.client = httpx.Client(base_url=url, timeout=patience)

    def call(self, name: str, **given):
        """The result of a call. Raises Refused."""
        *_, last = self.stream(name, **given)
        return last

    def stream(self, name: str, **given) -> Iterator:
        """Every result of a call as it comes. Raises Refused."""
        at = "gradio_api/call"
        begun = self.client.post(f"{at}/v2/{name}", json=given)
        if begun.is_error:
            raise Refused(begun.text)
        with self.client.stream("GET", f"{at}/{name}/{begun.json()['event_id']}") as answer:
            kind = ""
            for line in answer.iter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    kind = value
                elif field == "data" and kind in ("generating", "complete"):
                    yield json.loads(value)[0]
                elif field == "data" and kind == "error":
                    told = json.loads(value)
                    raise Refused((told.get("error") if isinstance(told, dict) else told) or value)
