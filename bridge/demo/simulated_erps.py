"""The simulated ERPs that `bridge demo erp NAME` starts, with what a tenant needs to reach them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bridge.demo import (
    erp_business_central,
    erp_business_one,
    erp_erpnext,
    erp_graphql,
    erp_jsonrpc,
    erp_netsuite,
    erp_odoo,
    erp_plain,
    erp_protheus,
    erp_sap,
    erp_siigo,
    erp_soap,
    erp_tryton,
)
from bridge.demo.erp_server import ErpServer

BASE_URL = "BASE_URL"
ORIGIN = "ORIGIN"


@dataclass(frozen=True, slots=True)
class SimulatedErp:
    """One line of the table.

    title: which interface it has. make: with its defaults, calm. connection: what stands beside base_url in
    tenant.yaml, as YAML, with BASE_URL where that stands once more, and ORIGIN for it without its path. secrets: the
    values of the `${secret:NAME}` in it, which open this simulator and nothing else. templates: the folders below
    templates/ whose mappings it takes. path: of base_url, behind the port.
    """

    title: str
    make: Callable[[], ErpServer]
    connection: str
    secrets: Mapping[str, str]
    templates: tuple[str, ...]
    path: str = ""


SIMULATED_ERPS: Mapping[str, SimulatedErp] = {
    "business_central": SimulatedErp(
        "Dynamics 365 Business Central, API v2.0: a token of Entra's, ETags",
        erp_business_central.BusinessCentralErp,
        f"""connector: rest
auth:
  type: oauth2_client_credentials
  token_url: {ORIGIN}{erp_business_central.TOKEN_PATH}
  client_id: {erp_business_central.CLIENT}
  client_secret: "${{secret:business_central_secret}}"
  scope: {erp_business_central.SCOPE}""",
        {"business_central_secret": erp_business_central.CLIENT_SECRET},
        ("business_central",),
        path=erp_business_central.PATH,
    ),
    "business_one": SimulatedErp(
        "SAP Business One, Service Layer: a login, and its cookies with whatever follows",
        erp_business_one.BusinessOneErp,
        f"""connector: rest
auth:
  type: session
  path: /b1s/v1/Login
  body: {{CompanyDB: {erp_business_one.COMPANY}, UserName: {erp_business_one.USERNAME}, Password: "${{secret:b1_password}}"}}""",
        {"b1_password": erp_business_one.PASSWORD},
        ("sap_business_one",),
    ),
    "erpnext": SimulatedErp(
        "ERPNext, Frappe's REST API: unique fields, and locks that are a 417",
        erp_erpnext.ErpNextErp,
        f'connector: rest\nauth: {{type: basic, username: {erp_erpnext.API_KEY}, password: "${{secret:erpnext_secret}}"}}',
        {"erpnext_secret": erp_erpnext.API_SECRET},
        ("erpnext",),
    ),
    "graphql": SimulatedErp(
        "a GraphQL ERP with the names of JTL's cloud ERP",
        erp_graphql.GraphqlErp,
        'connector: graphql\nauth: {type: bearer, token: "${secret:erp_token}"}',
        {"erp_token": erp_graphql.TOKEN},
        ("graphql_erp",),
        path=erp_graphql.PATH,
    ),
    "jsonrpc": SimulatedErp(
        "a small ERP that speaks JSON-RPC 2.0: orders.create, an Idempotency-Key is known",
        erp_jsonrpc.JsonRpcErp,
        'connector: jsonrpc\nauth: {type: bearer, token: "${secret:erp_token}"}',
        {"erp_token": erp_jsonrpc.TOKEN},
        (),
    ),
    "netsuite": SimulatedErp(
        "Oracle NetSuite, REST records",
        erp_netsuite.NetSuiteErp,
        'connector: rest\nauth: {type: bearer, token: "${secret:netsuite_token}"}',
        {"netsuite_token": erp_netsuite.TOKEN},
        ("netsuite",),
    ),
    "odoo": SimulatedErp(
        "Odoo, JSON-2; the older /jsonrpc answers as well",
        erp_odoo.OdooErp,
        f"connector: jsonrpc\ndialect: odoo\ndatabase: {erp_odoo.DATABASE}\n"
        'auth: {type: bearer, token: "${secret:odoo_key}"}',
        {"odoo_key": erp_odoo.API_KEY},
        ("odoo",),
    ),
    "plain": SimulatedErp(
        "a small REST ERP: POST creates, PUT creates or replaces, DELETE deletes, an Idempotency-Key is known",
        erp_plain.PlainErp,
        'connector: rest\nauth: {type: bearer, token: "${secret:erp_token}"}',
        {"erp_token": erp_plain.TOKEN},
        ("generic_rest",),
        path="/api",
    ),
    "protheus": SimulatedErp(
        "TOTVS Protheus, module MNT: service requests, which it does not tell from their repeats",
        erp_protheus.ProtheusErp,
        f'connector: rest\nauth: {{type: basic, username: {erp_protheus.USERNAME}, password: "${{secret:protheus_password}}"}}',
        {"protheus_password": erp_protheus.PASSWORD},
        ("totvs_protheus",),
        path="/rest",
    ),
    "sap": SimulatedErp(
        "SAP S/4HANA, OData: a CSRF token for whatever writes",
        erp_sap.SapErp,
        f'connector: rest\nauth: {{type: basic, username: {erp_sap.USERNAME}, password: "${{secret:sap_password}}"}}\ncsrf: true',
        {"sap_password": erp_sap.PASSWORD},
        ("sap_s4hana",),
    ),
    "siigo": SimulatedErp(
        "Siigo Nube: a token by POST /auth, a Partner-Id with every request",
        erp_siigo.SiigoErp,
        """\
connector: rest
auth:
  type: session
  path: /auth
  headers: {Partner-Id: FracttalBridge}
  body: {username: bridge@acme.example, access_key: "${secret:siigo_access_key}"}
  token: access_token""",
        {"siigo_access_key": erp_siigo.ACCESS_KEY},
        ("siigo",),
    ),
    "soap": SimulatedErp(
        "a SOAP ERP with a WSDL: decimal commas as Senior wants them, faults as NetSuite words them",
        erp_soap.SoapErp,
        f"connector: soap\nwsdl: {BASE_URL}?wsdl\nauth: {{type: wsse_username, username: {erp_soap.USERNAME}, "
        'password: "${secret:erp_password}", digest: true}',
        {"erp_password": erp_soap.PASSWORD},
        ("soap_erp",),
        path=erp_soap.PATH,
    ),
    "tryton": SimulatedErp(
        "Tryton 8: a login whose sessions end, unique codes, requisitions to approve",
        erp_tryton.TrytonErp,
        f"connector: jsonrpc\ndialect: tryton\ndatabase: {erp_tryton.DATABASE}\n"
        f'auth: {{type: login, username: {erp_tryton.USERNAME}, password: "${{secret:tryton_password}}"}}',
        {"tryton_password": erp_tryton.PASSWORD},
        ("tryton",),
    ),
}
"""By the name that people type, in the order of the alphabet."""
