"""TOTVS Protheus, module MNT: service requests by `POST /rest/mntsrws/api/v1/request`, with Basic auth and two headers.

As tdn.totvs.com (pageId=683181217) says: `tenantId` is company and branch, with no blank behind the comma, `x-erp-module` is
MNT; origin, equipment and description are wanted, and the answer is the request's number. It remembers no key: a repeat is a
second request.
"""

import re

from bridge.demo.erp_server import Call, ErpServer, Reply, basic

USERNAME, PASSWORD = "bridge", "protheus-erp-demo-password"
NO_EQUIPMENT = "SEM-BEM"
"""An asset that there is not."""
_TENANT = re.compile(r"[^\s,]+,[^\s,][^,]*")
_DATE_TIME = re.compile(r"\d{8} \d\d:\d\d")
_LENGTHS = {"origin": 20, "equipment": 16, "description": 999, "costCenter": 20}
_REQUIRED = ("origin", "equipment", "description")


class ProtheusErp(ErpServer):
    """documents: service requests by number."""

    def __init__(self) -> None:
        super().__init__(basic(USERNAME, PASSWORD))
        self.documents: dict[str, object] = {}

    def unauthorized(self) -> Reply:
        return _error(401, "Usuário não autenticado")

    def handle(self, call: Call) -> Reply:
        if (call.method, call.path) != ("POST", "/rest/mntsrws/api/v1/request"):
            return _error(404, f"Rota não encontrada: {call.method} {call.path}")
        if not _TENANT.fullmatch(call.headers.get("tenantid", "")):
            return _error(400, "tenantId inválido")
        if call.headers.get("x-erp-module") != "MNT":
            return _error(400, "x-erp-module inválido")
        if problem := _problem(call.body):
            return _error(400, problem)
        number = f"{len(self.documents) + 1:06}"
        self.documents[number] = call.body
        self.record("created", "request", number, call)
        return Reply(201, {"serviceRequest": number})


def _problem(body: object) -> str:
    if not isinstance(body, dict):
        return "Corpo inválido"
    for name in _REQUIRED:
        if not body.get(name):
            return f"Campo obrigatório não informado: {name}"
    for name, length in _LENGTHS.items():
        if len(str(body.get(name, ""))) > length:
            return f"Tamanho máximo excedido: {name}"
    if "dateTime" in body and not _DATE_TIME.fullmatch(str(body["dateTime"])):
        return "Data inválida: dateTime"
    return f"Bem não cadastrado: {NO_EQUIPMENT}" if body["equipment"] == NO_EQUIPMENT else ""


def _error(status: int, message: str) -> Reply:
    return Reply(status, {"errorCode": status, "errorMessage": message})
