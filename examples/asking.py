"""Asks Heed over HTTP; what the other examples of docs/integrating.md share. Needs nothing but Python.

CLINIC_URL is the address, such as https://heed.example/graphql, CLINIC_TOKEN a token of whoever asks.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any

__all__ = ["Refused", "answer", "ask", "checked"]


class Refused(Exception):
    """The service refused; `code` is one of its closed list of codes."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def checked(found: Any) -> Any:
    """The data of an answer. Raises Refused with the code of its first error."""
    for error in found.get("errors", ()):
        raise Refused(error["extensions"]["code"])
    return found["data"]


def answer(query: str, variables: dict[str, Any], accept: str = "application/json") -> Any:
    """The response to a GraphQL request, as a file to read and to close. Raises Refused and OSError."""
    headers = {"authorization": f"Bearer {os.environ['CLINIC_TOKEN']}", "content-type": "application/json"}
    body = json.dumps({"query": query, "variables": variables}).encode()
    headers["accept"] = accept
    request = urllib.request.Request(os.environ["CLINIC_URL"], body, headers)  # noqa: S310 - an address of your own
    try:
        return urllib.request.urlopen(request, timeout=60)  # noqa: S310
    except urllib.error.HTTPError as refusal:  # 401, 429 and 503 say why in their body
        with refusal:
            checked(json.load(refusal))
        raise


def ask(query: str, **variables: Any) -> Any:
    """The data of the answer to one question. Raises Refused and OSError."""
    with answer(query, variables) as response:
        return checked(json.load(response))


if __name__ == "__main__":
    sys.exit("this is for the other examples")
