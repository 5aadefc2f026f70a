"""The words of the policy: groups of fields, and actions. Owns the closed lists, not who may do what (`policy`)."""

from enum import StrEnum

__all__ = ["Action", "Group"]


class Group(StrEnum):
    """A set of profile fields that is granted, masked and attributed to a source together.

    Every row of the catalogue belongs to exactly one group. RECORD (with `id` and `version`) is what can be said of a
    record without opening anything; HANDLING is what staff should do about a cultural need, CULTURE is why.
    CONSENT are the directives, MESSAGES what the person wrote and staff have to read, CONFIDENTIAL where the person
    asked to be reached instead; it is apart from CONTACT, so that staff may use it without seeing it.
    """

    RECORD = "RECORD"
    GOVERNANCE = "GOVERNANCE"
    ADDRESSING = "ADDRESSING"
    PRONOUNS = "PRONOUNS"
    LEGAL_NAME = "LEGAL_NAME"
    BIRTH = "BIRTH"
    VITAL = "VITAL"
    GENDER = "GENDER"
    IDENTIFIERS = "IDENTIFIERS"
    LANGUAGE = "LANGUAGE"
    ACCESS = "ACCESS"
    HANDLING = "HANDLING"
    CULTURE = "CULTURE"
    CONTACT = "CONTACT"
    ADDRESS = "ADDRESS"
    CHANNEL = "CHANNEL"
    STYLE = "STYLE"
    APPOINTMENT = "APPOINTMENT"
    CASE_MANAGER = "CASE_MANAGER"
    CONSENT = "CONSENT"
    MESSAGES = "MESSAGES"
    RESTRICTION = "RESTRICTION"
    RELATED = "RELATED"
    CONFIDENTIAL = "CONFIDENTIAL"


class Action(StrEnum):
    """What an actor wants to do, before any field is named. SCHEMA_READ is introspection outside development.

    HOLD places and lifts legal holds, and shows them and the receipts of erasures; ERASE erases. BREAK_GLASS asks for a
    break-glass grant; REVIEW judges what was done under one, and shows the queue. DECIDE asks whether a patient may be
    contacted; HISTORY shows who changed the record and what it said before; CONSENT appends a consent directive;
    CONFIDE sets or clears the confidential communication; RESTRICT places and lifts restrictions; FOLLOW is told of
    changes without naming the records, all that there are or the caller's own (who names them needs READ); INBOUND
    brings a message of a patient, and what became of one to them; RESOLVE says what an unclear one meant; ATTEST says
    on one's own word whose a contact point is; MERGE makes one record of two about one person, and undoes that.
    """

    READ = "patient:read"
    SEARCH = "patient:search"
    REGISTER = "patient:register"
    UPDATE = "patient:update"
    IMPORT = "patient:import"
    EXPORT = "patient:export"
    ERASE = "patient:erase"
    HOLD = "patient:hold"
    BREAK_GLASS = "patient:break-glass"
    REVIEW = "break-glass:review"
    DECIDE = "contact:decide"
    CONSENT = "consent:record"
    CONFIDE = "confidential:set"
    RESTRICT = "patient:restrict"
    INBOUND = "message:record"
    RESOLVE = "message:resolve"
    ATTEST = "contact:attest"
    HISTORY = "patient:history"
    FOLLOW = "patient:follow"
    MERGE = "patient:merge"
    AUDIT_READ = "audit:read"
    SELF_READ = "self:read"
    SELF_AUDIT = "self:audit"
    SCHEMA_READ = "schema:read"
