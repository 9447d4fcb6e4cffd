"""A plain HTTP client for the simulated ERPs."""

from typing import Any

import aiohttp

from bridge.demo.erp_server import ErpServer


async def ask(
    erp: ErpServer, method: str, path: str, headers: dict[str, str], body: Any = None
) -> tuple[int, Any, Any]:
    """Status, headers, JSON body or text."""
    async with aiohttp.request(method, erp.base_url + path, headers=headers, json=body) as answer:
        is_json = answer.content_type == "application/json"
        return answer.status, answer.headers, await (answer.json() if is_json else answer.text())
