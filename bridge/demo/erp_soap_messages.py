"""The envelopes of the simulated SOAP ERP: what came, and what it answers, in the version that was spoken."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from bridge.demo.erp_server import Reply

NAMESPACE = "urn:erp:maintenance:1"
_SOAP_11 = "http://schemas.xmlsoap.org/soap/envelope/"
_SOAP_12 = "http://www.w3.org/2003/05/soap-envelope"
_WSS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss"
_WSSE = f"{{{_WSS}-wssecurity-secext-1.0.xsd}}"
_WSU = f"{{{_WSS}-wssecurity-utility-1.0.xsd}}"
_BOOKED_AT = "2026-11-24T03:28:19.832-03:00"


class NoEnvelope(ValueError):
    """What came is no SOAP."""


class Request:
    """One request. namespace: of its SOAP version; operation: the name of the Body's element."""

    def __init__(self, text: str) -> None:
        """Raises NoEnvelope."""
        if "<!DOCTYPE" in text:
            raise NoEnvelope("a DTD")
        try:
            root = ET.fromstring(text.encode())  # noqa: S314 — without a DTD there is nothing to unfold
        except ET.ParseError as error:
            raise NoEnvelope(str(error)) from None
        self.namespace, _, name = root.tag[1:].partition("}")
        body = root.find(f"{{{self.namespace}}}Body")
        if self.namespace not in (_SOAP_11, _SOAP_12) or name != "Envelope" or body is None or not len(body):
            raise NoEnvelope(f"a {root.tag}")
        self._root = root
        self._content = body[0]
        self.operation = body[0].tag.removeprefix(f"{{{NAMESPACE}}}")

    def document(self, element: str) -> Any:
        """The operation's one argument, as objects and texts."""
        found = self._content.find(f"{{{NAMESPACE}}}{element}")
        return {} if found is None else _value(found)

    def company(self) -> str:
        return self._root.findtext(f"{{{self.namespace}}}Header/{{{NAMESPACE}}}Company", "")

    def is_by(self, username: str, password: str, nonces: set[str]) -> bool:
        """By its username token, as text or as a digest whose nonce is new (UsernameToken Profile 1.1.1, 3.1)."""
        token = self._root.find(f".//{_WSSE}UsernameToken")
        if token is None or token.findtext(f"{_WSSE}Username") != username:
            return False
        given = token.find(f"{_WSSE}Password")
        if given is None or not given.get("Type", "").endswith("#PasswordDigest"):
            return given is not None and given.text == password
        nonce = token.findtext(f"{_WSSE}Nonce", "")
        hashed = hashlib.sha1(
            base64.b64decode(nonce) + token.findtext(f"{_WSU}Created", "").encode() + password.encode(),
            usedforsecurity=False,
        )
        if nonce in nonces or given.text != base64.b64encode(hashed.digest()).decode():
            return False
        nonces.add(nonce)
        return True

    def booked(self, number: str, total: str, *, duplicate: bool) -> Reply:
        warning = "<e:warning>it was there already</e:warning>" if duplicate else ""
        return self._reply(
            200,
            f'<e:Booked xmlns:e="{NAMESPACE}"><e:result><e:number>{number}</e:number>'
            f"<e:duplicate>{str(duplicate).lower()}</e:duplicate><e:total>{total}</e:total>"
            f"<e:bookedAt>{_BOOKED_AT}</e:bookedAt>{warning}</e:result></e:Booked>",
        )

    def fault(self, code: str, problem: str, message: str, detail: str = "Problem") -> Reply:
        """code: Client or Server, of either version; problem: the ERP's own code."""
        return fault(self.namespace, code, problem, message, detail)

    def _reply(self, status: int, content: str) -> Reply:
        return reply(self.namespace, status, content)


def fault(
    namespace: str, code: str, problem: str, message: str, detail: str = "Problem", status: int = 500
) -> Reply:
    text = escape(message)
    about = (
        f'<e:{detail} xmlns:e="{NAMESPACE}"><e:code>{problem}</e:code><e:message>{text}</e:message></e:{detail}>'
        if problem
        else ""
    )
    if namespace == _SOAP_11:
        content = f"<s:Fault><faultcode>s:{code}</faultcode><faultstring>{text}</faultstring><detail>{about}</detail></s:Fault>"
        return reply(namespace, status, content)
    value = {"Client": "Sender", "Server": "Receiver"}.get(code, code)
    content = (
        f"<s:Fault><s:Code><s:Value>s:{value}</s:Value></s:Code>"
        f'<s:Reason><s:Text xml:lang="en">{text}</s:Text></s:Reason><s:Detail>{about}</s:Detail></s:Fault>'
    )
    return reply(namespace, 400 if code == "Client" else status, content)


def fault_11(code: str, problem: str, message: str, detail: str = "Problem") -> Reply:
    """A SOAP 1.1 fault that answers whatever was asked."""
    return fault(_SOAP_11, code, problem, message, detail)


def reply(namespace: str, status: int, content: str) -> Reply:
    kind = "text/xml" if namespace == _SOAP_11 else "application/soap+xml"
    return Reply(
        status,
        f'<?xml version="1.0" encoding="UTF-8"?>\n<s:Envelope xmlns:s="{namespace}"><s:Body>{content}</s:Body></s:Envelope>',
        {"Content-Type": f"{kind}; charset=utf-8"},
    )


def _value(node: ET.Element) -> Any:
    found: dict[str, Any] = {f"@{name.rpartition('}')[2]}": text for name, text in node.attrib.items()}
    if found.pop("@nil", None) == "true":
        return None
    if not len(node):
        return {**found, "#text": node.text or ""} if found else node.text or ""
    for child in node:
        name, value = child.tag.rpartition("}")[2], _value(child)
        if name == "line":
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    return found


def lines(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(document.get("line", ()))
