"""A SOAP answer by itself, without its WSDL: its envelope, its fault, and elements as JSON values. Pure.

An element is an object of its children by name, `@name` its attributes, `#text` text beside them; what comes more than
once is a list, xsi:nil is null, and what is nothing but text is that text.
"""

from dataclasses import dataclass
from itertools import islice
from typing import Any

from connectors.error_text import one_line
from connectors.multipart_answer import first_part
from connectors.safe_xml import XmlUnreadable, local_name, parse_xml
from connectors.soap_fault import Fault
from connectors.xml_payload import XSI

ENVELOPES = {
    "http://schemas.xmlsoap.org/soap/envelope/": "1.1",
    "http://www.w3.org/2003/05/soap-envelope": "1.2",
}
"""SOAP's versions by their envelopes' namespaces."""
DEEPEST = 100
_MOST_CODES = 10


@dataclass(frozen=True, slots=True)
class Envelope:
    """An answer that is SOAP. content: the Body's first element, None where it is empty; fault: whether that is a Fault."""

    namespace: str
    content: Any

    @property
    def fault(self) -> bool:
        return self.content is not None and self.content.tag == f"{{{self.namespace}}}Fault"


def read_envelope(content: bytes, content_type: str) -> Envelope | None:
    """None: it is none, as a proxy's page."""
    try:
        root = parse_xml(_root_part(content, content_type))
    except XmlUnreadable:
        return None
    namespace = root.tag[1:].partition("}")[0]
    if namespace not in ENVELOPES or local_name(root.tag) != "Envelope":
        return None
    body = root.find(f"{{{namespace}}}Body")
    return None if body is None else Envelope(namespace, next(iter(body), None))


def _root_part(content: bytes, content_type: str) -> bytes:
    """Of SOAP with attachments and MTOM (`multipart/related`) the first part, which is the envelope."""
    if not content_type.lower().lstrip().startswith("multipart/related"):
        return content
    found = first_part(content, content_type)
    return content if found is None else found


def read_fault(envelope: Envelope, *, detailed: bool = True) -> Fault:
    """Of an envelope that holds one."""
    node = envelope.content
    parts = {local_name(child.tag): child for child in node}
    if "Code" in parts:
        codes = [
            one_line((each.text or "").strip())
            for each in islice(parts["Code"].iter(f"{{{envelope.namespace}}}Value"), _MOST_CODES)
        ]
        text = next((each.text or "" for each in parts["Reason"]), "") if "Reason" in parts else ""
    else:
        codes = [one_line((parts["faultcode"].text or "").strip())] if "faultcode" in parts else []
        text = parts["faultstring"].text or "" if "faultstring" in parts else ""
    code, *subcodes = [_plain(each) for each in codes] or [""]
    code, _, dotted = code.partition(".")
    detail = parts.get("detail", parts.get("Detail"))
    name = {"Sender": "Client", "Receiver": "Server"}.get(code, code)
    return Fault(
        name if name in {"Client", "Server"} else _plain(codes[0]) if codes else "",
        tuple(
            each for each in ([dotted] if dotted and name in {"Client", "Server"} else []) + subcodes if each
        ),
        one_line(text),
        generic(detail) if detail is not None and detailed else None,
    )


def _plain(code: str) -> str:
    return code.rpartition(":")[2]


def generic(node: Any, depth: int = DEEPEST) -> Any:
    """An element by itself: text, or an object where it has children or attributes."""
    if node.get(f"{{{XSI}}}nil") in ("true", "1"):
        return None
    found: dict[str, Any] = {
        f"@{local_name(name)}": text
        for name, text in node.attrib.items()
        if not name.startswith(f"{{{XSI}}}")
    }
    if depth == 0 or not len(node):
        text = "".join(node.itertext())
        return text if not found else {**found, **({"#text": text} if text.strip() else {})}
    for child in node:
        put(found, local_name(child.tag), generic(child, depth - 1), repeats=False)
    return found


def put(found: dict[str, Any], name: str, value: Any, *, repeats: bool) -> None:
    if repeats:
        found.setdefault(name, []).append(value)
    elif name not in found:
        found[name] = value
    elif isinstance(found[name], list):
        found[name].append(value)
    else:
        found[name] = [found[name], value]
