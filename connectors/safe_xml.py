"""Reads XML that somebody else wrote: no DTD, so no entity either, no network, and libxml2's own limits. Pure.

SOAP forbids DTDs (SOAP 1.1, 3; SOAP 1.2 part 1, 5), and no WSDL needs one.
"""

from typing import Any

from lxml import etree


class XmlUnreadable(ValueError):
    """It is no XML, or has a DTD: says why."""


def parse_xml(content: bytes) -> Any:
    """The root element, comments and processing instructions left out. Raises XmlUnreadable."""
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(content, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise XmlUnreadable(f"is no XML: {error}") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise XmlUnreadable("has a DTD, which is not read")
    return root


def local_name(tag: Any) -> str:
    """`{namespace}name` without its namespace."""
    text: str = tag
    return text.rpartition("}")[2]
