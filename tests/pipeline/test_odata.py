"""OData from EVENTS to the ERP and back: what changed since it was read, and change sets."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from bridge.demo.erp_server import Call, Step
from pipeline.tenants.model import RetryPolicy, Tenant
from tests.pipeline.delivering import QUICK, Bus, acme, eventually
from tests.pipeline.odata_erp import SERVICE, ODataErp

UPDATE = f"""
source: {{table: public.orders}}
connector: rest
steps:
  get:
    reads: true
    request: {{method: GET, path: "{SERVICE}/Assets('A-1')"}}
  update:
    request:
      method: PATCH
      path: "{SERVICE}/Assets('A-1')"
      headers: {{If-Match: "{{{{ steps.get.headers.etag }}}}"}}
      body: {{N: "{{{{ after.n }}}}", Was: "{{{{ steps.get.body.d.N }}}}"}}
    repeat: upsert
"""
BATCH = f"""
source: {{table: public.orders}}
connector: rest
request:
  method: POST
  path: {SERVICE}/$batch
  batch:
    - method: POST
      path: Vendors
      body: {{Code: "{{{{ key.id }}}}", Event: "{{{{ event.id }}}}", Lines: [{{N: "{{{{ after.n }}}}"}}]}}
    - method: POST
      path: $1/ToSites
      body: {{Plant: "{{{{ 'CL01' if after.n < 100 else 'XX' }}}}"}}
repeat:
  find:
    request: {{method: GET, path: {SERVICE}/Vendors, query: {{$filter: "Event eq '{{{{ event.id | odata }}}}'"}}}}
    found: body.d.results | length > 0
    save: {{vendor: "{{{{ body.d.results[0].Key }}}}"}}
response:
  save: {{vendor: "{{{{ body.responses[0].body.d.Key }}}}", site: "{{{{ body.responses[1].body.d.Key }}}}"}}
"""


@pytest.fixture
async def erp() -> AsyncIterator[ODataErp]:
    async with ODataErp() as erp:
        yield erp


def tenant(erp: ODataErp, mapping: str, retry: RetryPolicy = QUICK) -> Tenant:
    made = acme(erp, mapping, retry=retry)
    endpoint = replace(made.connections["erp"], auth={}, options={"csrf": f"{SERVICE}/"}, concurrency=8)
    return replace(made, connections={"erp": endpoint})


class Contended(ODataErp):
    """Somebody else writes whenever an asset has just been read, `rivals` times."""

    rivals = 0

    def fate(self, call: Call) -> Step:
        if call.method == "PATCH" and self.rivals:
            self.rivals -= 1
            self.entities["Assets", "A-1"]["N"] = -self.rivals
            self.touch("Assets", "A-1")
        return super().fate(call)


async def test_what_somebody_else_has_written_is_read_again_at_once(shop: Bus) -> None:
    slow = RetryPolicy(max_attempts=5, initial_s=0.6, factor=1.0, max_s=0.6, jitter=0.0)
    async with Contended() as erp:
        erp.entities["Assets", "A-1"] = {"N": 0}
        erp.touch("Assets", "A-1")
        erp.rivals = 1
        await shop.apply(tenant(erp, UPDATE, slow))
        shop.route()
        shop.work()
        await shop.change(1, 5)
        await shop.settled_of(1)
        calls = [(call.method, call.at) for call in erp.calls if call.headers.get("x-csrf-token") != "Fetch"]
        assert [method for method, _ in calls] == ["GET", "PATCH", "GET", "PATCH"]
        assert calls[2][1] - calls[1][1] < 0.5
        assert erp.entities["Assets", "A-1"] == {"N": 5, "Was": 0}
        # one that is written all the time is read again as the route says
        erp.calls.clear()
        erp.rivals = 2
        await shop.change(1, 6)
        await shop.settled_of(2)
        calls = [(call.method, call.at) for call in erp.calls if call.headers.get("x-csrf-token") != "Fetch"]
        assert [method for method, _ in calls] == ["GET", "PATCH"] * 3
        assert calls[2][1] - calls[1][1] < 0.5
        assert calls[4][1] - calls[3][1] >= 0.6
        attempts = await eventually(shop.attempts, lambda found: len(found) == 10)
        assert [(each["step"], each["then"], each["attempt"]) for each in attempts[:4]] == [
            ("get", "next", 1),
            ("update", "retry", 1),
            ("get", "next", 2),
            ("update", "ack", 2),
        ]
        assert await shop.dead_letters() == []


async def test_a_change_set_is_done_whole_once_or_not_at_all(shop: Bus, erp: ODataErp) -> None:
    erp.locked = {1}
    await shop.apply(tenant(erp, BATCH))
    shop.route()
    shop.work()
    await shop.change(1, 5)
    await shop.settled_of(1)
    # a lock first, and then both
    assert Counter(effect.collection for effect in erp.effects) == {"Vendors": 1, "Sites": 1}
    assert erp.entities["Vendors", "V-1"]["Lines"] == [{"N": 5}]
    assert erp.entities["Sites", "S-2"] == {"Plant": "CL01", "Parent": "V-1"}
    # its answer is lost: it is looked up, and not sent again
    erp.script([Step(cut="after")])
    await shop.change(2, 6)
    await shop.settled_of(2)
    assert Counter(effect.collection for effect in erp.effects) == {"Vendors": 2, "Sites": 2}
    # the second of its requests is refused: nothing of it is there
    await shop.change(3, 100)
    [letter] = await eventually(shop.dead_letters, lambda found: len(found) == 1)
    assert (letter["reason"], letter["error"]["class"], letter["error"]["status"]) == (
        "rejected",
        "ZBAD/001",
        400,
    )
    assert letter["error"]["message"] == "in the batch: HTTP 400: No such plant"
    assert len(erp.entities) == 4
