"""The order of `bench.kind_rows` for a SOAP ERP: its mapping, its WSDL, its answer."""

from bench.order_fields import order_fields

NAMESPACE = "urn:bench:orders"
SOAP = """
source: {table: public.work_orders, operations: [insert, update]}
connector: soap
repeat: idempotency_key
request:
  operation: CreateOrder
  arguments:
    order:
""" + order_fields(6)
WSDL = f"""<w:definitions xmlns:w="http://schemas.xmlsoap.org/wsdl/" xmlns:s="http://schemas.xmlsoap.org/wsdl/soap/"
  xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:t="{NAMESPACE}" targetNamespace="{NAMESPACE}">
<w:types><xs:schema targetNamespace="{NAMESPACE}" elementFormDefault="qualified">
<xs:complexType name="Order"><xs:sequence>
<xs:element name="sequence" type="xs:long"/><xs:element name="folio" type="xs:string"/>
<xs:element name="description" type="xs:string" minOccurs="0"/><xs:element name="cost" type="xs:decimal"/>
<xs:element name="plant" type="xs:string" minOccurs="0"/><xs:element name="written" type="xs:string" minOccurs="0"/>
</xs:sequence></xs:complexType>
<xs:element name="CreateOrder"><xs:complexType><xs:sequence>
<xs:element name="order" type="t:Order"/></xs:sequence></xs:complexType></xs:element>
<xs:element name="CreateOrderResponse"><xs:complexType><xs:sequence>
<xs:element name="number" type="xs:string"/><xs:element name="total" type="xs:decimal"/>
</xs:sequence></xs:complexType></xs:element></xs:schema></w:types>
<w:message name="in"><w:part name="parameters" element="t:CreateOrder"/></w:message>
<w:message name="out"><w:part name="parameters" element="t:CreateOrderResponse"/></w:message>
<w:portType name="Orders"><w:operation name="CreateOrder">
<w:input message="t:in"/><w:output message="t:out"/></w:operation></w:portType>
<w:binding name="Orders" type="t:Orders"><s:binding transport="http://schemas.xmlsoap.org/soap/http"/>
<w:operation name="CreateOrder"><s:operation soapAction="urn:bench:orders/CreateOrder"/>
<w:input><s:body use="literal"/></w:input><w:output><s:body use="literal"/></w:output></w:operation></w:binding>
<w:service name="Orders"><w:port name="Orders" binding="t:Orders">
<s:address location="http://erp.internal.example/orders"/></w:port></w:service>
</w:definitions>"""
BOOKED = (
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
    f'<CreateOrderResponse xmlns="{NAMESPACE}"><number>PO-4711</number><total>1273.10</total></CreateOrderResponse>'
    "</s:Body></s:Envelope>"
).encode()
