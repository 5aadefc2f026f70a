"""Requests that schemathesis makes of the schema, well and badly formed, against a whole service on either engine."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from auth.roles import Role
from schema.settings import Settings
from tests.client import client
from tests.listening import listening

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 12
ROLES = {"sqlite": Role.CLINICIAN, "postgresql": Role.INTEGRATION}
"""Who asks: between them they may do most of what the schema has."""


@pytest.mark.slow
async def test_schemathesis_finds_no_failure(database_url: str, engine: str, tmp_path: Path) -> None:
    """Requests for every root of the schema: no fault of ours, and nothing that is no request is answered."""
    async with (
        client(database_url, tmp_path, Settings(open_introspection=True)) as it,
        listening(it.app) as address,
    ):
        patient = await it.house.register()
        running = await asyncio.create_subprocess_exec(
            *(Path(sys.executable).with_name("schemathesis"), "run", f"{address}/graphql"),
            *("--header", f"Authorization: Bearer {it.token(ROLES[engine])}"),
            *("--checks", "expected,response_schema_conformance,negative_data_rejection", "--phases", "fuzzing"),
            *("--max-time", str(SECONDS), "--seed", "7", "--no-color"),
            *("--generation-database", "none", "--report", "json", "--report-json-path", tmp_path / "found.json"),
            cwd=tmp_path,
            env={
                **os.environ,
                "SCHEMATHESIS_HOOKS": "tests.made_scalars",
                "PYTHONPATH": str(ROOT),
                "HEED_TEST_PATIENT": str(patient["id"]),
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await running.communicate()
    assert running.returncode == 0, said.decode()
    assert json.loads((tmp_path / "found.json").read_text("utf-8"))["test_cases"]["generated"] > 10
