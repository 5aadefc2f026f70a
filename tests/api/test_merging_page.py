"""The examples of docs/merging.md do what the page says."""

import json
import re
from typing import Any

import pytest

from auth.roles import Role
from crm.domain.superseding import MergeReason, UnmergeReason
from tests.client import Client
from tests.processes import ROOT
from tests.uniting import pair, version_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = (ROOT / "docs" / "merging.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """What stands between fences of the page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


async def test_merging_and_its_end(served: Client) -> None:
    """Both mutations with their variables; only ids and versions are those of these two records."""
    merging, parting = blocks("graphql")
    first, second = map(json.loads, blocks("json"))
    survivor, duplicate = await pair(served)

    async def own(shown: dict[str, Any]) -> dict[str, Any]:
        there = {"patientId": survivor, "duplicateId": duplicate, "expectedVersion": await version_of(served, survivor)}
        if "duplicateVersion" in shown["input"]:
            there["duplicateVersion"] = await version_of(served, duplicate)
        assert there.keys() < shown["input"].keys()
        return {"input": {**shown["input"], **there}}

    made = (await served.data(merging, Role.FRONT_DESK, variables=await own(first)))["mergePatients"]
    assert (made["id"], made["supersededIds"]) == (survivor, [duplicate])
    parted = (await served.data(parting, Role.FRONT_DESK, variables=await own(second)))["unmergePatients"]
    assert (parted["id"], parted["supersededIds"]) == (survivor, None)
    assert parted["version"] == await version_of(served, survivor) > made["version"]


@pytest.mark.parametrize("reason", [*MergeReason, *UnmergeReason])
async def test_a_reason_is_on_the_page(reason: str) -> None:
    """As it is to be written."""
    assert f"`{reason}`" in PAGE
