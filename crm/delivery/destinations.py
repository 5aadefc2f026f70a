"""Which network addresses a message may leave for, and the look-up of a name. Sends nothing.

Who registers an address chooses where this machine connects to, so only addresses of the public internet are left: what
is special in the registries of IANA, what carries another address inside itself, and the known addresses under which
clouds serve their own machines are refused. The look-up gives addresses to connect to, so that the name is not asked a
second time: it could then lead elsewhere (DNS rebinding).
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from crm.errors import CrmError

__all__ = ["Forbidden", "Resolve", "Resolver", "admitted", "is_loopback", "is_public"]

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host name, as text, for a port. Raises OSError."""

# https://www.iana.org/assignments/iana-ipv4-special-registry, multicast and the reserved rest.
_SPECIAL_4: Final = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
            "168.63.129.16/32",  # a public address by its number, and in Azure the machine's own host
        ),
    )
)
# https://www.iana.org/assignments/iana-ipv6-special-registry: of what may be routed (2000::/3), all that is special;
# 2001::/23 has Teredo among it, 2002::/16 is 6to4. Mapped and translated addresses (::ffff:0:0/96, 64:ff9b::/96) lie
# outside.
_GLOBAL_6: Final = ip_network("2000::/3")
_SPECIAL_6: Final = tuple(
    map(ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"))
)


class Forbidden(CrmError):
    """A name leads to an address that nothing may be sent to."""


def is_public(address: str) -> bool:
    """Whether an address is one of the public internet and of nothing nearer."""
    try:
        parsed: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return not any(parsed in network for network in _SPECIAL_4)
    return parsed in _GLOBAL_6 and not any(parsed in network for network in _SPECIAL_6)


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return parsed in ip_network("127.0.0.0/8" if parsed.version == 4 else "::1/128")


async def admitted(resolve: Resolve, host: str, port: int, admits: Callable[[str], bool]) -> Sequence[str]:
    """The addresses of a name, each of them one that `admits`. Raises OSError, and Forbidden where any is not.

    One private address among public ones makes the name suspect as a whole.
    """
    found = list(dict.fromkeys(await resolve(host, port)))
    if not found:
        raise OSError("a name without an address")
    if not all(map(admits, found)):
        raise Forbidden("the name leads to an address that nothing may be sent to")
    return found


class Resolver:
    """Asks the system for addresses, on threads of its own: a slow name server must not take those of others."""

    def __init__(self, threads: int = 4) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="names")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """See `Resolve`."""
        found = await asyncio.get_running_loop().run_in_executor(self._threads, _asked, host, port)
        return [str(entry[4][0]) for entry in found]

    def close(self) -> None:
        """Lets the threads go; what they still ask is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _asked(host: str, port: int) -> Sequence[tuple[object, object, object, object, tuple[object, ...]]]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
