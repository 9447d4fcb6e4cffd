"""One SOAP binding of a WSDL: a request as its envelope, an answer as an outcome. Pure."""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from lxml import etree

from connectors.answers import read_answer
from connectors.classification import classify
from connectors.error_text import error_text
from connectors.http_request import header_texts
from connectors.protocol import Answer, Delivered, Outcome, RequestInvalid, Uncertain
from connectors.safe_xml import local_name
from connectors.soap_answer import AnswerReader
from connectors.soap_arguments import ArgumentWriter, untyped_elements
from connectors.soap_envelope import Envelope, read_envelope, read_fault
from connectors.soap_fault import classify_answer
from connectors.wsdl_model import one_of
from connectors.xml_payload import XSI

_WSA = "http://www.w3.org/2005/08/addressing"
_SOAP_11 = "http://schemas.xmlsoap.org/soap/envelope/"
MOST_TAGS = 40_000
"""Of an answer that is read as a tree: nobody else's deliveries wait any longer for it."""
_EMPTY = frozenset({202, 204})
_HAS_FAULT = re.compile(rb"<([\w.-]+:)?Fault[\s>]")
_BEGINS_AS_ENVELOPE = re.compile(rb"<([\w.-]+:)?Envelope[\s>]")


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer: content without secrets, whole or its beginning. headers: names in lower case."""

    status: int
    headers: Sequence[tuple[str, str]]
    content: bytes
    whole: bool


@dataclass(frozen=True, slots=True)
class Message:
    """A request on its way: WS-Security may still be added to the envelope."""

    operation: Any
    envelope: Any
    headers: Mapping[str, str]

    def content(self) -> bytes:
        content: bytes = etree.tostring(self.envelope, xml_declaration=True, encoding="utf-8")
        return content


class SoapService:
    """document: the WSDL as `wsdl_model.read_wsdl` reads it; address: for WS-Addressing, None where it is not wanted."""

    def __init__(self, document: Any, binding: Any, address: str | None) -> None:
        self._schema = document.types
        self._binding = binding
        self._address = address
        self._namespace = binding.nsmap["soap-env"]
        self._write = ArgumentWriter(document.types)
        self._read = AnswerReader(document.types)

    def message(self, parts: Mapping[str, Any]) -> Message:
        """parts: of `soap.prepare`. Raises RequestInvalid where the WSDL has it otherwise."""
        operations = self._binding.all()
        name = parts["operation"]
        operation = operations.get(name)
        if operation is None or operation.input is None:
            raise RequestInvalid(
                f"request.operation: the WSDL has no operation {name!r}{one_of(name, operations)}"
            )
        envelope = etree.Element(
            f"{{{self._namespace}}}Envelope", nsmap={"soap": self._namespace, "xsi": XSI}
        )
        self._write.begin()
        self._add_headers(envelope, operation, parts)
        self._add_body(
            etree.SubElement(envelope, f"{{{self._namespace}}}Body"), operation, parts["arguments"]
        )
        return Message(operation, envelope, self._http_headers(operation, parts["idempotency_key"]))

    def _add_body(self, body: Any, operation: Any, arguments: Mapping[str, Any]) -> None:
        content = operation.input.body
        path = "request.arguments"
        if content is None:
            if arguments:
                raise RequestInvalid(f"{path}: operation {operation.name} takes none")
        elif content.qname == body.tag:  # several parts, each an element of the Body
            self._write.complex(body, content.type, arguments, path)
        else:
            self._write.element(body, content, arguments, path)

    def _add_headers(self, envelope: Any, operation: Any, parts: Mapping[str, Any]) -> None:
        if not parts["headers"] and self._address is None:
            return
        header = etree.SubElement(envelope, f"{{{self._namespace}}}Header")
        if self._address is not None:
            # the same for every attempt, so that who remembers MessageIDs takes a repeat for one
            message_id = uuid.uuid5(uuid.NAMESPACE_URL, f"fracttal-bridge:{parts['idempotency_key']}")
            action = operation.abstract.wsa_action or operation.soapaction or ""
            for name, text in (
                ("Action", action),
                ("MessageID", f"urn:uuid:{message_id}"),
                ("To", self._address),
            ):
                etree.SubElement(header, f"{{{_WSA}}}{name}", nsmap={"wsa": _WSA}).text = text
        declared = dict(operation.input.header.type.elements)
        for name, value in parts["headers"].items():
            self._add_header(header, name, value, declared)

    def _add_header(self, header: Any, name: str, value: Any, declared: Mapping[str, Any]) -> None:
        """One that the operation declares, one of the WSDL's elements, or any with an `@xmlns` of its own."""
        path = f"request.headers.{name}"
        found = [each for part, each in declared.items() if name in (part, each.name)]
        found = found or [each for each in self._schema.elements if each.name == name and each.is_global]
        if len(found) == 1:
            self._write.element(header, found[0], value, path)
        elif isinstance(value, Mapping) and any(key.startswith("@xmlns") for key in value):
            for each in untyped_elements({name: value}, "request.headers"):
                header.append(each)
        else:
            known = [each.name for each in declared.values()]
            raise RequestInvalid(
                f"{path}: the WSDL has no element of this name{one_of(name, known)}; for one that it does not know "
                'write its namespace: {"@xmlns": "urn:…"}'
            )

    def _http_headers(self, operation: Any, idempotency_key: str) -> dict[str, str]:
        action = (operation.soapaction or "").replace('"', "%22")
        if self._namespace == _SOAP_11:
            own = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{action}"'}
        else:
            about = f'; action="{action}"' if action else ""
            own = {"Content-Type": f"application/soap+xml; charset=utf-8{about}"}
        return header_texts({
            "Accept": "application/soap+xml, text/xml, multipart/related",
            "Idempotency-Key": idempotency_key,
            "User-Agent": "fracttal-bridge",
            **own,
        })  # fmt: skip

    def outcome(self, operation: Any, heard: Heard, now: datetime) -> Outcome:
        """now: aware."""
        bare = read_answer(heard.status, heard.headers, b"", truncated=False)
        envelope = None
        if heard.whole:
            envelope = read_envelope(heard.content, bare.headers.get("content-type", ""))
        if envelope is None:
            return _without_envelope(heard, now, expected=operation.output is not None)
        is_large = heard.content.count(b"<") > MOST_TAGS
        if envelope.fault:
            fault = read_fault(envelope, detailed=not is_large)
            return classify_answer(replace(bare, body=fault.to_json()), now)
        if is_large:
            return classify(_as_text(heard, whole=False), now)
        return classify(replace(bare, body=self._value(operation, envelope)), now)

    def _value(self, operation: Any, envelope: Envelope) -> Any:
        content = envelope.content
        if content is None:
            return None
        body = None if operation.output is None else operation.output.body
        if body is None:
            return self._read.value(content, None)
        # the wrapper of an RPC answer may have any name (WSDL 1.1, 3.5)
        fits = operation.style == "rpc" or local_name(content.tag) == body.name
        return self._read.value(content, body.type if fits else None)


def _without_envelope(heard: Heard, now: datetime, *, expected: bool) -> Outcome:
    """A 2xx without SOAP is no answer of the ERP's but of somebody before it, unless it is empty, as to a one-way call, and
    that is what the WSDL says (expected) or the status.
    """
    answer = _as_text(heard, whole=heard.whole)
    empty = not heard.content.strip() and (not expected or heard.status in _EMPTY)
    if not 200 <= answer.status < 300 or empty:
        return classify(answer, now)
    begin = heard.content[:10_000]
    if answer.truncated and _BEGINS_AS_ENVELOPE.search(begin) and not _HAS_FAULT.search(begin):
        return Delivered(answer)
    if not heard.content.strip():
        what = (
            "an empty answer, and the WSDL says that it answers; where that is right, write ok: status == 200"
        )
        return Uncertain(f"HTTP {answer.status} and {what}", answer)
    text = error_text(answer.body).text
    return Uncertain(f"HTTP {answer.status} without SOAP in it: {text[:200]}", answer)


def _as_text(heard: Heard, *, whole: bool) -> Answer:
    return read_answer(heard.status, heard.headers, heard.content, truncated=not whole)
