"""The box that carries one key class's sealed cells of one patient in one column; it seals nothing itself.

    for each cell, ascending by field number:  field number u16 ‖ length u32 ‖ envelope

Numbers that this program does not know are kept, so that a replica of an older release loses nothing on a change.
"""

from collections.abc import Mapping
from struct import Struct, error

from crm.crypto.envelope import SHORTEST
from crm.errors import Tampered

_ENTRY = Struct(">HI")


def pack(cells: Mapping[int, bytes]) -> bytes:
    """The box around `cells` (field number to envelope); an absent value has no cell."""
    parts: list[bytes] = []
    for number in sorted(cells):
        envelope = cells[number]
        parts += (_ENTRY.pack(number, len(envelope)), envelope)
    return b"".join(parts)


def unpack(box: object) -> dict[int, bytes]:
    """Field number to envelope, ascending; nothing is authenticated yet.

    Raises Tampered unless the numbers ascend and the lengths fill the box exactly with possible envelopes.
    """
    if not isinstance(box, bytes):
        raise Tampered("box")
    cells: dict[int, bytes] = {}
    before, start, end, entry = -1, 0, len(box), _ENTRY.unpack_from
    try:
        while start < end:
            number, length = entry(box, start)
            start += 6
            stop = start + length
            if number <= before or length < SHORTEST or stop > end:
                raise Tampered("box")
            cells[number] = box[start:stop]
            before, start = number, stop
    except error:
        raise Tampered("box") from None
    return cells
