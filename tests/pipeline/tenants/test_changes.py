"""What differs between two versions, in the words of tenant.yaml."""

from dataclasses import replace

from pipeline.tenants.changes import changes
from pipeline.tenants.model import Connection, Route, RouteSource, Tenant

ENDPOINT = Connection("erp", "rest", "https://erp.example")
ORDERS = Route("orders", RouteSource("public.orders"), "order", "erp")
ACME = Tenant("acme", "4711", connections={"erp": ENDPOINT}, routes={"orders": ORDERS})


def test_members_are_called_as_tenant_yaml_calls_them() -> None:
    slower = replace(ENDPOINT, timeout_s=60.0, base_url="https://erp2.example")
    after = replace(ACME, connections={"erp": slower}, routes={"orders": replace(ORDERS, deadline_s=60.0)})
    assert changes(ACME, after) == [
        "connection erp changed: base_url, timeout",
        "route orders changed: deadline",
    ]
