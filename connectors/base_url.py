"""A connection's `base_url`: where its requests go. Pure; which addresses are allowed is judged at connect."""

import re
from ipaddress import IPv4Address
from urllib.parse import urlsplit

import httpx
from yarl import URL

from connectors.http_request import path_target
from connectors.protocol import RequestInvalid, SettingsInvalid

_BLANK = re.compile(r"[\x00-\x20\x7f]")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)


def check_base_url(text: str) -> None:
    """Raises SettingsInvalid for anything but http(s)://HOST[:PORT][/PATH]."""
    if _BLANK.search(text):  # the parsers would drop some of them without a word
        raise SettingsInvalid("base_url", "must hold no blank and no control character")
    try:
        url, parts = URL(text), urlsplit(text)
        httpx.URL(str(url.origin()))
    except (ValueError, httpx.InvalidURL) as error:
        raise SettingsInvalid("base_url", f"is no URL: {error}") from None
    if url.scheme not in {"http", "https"} or not url.raw_host or parts.port == 0:
        raise SettingsInvalid("base_url", "must be https://HOST or http://HOST, with a path or not")
    if parts.username is not None or parts.password is not None:
        raise SettingsInvalid("base_url", "must hold no credentials; write them under auth")
    if "?" in text or "#" in text:
        raise SettingsInvalid("base_url", "must hold no query and no fragment")
    _check_host(url.raw_host)
    try:
        path_target(parts.path or "/")
    except RequestInvalid as error:
        raise SettingsInvalid("base_url", str(error)) from None


def _check_host(host: str) -> None:
    """What ends in a number is an IPv4 address (WHATWG URL, 3.5), and only its plain spelling is taken."""
    if not all(0 < len(label) < 64 for label in host.removesuffix(".").split(".")):  # RFC 1035, 2.3.4
        raise SettingsInvalid("base_url", f"{host} is no host name: a part of it is empty or too long")
    if not _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        return
    try:
        IPv4Address(host)
    except ValueError:
        raise SettingsInvalid("base_url", f"{host} is no plain IPv4 address; write it as 192.0.2.1") from None
