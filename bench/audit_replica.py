"""One of several processes that write into one log: `python -m bench.audit_replica URL NAME`.

For each line `SECONDS CLIENTS` on its input it lets so many clients record events for so long, and answers with a line
of JSON. Ends with its input.
"""

import asyncio
import sys
import time

import orjson
import uvloop

from bench.anatomy import Counting
from bench.load import measure
from commands.house import clock
from crm.audit.event import Act, Event, Who
from crm.audit.writer import LogWriter
from crm.store.database import connect
from crm.store.log import LogSink
from tests.logs import signer

LOG = "shared"

_WHO = Who(iss="https://idp.example", sub="u-0042", roles=("front_desk",), org="org-12", client="desk", jti="t-77")
_FIELDS = ("preferredName", "contactPoints", "languages", "displayName", "accessNeeds")


def event() -> Event:
    """A look-up of five fields, whose leaf has about 500 octets."""
    return Event(
        Act.READ, op="PatientProfile", req="r-1", who=_WHO, pou="TREAT", pat="a" * 32, fld=_FIELDS, obj=7,
        pol="sha256:ab",
    )  # fmt: skip


async def _serve(url: str, name: str) -> None:
    database = connect(url, wait_timeout=60)
    await database.open()
    sink = Counting(LogSink(database, signer))
    writer = LogWriter(sink, node=name, clock=clock, deadline=60)
    await writer.start()

    async def record(_: int) -> bytes:
        await writer.append(LOG, [event()])
        return b""

    await record(0)
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        seconds, clients = line.split()
        sink.events = sink.commits = 0
        slice_ = await measure([record] * int(clients), time.process_time, float(seconds))
        told = {"rate": slice_.rate, "p50": slice_.p50, "cpu": slice_.cpu, "shared": sink.events / sink.commits}
        print(orjson.dumps(told).decode(), flush=True)
    await writer.stop()
    await database.close()


if __name__ == "__main__":
    uvloop.run(_serve(*sys.argv[1:]))
