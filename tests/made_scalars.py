"""What schemathesis is to put where one of our own scalars stands, and what it is to take for a failure.

Read by its command line, which tests/security/test_schemathesis.py starts.
"""

import os
from typing import Any

import schemathesis
from graphql import ObjectFieldNode, ObjectValueNode
from graphql.language import NameNode, ValueNode
from hypothesis import strategies as st
from schemathesis.graphql import nodes

from schema.errors import Code

FORMS: dict[str, st.SearchStrategy[str]] = {
    "DateTime": st.datetimes().map(lambda moment: f"{moment.isoformat()}Z"),
    "PartialDate": st.sampled_from(["1980", "1980-02", "1980-02-29"]) | st.dates().map(str),
    "PartialDateTime": st.sampled_from(["1980", "1980-02"])
    | st.datetimes().map(lambda moment: f"{moment.isoformat()}Z"),
    "ClockTime": st.from_regex(r"\A([01][0-9]|2[0-4]):[0-6][0-9]\Z"),
    "TimeZone": st.sampled_from(["Europe/London", "Asia/Kathmandu", "UTC", "europe/london", "../etc/passwd"]),
    "LanguageTag": st.sampled_from(["en", "zh-Hant", "es-419", "en-GB-oed", "x-none", "i-klingon"]),
}


def _representation(id_: str) -> ValueNode:
    fields = {"__typename": "Patient", "id": id_}
    return ObjectValueNode(
        fields=tuple(ObjectFieldNode(name=NameNode(value=name), value=nodes.String(it)) for name, it in fields.items())
    )


for name, form in FORMS.items():
    schemathesis.graphql.scalar(name, (form | st.text()).map(nodes.String))
schemathesis.graphql.scalar("LogIndex", st.integers(-1, 2**54).map(nodes.Int))
IDS = st.sampled_from([os.environ["HEED_TEST_PATIENT"], "", "0199c0de-0000-7000-8000-000000000001"]) | st.text()
schemathesis.graphql.scalar("ID", IDS.map(nodes.String))
schemathesis.graphql.scalar("_Any", IDS.map(_representation) | IDS.map(nodes.String))


@schemathesis.check
def expected(_ctx: Any, response: Any, case: Any) -> None:
    """Every error has one of the codes of the closed list, and none stands for a fault of the service.

    Its own check takes for such a fault whatever failed in a field, a patient who is not there as well.
    """
    assert response.status_code < 500, response.status_code
    codes = {error["extensions"]["code"] for error in response.json().get("errors", ())}
    assert codes <= set(Code) - {Code.INTERNAL_SERVER_ERROR}, codes
