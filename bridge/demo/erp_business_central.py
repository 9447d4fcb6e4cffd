"""A Dynamics 365 Business Central-like API v2.0: companies, ETags, numbers that exist, too many requests.

As Microsoft's reference says ("API v2.0", "Troubleshooting OData/API calls", "Working with API limits"): a token of Microsoft
Entra by client credentials; entities below `companies({id})`; a PATCH wants If-Match, and 409 Request_EntityChanged is who was
slower; a number that is taken is 400 Internal_EntityWithSameKeyExists; 429 beyond its limit. Nothing is remembered of a
request: who repeats one without a number of its own gets a second document. Simpler: a `$filter` knows `eq` and `and`
alone; `$expand` knows an order's lines; Entra is asked at the same server.
"""

import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from bridge.demo.erp_business_central_entities import ENTITIES, BcEntity
from bridge.demo.erp_entities import Flaw, first_flaw
from bridge.demo.erp_odata import NotUnderstood, matches, read_address, read_filter
from bridge.demo.erp_server import Call, ErpServer, Reply
from bridge.demo.erp_throttle import Throttle
from bridge.demo.erp_tokens import TokenEndpoint, client_secret

CLIENT = "4d5a7c52-7a3c-4b0e-9a43-1c1b9d1f7e10"
CLIENT_SECRET = "business-central-erp-demo-secret"  # noqa: S105  the simulator's own, for this machine alone
SCOPE = "https://api.businesscentral.dynamics.com/.default"
TOKEN_PATH = "/acme.example/oauth2/v2.0/token"  # noqa: S105 — an address
COMPANY = "c6d3a6a1-1b5e-4b57-9d4e-0a8f6c1c2f11"
PATH = "/v2.0/production/api/v2.0"


