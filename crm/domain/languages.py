"""Owns languages as BCP 47 tags and how each is used; translates nothing."""

from functools import lru_cache
from typing import Annotated, Final, Self

import langcodes
from pydantic import AfterValidator, Field, Strict, ValidationInfo, model_validator

from crm.domain.codes import LanguageMode, Proficiency
from crm.domain.shape import Shape, broken, distinct, entry_of
from crm.domain.texts import ShortText

__all__ = ["SIGN_LANGUAGES", "Language", "LanguageTag", "Languages", "Rank"]

Rank = Annotated[int, Strict(), Field(ge=1, le=2_147_483_647)]
"""1 is first (FHIR R4 `positiveInt`)."""

SIGN_LANGUAGES: Final[frozenset[str]] = frozenset(
    """
    ads aed aen afg ajs ase asf asp asq asw bfi bfk bog bqn bqy bvl bzs cds csc csd cse csf csg csl csn csq csr csx
    doq dse dsl dsz ecs ehs esl esn eso eth fcs fse fsl fss gds gse gsg gsm gss gus hab haf hds hks hos hps hsh hsl
    icl iks ils inl ins ise isg isr jcs jhs jks jls jos jsl jus kgi kvk lbs lgs lls lsb lsc lsg lsl lsn lso lsp lst
    lsv lsw lsy lws mdl mfs mre msd msr mzc mzg mzy nbs ncs nsi nsl nsp nsr nzs okl pgz pks prl prz psc psd psg psl
    pso psp psr pys rib rms rnb rsi rsl rsm rsn sdl sfb sfs sgg sgn sgx slf sls sqk sqs sqx ssp ssr svk swl syy szs
    tse tsm tsq tss tsy tza ugn ugy ukl uks vgt vsi vsl vsv wbs xki xml xms yds ygs yhs ysl ysm zib zsl
    """.split()  # noqa: SIM905  # a list of a hundred and sixty quoted strings is no easier to read
)
"""The language subtags of the IANA registry that name sign languages."""

_LONGEST = 64


@lru_cache(maxsize=4096)
def _canonical(text: str) -> tuple[str, bool] | None:
    """The canonical tag and whether all its subtags are registered; None when it is no tag at all."""
    try:
        tag = langcodes.standardize_tag(text)
        registered = langcodes.tag_is_valid(text)
    except ValueError:
        return None
    language, _, rest = tag.partition("-")
    # RFC 5646 4.5: an extended language subtag stands for itself, without its prefix.
    if language == "sgn" and rest[:3] in SIGN_LANGUAGES and rest[3:4] in ("", "-"):
        tag, language = rest, rest[:3]
    # The registry gains sign languages faster than the library that reads it.
    return tag, registered or language in SIGN_LANGUAGES


def _tag(text: str, info: ValidationInfo) -> str:
    known = _canonical(text) if text.isascii() and 0 < len(text) <= _LONGEST else None
    if known is None or not (known[1] or entry_of(info).lenient):
        raise broken("bcp47")
    return known[0]


LanguageTag = Annotated[str, Strict(), AfterValidator(_tag)]
"""A BCP 47 (RFC 5646) tag in canonical form: `es-MX`, `zh-Hant`, `bfi`.

Its subtags must be registered; in imports it need only be well-formed, because the registry grows."""


class Language(Shape):
    """A language of the person; `text` is how the source names it.

    No modes mean that nobody said how it is used; of a sign language it is known.
    """

    tag: LanguageTag
    text: ShortText | None = None
    modes: Annotated[list[LanguageMode], distinct(str)] = []
    rank: Rank | None = None
    preferred: Annotated[bool, Strict()] | None = None
    proficiency: Proficiency | None = None

    @model_validator(mode="after")
    def _sign_languages_are_signed(self) -> Self:
        if not self.modes and self.tag.partition("-")[0] in SIGN_LANGUAGES:
            return self.model_copy(update={"modes": [LanguageMode.SIGNED]})
        return self


Languages = Annotated[list[Language], Field(max_length=30)]
