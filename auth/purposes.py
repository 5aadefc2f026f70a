"""Purposes of use: why a caller asks. Owns the closed list of codes, not who may use which (that is `auth.policy`)."""

from enum import StrEnum

__all__ = ["Purpose"]


class Purpose(StrEnum):
    """The codes of HL7 v3-ActReason (value set PurposeOfUse, 4.0.0) that a caller may state.

    HL7 arranges them in a tree, but a grant here covers exactly the codes it names: nothing is inherited.
    A code without any grant is known and permitted to nobody.
    """

    TREAT = "TREAT"
    ETREAT = "ETREAT"
    BTG = "BTG"
    CAREMGT = "CAREMGT"
    COC = "COC"
    HPAYMT = "HPAYMT"
    HOPERAT = "HOPERAT"
    PATRQT = "PATRQT"
    FAMRQT = "FAMRQT"
    PWATRNY = "PWATRNY"
    SUPNWK = "SUPNWK"
    HMARKT = "HMARKT"
    PATADMIN = "PATADMIN"
    HQUALIMP = "HQUALIMP"
    PATSFTY = "PATSFTY"
    HCOMPL = "HCOMPL"
    HLEGAL = "HLEGAL"
    PUBHLTH = "PUBHLTH"
    HRESCH = "HRESCH"
    RECORDMGT = "RECORDMGT"
    HSYSADMIN = "HSYSADMIN"
    TRAIN = "TRAIN"
    HTEST = "HTEST"
