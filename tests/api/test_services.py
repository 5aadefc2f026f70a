"""The use cases end to end, on both engines, with real keys and the real log."""

import pytest

from auth.errors import ForbiddenField
from auth.roles import Role
from crm.errors import NotFound, VersionConflict, VersionRequired
from tests.house import ORG, OTHER_ORG, REQUEST, actor, house


async def test_a_registered_patient_reads_back(database_url, tmp_path):
    """What was registered comes back, with the one display name, and the look is recorded with its fields."""
    async with house(database_url, tmp_path) as it:
        patient = await it.register()
        asked = frozenset({"displayName", "pronouns", "languages", "interpreterNeeded", "contactPoints", "culturalNeeds.handling"})
        profile = await it.services.profiles.read(actor(Role.FRONT_DESK), REQUEST, patient["id"], asked)
        assert profile["display_name"] == "Sam"
        assert profile["pronouns"] == "they/them"
        assert [language["tag"] for language in profile["languages"]] == ["so", "en"]
        assert profile["contact_points"][0]["value"] == "+447700900123"
        assert profile["cultural_need_handling"][0]["handling"] == "Offer a chaperone."
        assert "cultural_need_detail" not in profile
        assert profile["version"] == 1
        events = await it.events(patient_id=patient["id"])
        assert [event["action"] for event in events] == ["read", "create"]
        assert events[0]["fields_returned"] == sorted(asked)
        assert events[0]["patient_id"] == patient["id"]
