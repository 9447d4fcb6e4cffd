"""The kind `soap`: one operation of a WSDL, SOAP 1.1 or 1.2, document or RPC style, literal.

Connection options: `wsdl`, a URL or a file `wsdl/NAME` of the tenant's folder; `service` and `port` where the WSDL has
several; `query` of the endpoint (`{sap-client: "100"}`); `addressing: true` for WS-Addressing. Requests go to base_url,
whatever address the WSDL says.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from connectors.http_request import query_texts
from connectors.http_settings import check_http_settings
from connectors.protocol import (
    Answer,
    ConnectionSettings,
    Connector,
    Leaf,
    Outcome,
    Prepared,
    RequestInvalid,
    RequestKey,
    RequestShape,
    SettingsInvalid,
)
from connectors.xml_payload import xml_elements

_OPERATION = re.compile(r"[^\W\d][\w.-]*")
_OPTIONS = ("wsdl", "service", "port", "query", "addressing")


def operation_name(value: Any) -> str:
    """Raises RequestInvalid."""
    if not isinstance(value, str) or not _OPERATION.fullmatch(value):
        raise RequestInvalid(f"request.operation must be an operation's name, this is {value!r}")
    return value


def argument_tree(value: Any, key: str = "arguments") -> Any:
    """Whether XML can carry it at all; what the WSDL says of it is seen when it is sent. Raises RequestInvalid."""
    if not isinstance(value, Mapping):
        raise RequestInvalid(f"request.{key} must be names and values, this is {type(value).__name__}")
    for _ in xml_elements(key, value, "request"):
        pass
    return value


def _header_tree(value: Any) -> Any:
    return argument_tree(value, "headers")


SHAPE = RequestShape({
    "operation": RequestKey(Leaf.TEXT, required=True, check=operation_name),
    "arguments": RequestKey(Leaf.XML, check=argument_tree),
    "headers": RequestKey(Leaf.XML, check=_header_tree),
}, payload=("arguments",))  # fmt: skip


def prepare(request: Mapping[str, Any], idempotency_key: str) -> Prepared:
    """parts: operation, arguments, headers, idempotency_key; the envelope is made when it is sent, for it takes the WSDL.

    Raises RequestInvalid.
    """
    SHAPE.check_keys("soap", request)
    parts = {
        "operation": operation_name(request.get("operation")),
        "arguments": argument_tree(request.get("arguments") or {}),
        "headers": _header_tree(request.get("headers") or {}),
        "idempotency_key": idempotency_key,
    }
    return Prepared("soap", parts)


def judge(request: Mapping[str, Any], answer: Answer) -> Outcome:
    """What a connection would make of the answer, but for how long to wait."""
    from connectors.soap_fault import classify_answer  # noqa: PLC0415 — who only prepares has no use for it

    _ = request
    return classify_answer(answer, datetime.fromtimestamp(0, UTC))


def check_settings(settings: ConnectionSettings) -> None:
    """Pure; secrets may be unresolved, and files not read. Raises SettingsInvalid."""
    check_http_settings(settings, _OPTIONS, envelopes=True)
    options = settings.options
    _check_wsdl(options.get("wsdl"))
    for name in ("service", "port"):
        if not isinstance(options.get(name, ""), str):
            raise SettingsInvalid(name, "must be a name that the WSDL has")
    if not isinstance(options.get("addressing", False), bool):
        raise SettingsInvalid("addressing", "must be true or false")
    try:
        query_texts(options.get("query"))
    except RequestInvalid:
        raise SettingsInvalid("query", "must be names and values") from None


def _check_wsdl(wsdl: Any) -> None:
    how = "a URL (https://…?wsdl), or a file of the tenant's folder (wsdl/NAME.wsdl)"
    if not isinstance(wsdl, str) or not wsdl:
        raise SettingsInvalid("wsdl", f"is missing: {how}")
    if wsdl.startswith(("http://", "https://")):
        from yarl import URL  # noqa: PLC0415 — which who renders has no use for

        try:
            url = URL(wsdl)
        except ValueError as error:
            raise SettingsInvalid("wsdl", f"is no URL: {error}") from None
        if not url.raw_host or url.raw_user is not None or url.raw_fragment:
            raise SettingsInvalid(
                "wsdl", "must be https://HOST/PATH, with no user and no #; write credentials under auth"
            )
        return
    if not is_file_of_tenant(wsdl):
        raise SettingsInvalid("wsdl", f"must be {how}")


def is_file_of_tenant(path: str) -> bool:
    """`wsdl/…`, and nowhere else."""
    parts = PurePosixPath(path).parts
    return (
        len(parts) > 1 and parts[0] == "wsdl" and ".." not in parts and "\\" not in path and ":" not in path
    )


def connection_files(options: Mapping[str, Any], read: Callable[[str], str]) -> dict[str, str]:
    """The tenant's files that a connection needs, by their paths: its WSDL, and the files that one imports.

    read: a file's text, by its path below the tenant's folder. Raises SettingsInvalid, and what `read` raises.
    """
    wsdl = options.get("wsdl")
    if not isinstance(wsdl, str) or not is_file_of_tenant(wsdl):
        return {}
    # lxml, which only tenants with such a connection need
    from connectors.wsdl_documents import WsdlDocuments, WsdlInvalid, file_content, file_path, file_url  # noqa: PLC0415

    found: dict[str, str] = {}
    documents = WsdlDocuments(file_url(wsdl))
    try:
        while (url := documents.missing()) is not None:
            path = file_path(url)
            if path is None:
                documents.skip()
                continue
            if not is_file_of_tenant(path):
                raise WsdlInvalid(f"{path} is imported, and stands outside the folder wsdl")
            found[path] = read(path)
            documents.add(file_content(found[path]))
    except WsdlInvalid as error:
        raise SettingsInvalid("wsdl", str(error)) from None
    return found


def showing(settings: ConnectionSettings) -> Callable[[Prepared], dict[str, Any]]:
    """The envelope besides, where the tenant's version holds the whole WSDL; without what WS-Security adds.

    What it gives raises RequestInvalid for a request that does not fit, and where the WSDL cannot be used.
    """
    wsdl = settings.options.get("wsdl")
    if not isinstance(wsdl, str) or not is_file_of_tenant(wsdl):
        return Prepared.to_json
    from connectors.soap_preview import EnvelopePreview  # noqa: PLC0415 — zeep, which who only prepares does not need

    return EnvelopePreview(settings)


def open_connector(settings: ConnectionSettings) -> Connector:
    """Connects to nothing yet. Raises SettingsInvalid."""
    # zeep takes a fifth of a second to import, and who only renders needs none of it
    from connectors.soap_connector import SoapConnector  # noqa: PLC0415

    check_settings(settings)
    return SoapConnector(settings)
