"""Strict JSON in, the parameters of a GraphQL request out. Owns what is well formed, not what it means.

Strict means one reading only: UTF-8 as RFC 8259 has it, no duplicate keys, no NaN, no lone surrogates, no NUL, bounded
nesting. Whatever is refused is refused with HTTP 400 in every media type, because it is not a GraphQL request at all.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import orjson

from crm.domain.retries import KEY, is_key
from schema.errors import Code, Refused
from schema.execution import Parameters
from schema.repeating import Key

__all__ = ["parameters_of_json", "parameters_of_query", "read_json"]


def read_json(octets: bytes, depth: int) -> Any:
    """The JSON value of `octets`. Raises Refused: GRAPHQL_PARSE_FAILED, or VALIDATION_FAILED for NUL in a string."""
    try:
        value = orjson.loads(octets)
        _check_depth(value, depth)
        plain = b"\\u" not in octets
        if not (plain and _has_all_members(value, octets)):
            json.loads(octets, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        value = Refused
    if value is Refused:
        raise Refused(Code.GRAPHQL_PARSE_FAILED, "The body is not one JSON text in UTF-8 with unique keys.")
    if not plain:
        _check_nul(value)
    return value


def _has_all_members(value: Any, octets: bytes) -> bool:
    """Whether no member of an object in `octets`, which escape no character by number, is missing in their `value`.

    Each member has a colon behind its name, and colons in strings are written as they are. So as many colons in the
    value as in the text mean as many members, and nothing was named twice. Costs a seventh of reading the text again.
    """
    return orjson.dumps(value).count(b":") == octets.count(b":")


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("duplicate key")


def _no_constant(_: str) -> None:
    raise ValueError("not a number")


def _check_depth(value: Any, limit: int) -> None:
    level: list[Any] = [value]
    for _ in range(limit):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return
        level = below
    raise Refused(Code.QUERY_TOO_COSTLY, "The body is nested too deeply.", limit=limit)


def _check_nul(value: Any, path: str = "") -> None:
    """Refuse NUL wherever a string stands; PostgreSQL cannot store it. Bounded by `_check_depth`."""
    if isinstance(value, str):
        if "\0" in value:
            raise Refused(Code.VALIDATION_FAILED, "Text must not contain the character NUL.", field=path or None)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _check_nul(item, f"{path}.{number}" if path else str(number))
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_nul(key)
            _check_nul(item, f"{path}.{key}" if path else key)


def parameters_of_json(value: Any) -> Parameters:
    """The parameters in a parsed body; other keys are reserved, and ignored. Raises Refused."""
    if isinstance(value, list):
        raise Refused(Code.VALIDATION_FAILED, "Send one request at a time; batches are not accepted.")
    if not isinstance(value, dict):
        raise Refused(Code.VALIDATION_FAILED, "The body must be a JSON object.")
    return _parameters(value)


def parameters_of_query(pairs: Mapping[str, list[str]], depth: int) -> Parameters:
    """The parameters in the query of a GET; `variables` and `extensions` are JSON in it. Raises Refused."""
    values: dict[str, Any] = {}
    for name in ("query", "documentId", "operationName", "variables", "extensions"):
        given = pairs.get(name, [])
        if len(given) > 1:
            raise Refused(Code.VALIDATION_FAILED, "A parameter is given twice.", field=name)
        if not given:
            continue
        text = given[0]
        if "\0" in text:
            raise Refused(Code.VALIDATION_FAILED, "Text must not contain the character NUL.", field=name)
        if name in {"variables", "extensions"}:
            values[name] = read_json(text.encode("utf-8", "replace"), depth) if text else None
        else:
            values[name] = text
    return _parameters(values)


def _parameters(values: Mapping[str, Any]) -> Parameters:
    query, named = values.get("query"), _document_id(values)
    if not (isinstance(query, str) or (query is None and named is not None)):
        raise Refused(Code.VALIDATION_FAILED, "State the document as a string.", field="query")
    name = values.get("operationName")
    if not (name is None or isinstance(name, str)):
        raise Refused(Code.VALIDATION_FAILED, "The operation's name must be a string.", field="operationName")
    for entry in ("variables", "extensions"):
        if not (values.get(entry) is None or isinstance(values[entry], dict)):
            raise Refused(Code.VALIDATION_FAILED, "This parameter must be a JSON object.", field=entry)
    extensions = values.get("extensions") or {}
    automatic, key = extensions.get("persistedQuery") is not None, _key(extensions.get("idempotencyKey"))
    return Parameters(query or "", name or None, values.get("variables") or {}, named, automatic, key)


def _key(stated: Any) -> Key | None:
    """What a mutation is known by when it comes again, where a transport has no headers for each operation."""
    if stated is None:
        return None
    if not (isinstance(stated, str) and is_key(stated)):
        text = "A key is a string of 1 to 255 visible ASCII characters."
        raise Refused(Code.VALIDATION_FAILED, text, field="extensions.idempotencyKey")
    return KEY, stated


_DOCUMENT_ID = re.compile(r"(?:sha256:)?([0-9a-f]{64})")


def _document_id(values: Mapping[str, Any]) -> str | None:
    """The SHA-256 by which the document is named: `documentId`, or Apollo's `extensions.persistedQuery`."""
    named: dict[str, str] = {}
    extensions = values.get("extensions")
    persisted = extensions.get("persistedQuery") if isinstance(extensions, dict) else None
    if persisted is not None:
        if not (isinstance(persisted, dict) and _is_one(persisted.get("version"))):
            text = "Name a persisted query in version 1 of that protocol."
            raise Refused(Code.VALIDATION_FAILED, text, field="extensions.persistedQuery")
        named["extensions.persistedQuery.sha256Hash"] = _sha256(persisted.get("sha256Hash"))
    if values.get("documentId") is not None:
        named["documentId"] = _sha256(values["documentId"])
    for where, digest in named.items():
        if not digest or digest != next(iter(named.values())):
            raise Refused(Code.VALIDATION_FAILED, "Name a document by one SHA-256, in lower-case hex.", field=where)
    return next(iter(named.values()), None)


def _is_one(version: Any) -> bool:
    """Whether it is the number 1, and neither `true` nor `1.0`, which Python takes for the same."""
    return type(version) is int and version == 1


def _sha256(value: Any) -> str:
    match = _DOCUMENT_ID.fullmatch(value) if isinstance(value, str) else None
    return match[1] if match else ""
