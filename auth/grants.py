"""The allow-list: one row for each role and its purposes of use. Owns who may do what; `policy` decides by it.

Whatever no row names is refused. Labels and the roles' needs follow HL7 v3-ActCode and the minimum-necessary rule,
45 CFR 164.502(b) and GDPR Art. 5(1)(c).
"""

from dataclasses import dataclass

from auth.purposes import Purpose
from auth.roles import Role
from auth.vocabulary import Action, Group

__all__ = ["GRANTS", "USED_UNSEEN", "WITHHELD_WHEN_RESTRICTED", "Grant"]


@dataclass(frozen=True, slots=True)
class Grant:
    """One row of the allow-list: what `role` may do for any of `purposes`.

    `read` is given in clear, `masked` in the catalogue's masked form, `write` may be changed. `sees_restricted` means
    that a restricted record withholds nothing from this row (see `WITHHELD_WHEN_RESTRICTED`). `needs_grant` means that
    each record is opened only to somebody who holds an active break-glass grant for it.
    """

    role: Role
    purposes: frozenset[Purpose]
    actions: frozenset[Action]
    read: frozenset[Group] = frozenset()
    masked: frozenset[Group] = frozenset()
    write: frozenset[Group] = frozenset()
    sees_restricted: bool = False
    needs_grant: bool = False


# Sets with a name are shared by several rows; everything else stands in the row.

_ALL = frozenset(Group)
_WITHOUT_CONFIDENTIAL = _ALL - {Group.CONFIDENTIAL}
_WITHOUT_SENSITIVE = _WITHOUT_CONFIDENTIAL - {Group.CULTURE, Group.GENDER}
USED_UNSEEN = frozenset({Group.CONFIDENTIAL})
"""Of what is masked: staff learn no more than that there is one, and messaging gets it with a decision."""
_IDENTITY = frozenset({Group.LEGAL_NAME, Group.BIRTH, Group.VITAL, Group.IDENTIFIERS})
_MEETING = frozenset({Group.ADDRESSING, Group.PRONOUNS, Group.LANGUAGE, Group.ACCESS, Group.HANDLING, Group.STYLE})
_REACHING = frozenset({Group.CONTACT, Group.ADDRESS, Group.CHANNEL, Group.APPOINTMENT})
_SAYING = frozenset({Group.CONSENT, Group.RELATED})
_STAND_IN = _MEETING | {Group.RECORD, Group.CHANNEL, Group.APPOINTMENT}

_CONTACTING = frozenset({Action.DECIDE, Action.CONSENT, Action.RESOLVE, Action.ATTEST})
_GUARDING = frozenset(
    {
        Action.READ,
        Action.SEARCH,
        Action.EXPORT,
        Action.AUDIT_READ,
        Action.ERASE,
        Action.HOLD,
        Action.REVIEW,
        Action.CONFIDE,
        Action.RESTRICT,
        Action.DECIDE,
        Action.HISTORY,
    }
)
_GUARDED = frozenset({Group.CONFIDENTIAL, Group.GOVERNANCE, Group.RESTRICTION})
_MOVING = frozenset(
    {
        Action.READ,
        Action.SEARCH,
        Action.REGISTER,
        Action.UPDATE,
        Action.IMPORT,
        Action.EXPORT,
        Action.CONSENT,
        Action.INBOUND,
        Action.FOLLOW,
        Action.MERGE,
    }
)

WITHHELD_WHEN_RESTRICTED: frozenset[Group] = frozenset(
    {Group.CONTACT, Group.ADDRESS, Group.CASE_MANAGER, Group.RELATED}
)
"""Where a person is, how to reach them, and who is near them: a restricted record shows it only to rows with
`sees_restricted`."""

