"""A WSDL with one operation `Do`, of the types that a test writes."""

from typing import Any

from connectors.soap_service import SoapService
from connectors.wsdl_documents import WsdlDocuments, file_content, file_url
from connectors.wsdl_model import choose_binding, read_wsdl

NAMESPACE = "urn:test"


def wsdl(
    arguments: str, more: str = "", answer: str = "", soap: str = "soap", form: str = "qualified"
) -> str:
    """arguments, answer: the content model of `Do` and of its answer; more: other members of the schema."""
    version = {"soap": "soap", "soap12": "soap12"}[soap]
    return f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<w:definitions xmlns:w="http://schemas.xmlsoap.org/wsdl/" xmlns:t="{NAMESPACE}" targetNamespace="{NAMESPACE}"
  xmlns:s="http://schemas.xmlsoap.org/wsdl/{version}/" xmlns:xs="http://www.w3.org/2001/XMLSchema"
  xmlns:wsam="http://www.w3.org/2007/05/addressing/metadata">
<w:types><xs:schema targetNamespace="{NAMESPACE}" elementFormDefault="{form}">{more}
<xs:element name="Do"><xs:complexType>{arguments}</xs:complexType></xs:element>
<xs:element name="Done"><xs:complexType>{answer}</xs:complexType></xs:element>
</xs:schema></w:types>
<w:message name="in"><w:part name="p" element="t:Do"/></w:message>
<w:message name="out"><w:part name="p" element="t:Done"/></w:message>
<w:portType name="T"><w:operation name="Do">
<w:input message="t:in" wsam:Action="urn:test/T/Do"/><w:output message="t:out"/></w:operation></w:portType>
<w:binding name="B" type="t:T"><s:binding transport="http://schemas.xmlsoap.org/soap/http"/>
<w:operation name="Do"><s:operation soapAction="urn:do"/><w:input><s:body use="literal"/></w:input>
<w:output><s:body use="literal"/></w:output></w:operation></w:binding>
<w:service name="S"><w:port name="P" binding="t:B"><s:address location="http://169.254.169.254/"/></w:port></w:service>
</w:definitions>"""


def service(text: str, address: str | None = None) -> SoapService:
    documents = WsdlDocuments(file_url("wsdl/test.wsdl"))
    documents.add(file_content(text))
    document = read_wsdl(documents)
    return SoapService(document, choose_binding(document, None, None), address)


def parts(arguments: Any, headers: Any = None) -> dict[str, Any]:
    return {
        "operation": "Do",
        "arguments": arguments,
        "headers": headers or {},
        "idempotency_key": "f:0/1:1/acme/orders",
    }
