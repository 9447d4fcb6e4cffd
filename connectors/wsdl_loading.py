"""A connection's WSDL, had when the first delivery needs it: fetched through the egress guard, read off the event loop.

Everything that imports ask for goes the same way. The connection's credentials go to the endpoint's own origin alone.
"""

import asyncio
import hashlib
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from yarl import URL

from connectors.erp_client import ErpClient
from connectors.http_client import NoAnswer
from connectors.protocol import ConnectionSettings, Unavailable
from connectors.soap import is_file_of_tenant
from connectors.wsdl_documents import WsdlDocuments, WsdlInvalid, file_content, file_path, file_url, shown
from connectors.wsdl_model import read_wsdl
from connectors.wsdl_trial import try_out

_LONGEST = 4
"""Of the connection's timeouts, for everything that it takes: a connection that is replaced is kept open for six."""
_UNENDING = frozenset({"basic", "bearer", "api_key", "headers", "oauth1"})
"""Kinds of `auth` that a second client may use beside the first."""
_OF_ENVELOPES = frozenset({"wsse_username", "wsse_signature"})
"""Kinds that add nothing to an HTTP request."""
_reading = ThreadPoolExecutor(max_workers=1, thread_name_prefix="wsdl")
"""One at a time: a WSDL takes a second of CPU, and other threads look names up."""
_read: WeakValueDictionary[str, Any] = WeakValueDictionary()
"""By the digest of all its documents: tenants of one ERP product share what they have in common."""
_refused: dict[str, tuple[float, str]] = {}
"""When and why, by that digest: one that costs ten seconds of CPU must not cost them with every probe of its route."""
_MOST_REFUSED = 64
_NOT_SENT = "; nothing was sent"
AGAIN_S = 600.0
"""After which it is tried once more: what is too slow on a machine that is overloaded may be none later."""
_recent: deque[Any] = deque(maxlen=4)
"""Kept for who comes again: whoever waited may have given up before it was read."""