GRANTS: tuple[Grant, ...] = (
    Grant(
        Role.FRONT_DESK,
        frozenset({Purpose.PATADMIN}),
        frozenset({Action.READ, Action.SEARCH, Action.REGISTER, Action.UPDATE, Action.MERGE}) | _CONTACTING,
        read=_WITHOUT_SENSITIVE,
        masked=USED_UNSEEN,
        write=_MEETING | _REACHING | _SAYING | _IDENTITY | {Group.CASE_MANAGER, Group.MESSAGES},
    ),
    Grant(
        Role.CLINICIAN,
        frozenset({Purpose.TREAT}),
        frozenset({Action.READ, Action.SEARCH, Action.UPDATE, Action.HISTORY, Action.BREAK_GLASS}) | _CONTACTING,
        read=_WITHOUT_CONFIDENTIAL,
        masked=USED_UNSEEN,
        write=_MEETING
        | _REACHING
        | _SAYING
        | {Group.MESSAGES, Group.VITAL, Group.CULTURE, Group.GENDER, Group.CASE_MANAGER},
    ),
    Grant(
        Role.CLINICIAN,
        frozenset({Purpose.ETREAT}),
        frozenset({Action.READ, Action.SEARCH, Action.BREAK_GLASS, Action.DECIDE}),
        read=_WITHOUT_CONFIDENTIAL,
        masked=USED_UNSEEN,
    ),
    Grant(  # one patient at a time, for as long as a grant lasts: no search, and no change
        Role.CLINICIAN,
        frozenset({Purpose.BTG}),
        frozenset({Action.READ, Action.BREAK_GLASS, Action.DECIDE}),
        read=_ALL,
        sees_restricted=True,
        needs_grant=True,
    ),
    Grant(
        Role.CARE_COORDINATOR,
        frozenset({Purpose.CAREMGT, Purpose.COC}),
        frozenset({Action.READ, Action.SEARCH, Action.UPDATE}) | _CONTACTING,
        read=_WITHOUT_SENSITIVE,
        masked=USED_UNSEEN,
        write=_MEETING | _REACHING | _SAYING | {Group.CASE_MANAGER, Group.MESSAGES},
    ),
    Grant(  # no contact points: the one to use comes with a contact decision; nor whether the record is restricted
        Role.MESSAGING,
        frozenset({Purpose.COC}),
        frozenset({Action.READ, Action.DECIDE, Action.INBOUND, Action.FOLLOW}),
        read=frozenset({Group.RECORD, Group.ADDRESSING, Group.VITAL, Group.LANGUAGE, Group.ACCESS, Group.CHANNEL}),
    ),
    Grant(  # VITAL stays, so that nobody writes to the dead
        Role.MESSAGING,
        frozenset({Purpose.HMARKT}),
        frozenset({Action.READ, Action.DECIDE}),
        read=frozenset({Group.RECORD, Group.ADDRESSING, Group.VITAL, Group.LANGUAGE, Group.CHANNEL}),
    ),
    Grant(
        Role.PATIENT,
        frozenset({Purpose.PATRQT}),
        frozenset(
            {
                Action.READ,
                Action.SELF_READ,
                Action.SELF_AUDIT,
                Action.HISTORY,
                Action.FOLLOW,
                Action.UPDATE,
                Action.DECIDE,
                Action.CONSENT,
                Action.CONFIDE,
            }
        ),
        read=_ALL,
        write=_MEETING | _REACHING | _SAYING | {Group.CULTURE, Group.CONFIDENTIAL},
        sees_restricted=True,
    ),
    Grant(
        Role.PROXY,
        frozenset({Purpose.FAMRQT}),
        frozenset({Action.READ, Action.FOLLOW}),
        read=_STAND_IN,
    ),
    Grant(
        Role.PROXY,
        frozenset({Purpose.PWATRNY}),
        frozenset({Action.READ, Action.UPDATE, Action.CONSENT, Action.FOLLOW}),
        read=_STAND_IN,
        write=frozenset({Group.LANGUAGE, Group.ACCESS, Group.HANDLING, Group.APPOINTMENT}),
    ),
    Grant(
        Role.PROXY,
        frozenset({Purpose.SUPNWK}),
        frozenset({Action.READ, Action.FOLLOW}),
        read=frozenset({Group.RECORD, Group.ADDRESSING, Group.LANGUAGE, Group.ACCESS, Group.APPOINTMENT}),
    ),
    Grant(  # recognises a record in a complaint without learning it; keeps evidence, and so cannot erase
        Role.COMPLIANCE_OFFICER,
        frozenset({Purpose.HCOMPL}),
        frozenset({Action.READ, Action.HISTORY, Action.AUDIT_READ, Action.HOLD, Action.REVIEW}),
        read=frozenset({Group.RECORD, Group.GOVERNANCE, Group.CONSENT, Group.RESTRICTION}),
        masked=frozenset({Group.ADDRESSING, Group.CONTACT, Group.IDENTIFIERS}) | USED_UNSEEN,
    ),
    Grant(  # answers requests under GDPR Art. 15 and 17 and 45 CFR 164.524, which reach the whole record
        Role.PRIVACY_OFFICER,
        frozenset({Purpose.HCOMPL}),
        _GUARDING,
        read=_ALL,
        write=_GUARDED,
        sees_restricted=True,
    ),
    Grant(  # keeps records: also one person's record one record
        Role.PRIVACY_OFFICER,
        frozenset({Purpose.RECORDMGT}),
        _GUARDING | {Action.MERGE},
        read=_ALL,
        write=_GUARDED,
        sees_restricted=True,
    ),
    Grant(
        Role.INTEGRATION,
        frozenset({Purpose.PATADMIN}),
        _MOVING,
        read=_WITHOUT_CONFIDENTIAL,
        masked=USED_UNSEEN,
        write=_WITHOUT_CONFIDENTIAL,
    ),
    Grant(  # copies of record must be whole: an export that left restricted addresses out would lose them
        Role.INTEGRATION,
        frozenset({Purpose.RECORDMGT}),
        _MOVING | {Action.HISTORY},
        read=_ALL,
        write=_ALL,
        sees_restricted=True,
    ),
    Grant(
        Role.OPERATOR,
        frozenset({Purpose.HSYSADMIN}),
        frozenset({Action.SCHEMA_READ}),
    ),
)
