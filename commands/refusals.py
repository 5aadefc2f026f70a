"""What a command says when it cannot go on: one sentence that tells what to do, and never a patient's value."""

from auth.errors import AuthError
from auth.issuers import UnsafeIssuer
from commands.logs import places, plain
from crm.errors import (
    AuditUnavailable,
    CrmError,
    Erased,
    KeyUnavailable,
    LegalHold,
    NotFound,
    ProviderUnavailable,
    StoreUnavailable,
    Tampered,
)

_SENTENCES: dict[type[Exception], str] = {
    StoreUnavailable: "the database does not answer: see that it runs, that HEED_DATABASE_URL leads to it, and that it "
    "can be written",
    AuditUnavailable: "the access log cannot be written, and nothing is done without it: see to the database, then try "
    "again",
    NotFound: "there is no such patient in this organisation",
    Erased: "ERASED: this was erased before, and nothing is left to read or to erase",
    LegalHold: "LEGAL_HOLD: the patient is under a legal hold; nothing is erased until every hold on them is lifted",
    KeyUnavailable: "a key that these records need is not available: see to HEED_KEY_PROVIDER and HEED_KEYRING",
    Tampered: "stored data does not authenticate: it was damaged or changed from outside; restore it from a copy",
}


def sentence(failure: Exception) -> str:
    """One line for `failure`, whatever it is."""
    told = isinstance(failure, ProviderUnavailable)  # whoever keeps the root keys is told by name, not as its kind
    for kind, text in _SENTENCES.items():
        if isinstance(failure, kind) and not told:
            return text
    if isinstance(failure, CrmError | UnsafeIssuer):
        return plain(str(failure) or type(failure).__name__)
    if isinstance(failure, AuthError):
        return f"the policy does not allow this ({type(failure).__name__})"
    if isinstance(failure, OSError) and failure.strerror:
        name = f": {failure.filename}" if isinstance(failure.filename, str) else ""
        return plain(f"{failure.strerror}{name}")
    return f"this should not have happened, please report it: {places(failure)}"
