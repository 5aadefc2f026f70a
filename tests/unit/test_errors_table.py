"""The closed table of errors: complete, and silent about values."""

import inspect
import logging

import pytest
from graphql import GraphQLError

from auth import errors as auth_errors
from crm import errors as crm_errors
from schema.errors import DESCRIPTIONS, MESSAGES, TABLE, UNAVAILABLE, Code, Refused, code_of, problem_of

CONTRACT = [
    "UNAUTHENTICATED", "FORBIDDEN", "FORBIDDEN_FIELD", "PURPOSE_REQUIRED", "PURPOSE_NOT_PERMITTED", "NOT_FOUND",
    "VERSION_REQUIRED", "VERSION_CONFLICT", "REQUEST_IN_PROGRESS", "VALIDATION_FAILED", "POSITION_EXPIRED",
    "BATCH_TOO_LARGE", "QUERY_TOO_COSTLY", "RATE_LIMITED", "RESTRICTED_RECORD", "SOURCE_OVERRULED",
    "BREAK_GLASS_REQUIRED", "ERASED", "LEGAL_HOLD", "AUDIT_UNAVAILABLE", "KEY_UNAVAILABLE", "OVERLOADED",
    "GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "PERSISTED_QUERY_NOT_FOUND", "PERSISTED_QUERY_NOT_SUPPORTED",
    "INTERNAL_SERVER_ERROR",
]  # fmt: skip

SECRET = "canary-7f3a"


def test_the_codes_are_those_of_the_contract() -> None:
    """No more and no fewer, with LEGAL_HOLD of our own and two of Apollo's; each has a message and a description."""
    assert [code.value for code in Code] == CONTRACT
    assert set(MESSAGES) == set(DESCRIPTIONS) == set(Code)


def test_every_refusal_below_has_a_code() -> None:
    """A new error class must be put into the table, or be known to stay internal."""
    internal = {crm_errors.CrmError, crm_errors.Tampered, crm_errors.Unsafe, auth_errors.AuthError}
    for module in (auth_errors, crm_errors):
        for _, cls in inspect.getmembers(module, inspect.isclass):
            if issubclass(cls, Exception) and cls not in internal:
                assert any(base in TABLE for base in cls.__mro__), cls


@pytest.mark.parametrize(
    ("error", "code", "extensions"),
    [
        (auth_errors.Unauthenticated("expired"), Code.UNAUTHENTICATED, {}),
        (auth_errors.Forbidden("rule/x"), Code.FORBIDDEN, {}),
        (auth_errors.ForbiddenField(["religion", "birthDate"]), Code.FORBIDDEN_FIELD, {"field": "birthDate"}),
        (auth_errors.PurposeRequired(), Code.PURPOSE_REQUIRED, {}),
        (auth_errors.PurposeNotPermitted(), Code.PURPOSE_NOT_PERMITTED, {}),
        (crm_errors.NotFound(), Code.NOT_FOUND, {}),
        (crm_errors.Invalid("input.x", "e164"), Code.VALIDATION_FAILED, {"field": "input.x", "rule": "e164"}),
        (crm_errors.VersionRequired(), Code.VERSION_REQUIRED, {}),
        (crm_errors.VersionConflict(7), Code.VERSION_CONFLICT, {"currentVersion": 7}),
        (
            crm_errors.VersionConflict(7, ["names", "active"]),
            Code.VERSION_CONFLICT,
            {"currentVersion": 7, "changedFields": ["active", "names"]},
        ),
        (crm_errors.RequestInProgress(), Code.REQUEST_IN_PROGRESS, {"retryAfter": 1}),
        (crm_errors.PositionExpired(), Code.POSITION_EXPIRED, {}),
        (crm_errors.BatchTooLarge(1000), Code.BATCH_TOO_LARGE, {"limit": 1000}),
        (crm_errors.RestrictedRecord(), Code.RESTRICTED_RECORD, {}),
        (
            crm_errors.SourceOverruled(["names", "birthDate"]),
            Code.SOURCE_OVERRULED,
            {"field": "birthDate", "fields": ["birthDate", "names"]},
        ),
        (crm_errors.BreakGlassRequired(), Code.BREAK_GLASS_REQUIRED, {}),
        (crm_errors.Erased(), Code.ERASED, {}),
        (crm_errors.KeyUnavailable(), Code.KEY_UNAVAILABLE, {"retryAfter": 1}),
        (
            crm_errors.KeyUnavailable(paths=["religion", "pronouns"]),
            Code.KEY_UNAVAILABLE,
            {"field": "pronouns", "retryAfter": 1},
        ),
        (crm_errors.AuditUnavailable(), Code.AUDIT_UNAVAILABLE, {"retryAfter": 1}),
        (crm_errors.RateLimited(60), Code.RATE_LIMITED, {"retryAfter": 60}),
        (crm_errors.Overloaded(5), Code.OVERLOADED, {"retryAfter": 5}),
        (crm_errors.StoreUnavailable(2), Code.OVERLOADED, {"retryAfter": 2}),
        (Refused(Code.QUERY_TOO_COSTLY, field="query"), Code.QUERY_TOO_COSTLY, {"field": "query"}),
        (Refused(Code.QUERY_TOO_COSTLY, limit=0), Code.QUERY_TOO_COSTLY, {"limit": 0}),
    ],
)
def test_what_a_client_is_told(error: Exception, code: Code, extensions: dict[str, object]) -> None:
    """The code, its fixed message, and the few facts that help; nothing else."""
    problem = problem_of(error)
    assert (problem.code, problem.message) == (code, MESSAGES[code])
    assert problem.as_json()["extensions"] == {"code": code.value, **extensions}


def test_codes_are_found_along_the_classes() -> None:
    """A more special class of a known error has its code."""

    class Special(crm_errors.NotFound):
        """One that nobody put into the table."""

    assert code_of(Special()) is Code.NOT_FOUND


@pytest.mark.parametrize("error", [ValueError(SECRET), crm_errors.Tampered(SECRET), KeyError(SECRET)])
def test_surprises_get_an_incident_and_leave_no_value(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """The client gets a number, the log the type and the place; neither gets the text of the exception."""
    local = SECRET
    with caplog.at_level(logging.ERROR):
        try:
            raise error
        except (ValueError, KeyError, crm_errors.Tampered) as caught:
            try:
                raise RuntimeError(local) from caught
            except RuntimeError as wrapped:
                problem = problem_of(wrapped)
    incident = problem.extensions["incident"]
    assert problem.code is Code.INTERNAL_SERVER_ERROR
    assert isinstance(incident, str)
    assert incident in caplog.text
    assert type(error).__name__ in caplog.text
    assert SECRET not in caplog.text
    assert SECRET not in str(problem.as_json())


def test_the_executor_lends_its_path_and_not_its_message() -> None:
    """graphql-core's own message may quote a value; the path and the cause are enough."""
    told = problem_of(GraphQLError(SECRET, path=["patients", 3], original_error=crm_errors.NotFound())).as_json()
    assert told["path"] == ["patients", 3]
    assert told["extensions"] == {"code": "NOT_FOUND"}
    assert SECRET not in str(told)
    assert problem_of(GraphQLError(SECRET)).code is Code.INTERNAL_SERVER_ERROR
    assert SECRET not in str(problem_of(GraphQLError(SECRET)).as_json())


def test_unavailable_means_a_whole_answer() -> None:
    """The contract's `*_UNAVAILABLE` and OVERLOADED are the codes with 503."""
    assert {code for code in Code if code.endswith("_UNAVAILABLE")} | {Code.OVERLOADED} == UNAVAILABLE