class WsdlLoader:
    """Of one connection."""

    def __init__(self, settings: ConnectionSettings, client: ErpClient) -> None:
        """client: the connection's own."""
        self._settings = settings
        self._client = client
        wsdl: str = settings.options["wsdl"]
        self._root = file_url(wsdl) if is_file_of_tenant(wsdl) else wsdl
        self._loading = asyncio.Lock()
        self._document: Any = None
        self._failed: tuple[float, NoAnswer] | None = None
        """When, by the monotonic clock, and why."""

    async def document(self) -> Any:
        """As `wsdl_model.read_wsdl` gives it. Raises NoAnswer (Unavailable: nothing was sent)."""
        if self._document is None:
            since = time.monotonic()
            async with self._loading:
                if self._document is None:
                    self._document = await self._loaded(since)
        return self._document

    async def _loaded(self, since: float) -> Any:
        """since: whoever has waited for a try that failed does not wait for another one."""
        if self._failed is not None and self._failed[0] > since:
            raise NoAnswer(self._failed[1].outcome)
        try:
            return await self._load()
        except NoAnswer as error:
            self._failed = time.monotonic(), error
            raise

    async def _load(self) -> Any:
        limit_s = _LONGEST * self._settings.timeout_s
        try:
            async with asyncio.timeout(limit_s):
                documents = await self._collect()
                return await asyncio.get_running_loop().run_in_executor(_reading, understood, documents)
        except WsdlInvalid as error:
            raise unusable(str(error)) from None
        except TimeoutError:
            raise unusable(f"{shown(self._root)} was not read within {limit_s:g} s", "timeout") from None

    async def _collect(self) -> WsdlDocuments:
        """Raises WsdlInvalid, NoAnswer."""
        documents = WsdlDocuments(self._root)
        clients: dict[str, ErpClient] = {}
        try:
            while (url := documents.missing()) is not None:
                path = file_path(url)
                if path is None:
                    documents.add(await self._fetched(url, clients))
                elif path in self._settings.files:
                    documents.add(file_content(self._settings.files[path]))
                else:
                    raise WsdlInvalid(f"{path} is not among the tenant's files; apply the tenant again")
        finally:
            for client in clients.values():
                await client.aclose()
        return documents

    def _way(self, url: str, clients: dict[str, ErpClient]) -> tuple[ErpClient, str, bool]:
        """Who fetches it, the target, and whether with credentials. Raises WsdlInvalid.

        At and below base_url the connection's own client, with all that `auth` does; elsewhere on its origin another with
        what does not end, for two that renew a token would end each other's; on other origins one that has no credentials.
        """
        try:
            origin, own = URL(url).origin(), URL(self._settings.base_url).origin()
        except ValueError as error:
            raise WsdlInvalid(f"{shown(url)} is no URL: {error}") from None
        parts, base = urlsplit(url), urlsplit(self._settings.base_url).path.rstrip("/")
        query = f"?{parts.query}" if parts.query else ""
        path, kind = parts.path or "/", self._settings.auth.get("type")
        if origin == own and (path == base or path.startswith(f"{base}/")):
            return self._client, path[len(base) :] + query, bool(kind) and kind not in _OF_ENVELOPES
        with_auth = origin == own and kind in _UNENDING
        if str(origin) not in clients:
            settings = replace(self._settings, base_url=str(origin))
            if origin != own:
                settings = replace(settings, auth={}, tls={})
            elif not with_auth:
                settings = replace(settings, auth={})
            clients[str(origin)] = ErpClient(settings)
        return clients[str(origin)], path + query, with_auth

    async def _fetched(self, url: str, clients: dict[str, ErpClient]) -> bytes:
        client, target, with_auth = self._way(url, clients)
        headers = {"Accept": "text/xml, application/xml, */*;q=0.5", "User-Agent": "fracttal-bridge"}
        try:
            received = await client.exchange("GET", target, headers, b"")
        except NoAnswer as error:
            outcome = error.outcome
            code = outcome.code if isinstance(outcome, Unavailable) else "wsdl"
            raise unusable(f"{shown(url)}: {outcome.message}", code) from None
        if received.status in (401, 403):
            tried = (
                "the connection's auth does not open it"
                if with_auth
                else "it was asked for without credentials"
            )
            raise unusable(f"{shown(url)}: HTTP {received.status} ({tried})", "authentication")
        if received.status != 200:
            followed = " (redirects are not followed)" if 300 <= received.status < 400 else ""
            raise unusable(f"{shown(url)}: HTTP {received.status}{followed}")
        read = client.readable(received)
        if not read.complete:
            raise WsdlInvalid(
                f"{shown(url)} is larger than what is read; save it, and what it imports, in the tenant's folder wsdl"
            )
        return read.content


def unusable(why: str, code: str = "wsdl") -> NoAnswer:
    why = why.removesuffix(_NOT_SENT)
    return NoAnswer(Unavailable(f"the WSDL cannot be used: {why}{_NOT_SENT}", code=code))


def understood(documents: WsdlDocuments) -> Any:
    """Blocks. Raises WsdlInvalid."""
    digest = hashlib.sha256(documents.root.encode())
    for url, content in sorted(documents.found.items()):
        digest.update(b"\0%d %s\0" % (len(content), url.encode()) + content)
    key = digest.hexdigest()
    found = _read.get(key)
    if found is None:
        _try_out(key, documents)
        found = _read[key] = read_wsdl(documents)
        _recent.append(found)
    return found


def _try_out(key: str, documents: WsdlDocuments) -> None:
    at, why = _refused.get(key, (-AGAIN_S, ""))
    if time.monotonic() - at < AGAIN_S:
        raise WsdlInvalid(why)
    _refused.pop(key, None)
    try:
        try_out(documents)
    except WsdlInvalid as error:
        while len(_refused) >= _MOST_REFUSED:
            del _refused[next(iter(_refused))]
        _refused[key] = time.monotonic(), str(error)
        raise
