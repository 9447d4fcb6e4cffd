"""A process that renders tenants' text loads nothing that it has no use for, and no way to the network."""

import subprocess
import sys

UNWANTED = (
    "aiohttp", "httpx", "http.client", "urllib.request", "ssl", "asyncio", "subprocess", "yarl", "zeep", "lxml", "authlib",
    "joserfc", "cryptography", "signxml", "structlog", "email.message", "importlib.metadata",
)  # fmt: skip
DOES = f"""
import sys
import pipeline.jail.child
from connectors import registry
from connectors.protocol import Answer

registry.PLUG_INS.load_none([])  # as the child is told to
requests = {{
    "rest": {{"method": "POST", "path": "/$batch", "batch": [{{"method": "POST", "path": "a"}}]}},
    "graphql": {{"query": "mutation {{ a }}"}},
    "jsonrpc": {{"method": "a.b", "params": [1]}},
    "soap": {{"operation": "A", "arguments": {{"a": 1}}}},
}}
assert set(registry.kinds()) >= set(requests), registry.kinds()
for kind, request in requests.items():
    registry.shape(kind)
    registry.check_request(kind, request)
    registry.judged(kind, request, Answer(500, {{}}, {{"errors": [{{}}], "error": {{}}, "fault": {{"code": "Client"}}}}))
print([name for name in {UNWANTED} if name in sys.modules])
"""


def test_a_child_that_prepares_and_judges_each_kind_is_light() -> None:
    done = subprocess.run([sys.executable, "-I", "-c", DOES], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
