"""The bare server: Starlette and asyncpg's pool, and one statement in which PostgreSQL writes the JSON. URL PORT.

No GraphQL, no token, no privacy: what somebody writes who needs just these two answers, fast.
"""

import sys
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import orjson
import uvicorn
from rows import SERVING
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_ONE = """SELECT json_build_object('id', p.id, 'version', p.version, 'restricted', p.restricted,
    'displayName', p.display_name, 'preferredName', p.preferred_name, 'birthDate', p.birth_date,
    'pronouns', p.pronouns, 'interpreterNeeded', p.interpreter_needed, 'timeZone', p.time_zone,
    'communicationStyle', p.communication_style,
    'contactPoints', (SELECT json_agg(json_build_object('id', c.id, 'system', c.system, 'value', c.value,
        'use', c."use", 'rank', c.rank, 'capabilities', c.capabilities, 'verified', c.verified) ORDER BY c.place)
        FROM contact_point c WHERE c.patient_id = p.id),
    'channelPreferences', (SELECT json_agg(json_build_object('purpose', c.purpose, 'channels', c.channels)
        ORDER BY c.place) FROM channel_preference c WHERE c.patient_id = p.id))::text
FROM patient p WHERE p.id = $1"""
_MANY = """SELECT json_agg(json_build_object('id', p.id, 'version', p.version, 'displayName', p.display_name,
    'preferredName', p.preferred_name, 'pronouns', p.pronouns, 'interpreterNeeded', p.interpreter_needed,
    'timeZone', p.time_zone,
    'contactPoints', (SELECT json_agg(json_build_object('system', c.system, 'value', c.value, 'use', c."use",
        'rank', c.rank) ORDER BY c.place) FROM contact_point c WHERE c.patient_id = p.id)) ORDER BY w.place)::text
FROM unnest($1::uuid[]) WITH ORDINALITY AS w (id, place) JOIN patient p USING (id)"""


def main() -> None:
    """Serves the tables at a URL on a loopback port."""
    url, port = sys.argv[1], int(sys.argv[2])

    @asynccontextmanager
    async def lifespan(app: Starlette):
        async with asyncpg.create_pool(url, min_size=10, max_size=10) as app.state.pool:
            yield

    async def graphql(request: Request) -> Response:
        variables = orjson.loads(await request.body())["variables"]
        async with request.app.state.pool.acquire() as connection:
            if "id" in variables:
                text = await connection.fetchval(_ONE, UUID(variables["id"]))
                body = '{"data":{"patient":' + text + "}}"
            else:
                text = await connection.fetchval(_MANY, [UUID(each) for each in variables["ids"]])
                body = '{"data":{"patients":' + text + "}}"
        return Response(body, media_type="application/json")

    app = Starlette(routes=[Route("/graphql", graphql, methods=["POST"])], lifespan=lifespan)
    uvicorn.run(app, port=port, **SERVING)


if __name__ == "__main__":
    main()
