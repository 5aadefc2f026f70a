"""What the transport can be told: limits, deadlines and switches, as frozen values; reads no environment."""

from dataclasses import dataclass, field

__all__ = ["Limits", "Settings"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one document may hold; all are enforced before validation, `records` before any row is read.

    Counts follow fragments: a fragment spread twice counts twice. Directives and aliases are counted in the whole
    document, `depth` for each operation. `introspection_depth` holds below `__schema` and `__type` only, where tools
    ask deeper than anybody asks about patients. `criterion` is in characters, for each text that a search looks for.
    """

    source: int = 50_000
    tokens: int = 1_000
    comments: int = 250
    operations: int = 10
    root_fields: int = 20
    fields: int = 400
    depth: int = 10
    introspection_depth: int = 20
    aliases: int = 15
    directives: int = 20
    records: int = 1_000
    batch: int = 1_000
    page: int = 100
    page_default: int = 25
    variables_depth: int = 16
    criterion: int = 200


@dataclass(frozen=True, slots=True)
class Settings:
    """Switches of the transport.

    `development` serves GraphiQL. `open_introspection` lets every authenticated caller ask for the schema, and be told
    what in a document does not fit it; else only those whom the policy grants `schema:read`. `graphql_get` accepts
    queries by GET. With `trusted_documents` none but registered documents are executed. `persisted_queries` lets every
    caller have a text remembered under its SHA-256, as Apollo's clients ask for.
    `deadline` is in seconds and covers answering; a body must have come within `body_deadline` or that, whichever is
    shorter. `body` is in octets. `in_flight` is how many requests may be worked on at once before the next is refused
    as OVERLOADED, and four times as many may be sending their bodies; a single caller gets a quarter of either, and
    then RATE_LIMITED. `streams` is how many connections may last (WebSocket, event streams), a quarter of them for one
    caller, and `stream_operations` how many operations one socket may have at a time. A socket says who it is within
    `stream_init` seconds, the token behind a connection is looked at every `stream_check` seconds, and an event stream
    shows that it lives every `stream_silence` seconds. The cache of validated documents holds at most `documents` of
    them and `documents_size` octets of memory, as estimated: a document takes about 50 to 80 times its characters. What
    is made ready of them takes as much again at most, and so does what is made ready under conditions, where they
    outlive the documents. Of refused ones the problems of `refused_documents` are kept.
    """

    development: bool = False
    open_introspection: bool = False
    graphql_get: bool = False
    trusted_documents: bool = False
    persisted_queries: bool = False
    deadline: float = 10.0
    body_deadline: float = 5.0
    body: int = 102_400
    in_flight: int = 256
    streams: int = 1_000
    stream_operations: int = 32
    stream_init: float = 3.0
    stream_check: float = 1.0
    stream_silence: float = 12.0
    documents: int = 1_000
    documents_size: int = 32_000_000
    refused_documents: int = 250
    limits: Limits = field(default_factory=Limits)