class BusinessCentralErp(ErpServer):
    """documents: by entity and id, as last written."""

    def __init__(self, rate: int = 0, *, manual_numbers: bool = True) -> None:
        """rate: requests it takes within a second, 0: any number. manual_numbers: its series take the caller's numbers."""
        super().__init__()
        self.tokens = TokenEndpoint(TOKEN_PATH, client_secret(CLIENT, CLIENT_SECRET, SCOPE))
        self._throttle = Throttle(rate)
        self.documents: dict[tuple[str, str], dict[str, Any]] = {}
        self._versions: dict[tuple[str, str], int] = {}
        self._manual_numbers = manual_numbers

    def handle(self, call: Call) -> Reply:
        if call.path == TOKEN_PATH:
            return self.tokens.answer(call)
        if not self.tokens.knows(call):
            rejected = "The server has rejected the client credentials"
            return _error(401, "Authentication_InvalidCredentials", rejected)
        if self._throttle.refuses():
            reply = _error(429, "Application_TooManyRequests", "Too many requests")
            return Reply(429, reply.body, {"Retry-After": "1"})
        rest = unquote(call.path).removeprefix(PATH)
        company, _, last = rest.removeprefix("/").partition("/")
        if not call.path.startswith(f"{PATH}/") or company != f"companies({COMPANY})":
            return _error(404, "Internal_CompanyNotFound", "Cannot find the company of this request")
        try:
            address = read_address(last)
            entity = ENTITIES[address.name]
            return self._dispatch(call, entity, address.key.get("", ""))
        except NotUnderstood as error:
            return _error(400, "BadRequest_InvalidRequestUrl", f"Not understood: {error}")
        except KeyError:
            return _error(404, "BadRequest_ResourceNotFound", f"Resource not found for the segment '{last}'")

    def _dispatch(self, call: Call, entity: BcEntity, key: str) -> Reply:
        match call.method:
            case "GET" if key:
                found = (entity.name, key) in self.documents
                missing = _error(404, "Internal_RecordNotFound", f"The {entity.title} does not exist")
                return Reply(200, self._shown(entity, key, call.query)) if found else missing
            case "GET":
                return self._list(entity, call.query)
            case "POST" if not key:
                return self._create(entity, call)
            case "PATCH" if key:
                return self._update(entity, key, call)
            case _:
                return _error(405, "BadRequest_MethodNotAllowed", f"{call.method} is not allowed")

    def _list(self, entity: BcEntity, query: str) -> Reply:
        wanted = read_filter(query)
        shown = (self._shown(entity, key, query) for name, key in self.documents if name == entity.name)
        return Reply(200, {"value": [document for document in shown if matches(document, wanted)]})

    def _shown(self, entity: BcEntity, key: str, query: str = "") -> dict[str, Any]:
        place = (entity.name, key)
        expanded = dict(parse_qsl(query)).get("$expand", "")
        hidden = {entity.lines} - {expanded}
        own = {name: value for name, value in self.documents[place].items() if name not in hidden}
        return {"@odata.etag": f'W/"JzE5OzE{self._versions[place]:04}"', "id": key, **own}

    def _create(self, entity: BcEntity, call: Call) -> Reply:
        flaw = first_flaw(entity.fields, call.body)
        if flaw is not None:
            return _flawed(flaw)
        number = call.body.get("number", "")
        if number and not self._manual_numbers:
            manual = "You may not enter numbers manually. If you want to, please activate Manual Nos."
            return _error(400, "Application_DialogException", manual)
        if number and self._is_taken(entity, number):
            taken = f"The record already exists. Identification fields and values: No.='{number}'"
            return _error(400, "Internal_EntityWithSameKeyExists", taken)
        key = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{entity.name}/{len(self.documents)}"))
        own = {
            **entity.defaults,
            **call.body,
            "number": number or f"{entity.title[:1].upper()}{len(self.documents):05}",
        }
        self._store((entity.name, key), own)
        self.record("created", entity.name, number or key, call)
        return Reply(201, self._shown(entity, key))

    def _is_taken(self, entity: BcEntity, number: str) -> bool:
        known = (document for (name, _), document in self.documents.items() if name == entity.name)
        return any(document["number"] == number for document in known)

    def _store(self, place: tuple[str, str], document: Mapping[str, Any]) -> None:
        self.documents[place] = dict(document)
        self._versions[place] = self._versions.get(place, 0) + 1

    def _update(self, entity: BcEntity, key: str, call: Call) -> Reply:
        place = (entity.name, key)
        if place not in self.documents:
            return _error(404, "Internal_RecordNotFound", f"The {entity.title} does not exist")
        condition = call.headers.get("if-match", "")
        if not condition:
            missing = "Could not validate the client concurrency token required by the service."
            return _error(400, "BadRequest_InvalidToken", missing)
        if condition not in {"*", self._shown(entity, key)["@odata.etag"]}:
            return _error(409, "Request_EntityChanged", "Another user has already changed the record.")
        flaw = first_flaw(entity.fields, call.body, new=False)
        if flaw is not None:
            return _flawed(flaw)
        before = self.documents[place]
        if {**before, **call.body} != before:
            self._store(place, {**before, **call.body})
            self.record("updated", entity.name, str(before["number"]), call)
        return Reply(200, self._shown(entity, key))


def _flawed(flaw: Flaw) -> Reply:
    match flaw.what:
        case "unknown":
            message = f"The property '{flaw.name}' does not exist on this type. Make sure to only use property names that are defined by the type."
            return _error(400, "BadRequest", message)
        case "long":
            value = str(flaw.value)
            message = f"The length of the string is {len(value)}, but it must be less than or equal to {flaw.most} characters. Value: {value}"
            return _error(400, "Application_StringExceededLength", message)
        case "missing":
            return _error(
                400, "BadRequest_RequiredParamNotProvided", f"Field '{flaw.name}' must not be blank or empty."
            )
        case _:
            return _error(400, "BadRequest", f"Unable to convert the value of '{flaw.path}'")


def _error(status: int, code: str, message: str) -> Reply:
    return Reply(
        status,
        {
            "error": {
                "code": code,
                "message": f"{message}  CorrelationId:  7f4e0a54-6d1e-4c1b-a0c4-6c2a0a1f0c5b.",
            }
        },
    )
