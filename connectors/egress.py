"""Where a tenant's endpoint may be: not in the operator's own networks, unless the operator's `egress.allow` says so.

Special ranges: the IANA special-purpose address registries (RFC 6890), written out so that every Python version judges
alike. `connectors.egress_guard` asks at connect.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_SPECIAL_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",
            "100.64.0.0/10",  # carrier-grade NAT; a cloud's metadata too
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's host, in every virtual machine
            "169.254.0.0/16",  # link-local; most clouds' metadata
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # IETF protocols, Teredo (an IPv4 address inside) among them
            "2001:db8::/32",
            "2002::/16",  # 6to4: an IPv4 address inside
            "3fff::/20",
        ),
    )
)


class EgressRefused(OSError):
    """The endpoint's address is none that a tenant may reach. Nothing was sent."""


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """allow: networks that a tenant's endpoint may be in although they are not public."""

    allow: tuple[Network, ...] = ()

    def check(self, address: str) -> None:
        """address: IPv4 or IPv6 in its plain spelling. Raises EgressRefused."""
        found = _parse(address)
        if _is_public(found) or any(found in network for network in self.allow):
            return
        raise EgressRefused(
            f"{found} is not a public address: the operator may allow it in bridge.yaml, egress.allow"
        )


def _parse(address: str) -> Address:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        raise EgressRefused(f"{address!r} is not a plain IP address") from None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_V4)
    return address in _GLOBAL_V6 and not any(address in network for network in _SPECIAL_V6)
