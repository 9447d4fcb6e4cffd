"""Schemas that WSDLs import and nobody has to fetch: SOAP 1.1's encoding (section 5) and XML's own attributes. Pure.

Written from the specifications, as far as a WSDL can refer to them.
"""

_XSD = "http://www.w3.org/2001/XMLSchema"
SOAP_ENCODING = "http://schemas.xmlsoap.org/soap/encoding/"
_SIMPLE = (
    *("string", "boolean", "decimal", "float", "double", "duration", "dateTime", "time", "date", "anyURI"),
    *("integer", "long", "int", "short", "byte", "nonNegativeInteger", "positiveInteger", "unsignedLong"),
    *("unsignedInt", "unsignedShort", "unsignedByte", "hexBinary", "base64Binary", "QName", "token"),
)


def _simple(name: str) -> str:
    return (
        f'<xs:complexType name="{name}"><xs:simpleContent><xs:extension base="xs:{name}">'
        '<xs:attributeGroup ref="tns:commonAttributes"/></xs:extension></xs:simpleContent></xs:complexType>'
    )


_ENCODING = f"""<xs:schema xmlns:xs="{_XSD}" xmlns:tns="{SOAP_ENCODING}" targetNamespace="{SOAP_ENCODING}">
<xs:attribute name="arrayType" type="xs:string"/>
<xs:attribute name="offset" type="xs:string"/>
<xs:attribute name="root" type="xs:boolean"/>
<xs:attribute name="position" type="xs:string"/>
<xs:attributeGroup name="commonAttributes">
<xs:attribute name="id" type="xs:ID"/><xs:attribute name="href" type="xs:anyURI"/>
</xs:attributeGroup>
<xs:attributeGroup name="arrayAttributes">
<xs:attribute ref="tns:arrayType"/><xs:attribute ref="tns:offset"/>
</xs:attributeGroup>
<xs:group name="Array"><xs:sequence>
<xs:any namespace="##any" minOccurs="0" maxOccurs="unbounded" processContents="lax"/>
</xs:sequence></xs:group>
<xs:complexType name="Array"><xs:group ref="tns:Array" minOccurs="0"/>
<xs:attributeGroup ref="tns:arrayAttributes"/><xs:attributeGroup ref="tns:commonAttributes"/>
</xs:complexType>
<xs:simpleType name="base64"><xs:restriction base="xs:base64Binary"/></xs:simpleType>
{"".join(map(_simple, _SIMPLE))}
</xs:schema>""".encode()

_XML = f"""<xs:schema xmlns:xs="{_XSD}" targetNamespace="http://www.w3.org/XML/1998/namespace">
<xs:attribute name="lang" type="xs:string"/>
<xs:attribute name="space" type="xs:string"/>
<xs:attribute name="base" type="xs:anyURI"/>
<xs:attribute name="id" type="xs:ID"/>
<xs:attributeGroup name="specialAttrs">
<xs:attribute name="lang" type="xs:string"/><xs:attribute name="space" type="xs:string"/>
</xs:attributeGroup>
</xs:schema>""".encode()

STAND_INS = {
    SOAP_ENCODING: _ENCODING,
    **{
        f"{scheme}://www.w3.org/{path}": _XML
        for scheme in ("http", "https")
        for path in ("2001/xml.xsd", "2001/03/xml.xsd")
    },
}
"""By the URLs they are imported by."""
