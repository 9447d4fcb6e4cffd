"""A sender of webhooks, as Standard Webhooks describes one."""

import base64
import json
import time
from dataclasses import dataclass
from typing import Any

import httpx

from bridge.console.signature import sign

SECRET = b"a secret of 24 bytes or more"
WRITTEN = f"whsec_{base64.b64encode(SECRET).decode()}"
ORDER = {"type": "order.created", "timestamp": "2026-11-24T03:28:19Z", "data": {"id": 7, "n": 1}}


@dataclass
class Sender:
    client: httpx.AsyncClient
    source: str = "partner"
    secret: bytes = SECRET

    async def send(
        self,
        webhook_id: str,
        payload: Any = ORDER,
        /,
        *,
        tenant: str = "acme",
        timestamp: int | None = None,
        **headers: str,
    ) -> httpx.Response:
        """`payload`: bytes as they are, anything else as JSON. `headers` replace those that are sent."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        written = str(int(time.time()) if timestamp is None else timestamp)
        signed = {
            "webhook-id": webhook_id,
            "webhook-timestamp": written,
            "webhook-signature": sign(self.secret, webhook_id, written, body),
            "content-type": "application/json",
        }
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(
            f"/intake/{self.source}/{tenant}",
            content=body,
            headers=[(name.encode(), value.encode()) for name, value in (signed | more).items()],
        )
