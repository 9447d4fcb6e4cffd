"""`bridge demo erp`: one simulated ERP, to try a mapping against, and each request it gets."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click

from bridge.cli.context import json_option
from bridge.cli.errors import Usage
from bridge.cli.running import run_service
from bridge.demo.erp_server import Answered, ErpServer, Reply
from bridge.demo.erp_trouble import KINDS, trouble
from bridge.demo.simulated_erps import BASE_URL, ORIGIN, SIMULATED_ERPS, SimulatedErp
from bridge.listen import LOOPBACK, AddressUnavailable
from bridge.shipped_files import shipped
from eventbus.event import encode_json
from pipeline.yaml_nodes import nearest
from pipeline.yaml_tree import load

EGRESS = "egress: {allow: [127.0.0.0/8]}"
_TENANT = "acme"
_SHOWN = 2_000
_REFUSALS = ("error", "errors", "messages")
_SHUTDOWN_TIMEOUT_S = 5.0


@click.command()
@click.argument("name", required=False)
@click.option("--list", "listed", is_flag=True, help="Which there are, and leave.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=0, help="Where it listens; default: any that is free."
)
@click.option(
    "--trouble",
    "kind",
    type=click.Choice(sorted(KINDS)),
    help="What every third request meets; default: nothing.",
)
@json_option
def erp(name: str | None, port: int, kind: str | None, *, listed: bool, as_json: bool) -> None:
    """Start the simulated ERP NAME on 127.0.0.1 and show each request it gets, until Ctrl-C.

    It prints what to write into tenant.yaml and bridge.yaml. What it is sent is in its memory alone.
    """
    if listed:
        for each in SIMULATED_ERPS:
            click.echo(json.dumps(_listed(each)) if as_json else _list_line(each))
        return
    if name is None:
        raise Usage(f"name one: {', '.join(SIMULATED_ERPS)}; --list says what they are")
    if name not in SIMULATED_ERPS:
        raise Usage(f"no simulated ERP is called {name!r}{nearest(name, SIMULATED_ERPS)}")
    run_service(lambda stop: _serve(name, port, kind, stop, as_json=as_json), _SHUTDOWN_TIMEOUT_S)


async def _serve(name: str, port: int, kind: str | None, stop: asyncio.Event, *, as_json: bool) -> None:
    """Raises AddressUnavailable."""
    simulated = SIMULATED_ERPS[name]
    server = simulated.make()
    server.port = port
    server.watch = lambda answered: click.echo(_json_line(answered) if as_json else shown(answered))
    if kind is not None:
        server.trouble = trouble(kind)
    try:
        await server.up()
    except OSError as error:
        raise AddressUnavailable(
            f"{LOOPBACK}:{port}: {error.strerror}; another --port, or none for any that is free"
        ) from None
    try:
        click.echo(json.dumps(_started(name, server)) if as_json else _introduced(name, server))
        await stop.wait()
    finally:
        await server.down()


def mappings_of(simulated: SimulatedErp) -> list[str]:
    """The shipped mappings that go with it, by their names."""
    root = shipped("templates")
    files = (file for folder in simulated.templates for file in (root / folder).glob("*.yaml"))
    return sorted(
        str(file.relative_to(root).with_suffix("")) for file in files if not file.name.endswith(".cases.yaml")
    )


def connection_of(name: str, server: ErpServer) -> str:
    """The section `connections` of a tenant.yaml."""
    simulated = SIMULATED_ERPS[name]
    base_url = f"{server.base_url}{simulated.path}"
    written = simulated.connection.replace(BASE_URL, base_url).replace(ORIGIN, server.base_url)
    first, *others = written.splitlines()
    lines = [first, f"base_url: {base_url}", *others]
    return "\n".join([f"connections:\n  {name}:", *(f"    {line}" for line in lines)])


def _listed(name: str) -> dict[str, Any]:
    simulated = SIMULATED_ERPS[name]
    return {"erp": name, "title": simulated.title, "mappings": mappings_of(simulated)}


def _list_line(name: str) -> str:
    simulated = SIMULATED_ERPS[name]
    width = max(map(len, SIMULATED_ERPS)) + 2
    lines = [f"{name:<{width}}{simulated.title}", " " * width + ", ".join(mappings_of(simulated))]
    return "\n".join(line for line in lines if line.strip())


def _started(name: str, server: ErpServer) -> dict[str, Any]:
    section = load(connection_of(name, server), "tenant.yaml").as_mapping().require("connections")
    return {
        **_listed(name),
        "base_url": server.base_url,
        "connections": section.plain(),
        "secrets": dict(SIMULATED_ERPS[name].secrets),
    }


def _introduced(name: str, server: ErpServer) -> str:
    simulated = SIMULATED_ERPS[name]
    return "\n".join([
        f"{name} listens on {server.base_url}: {simulated.title}",
        f"\nin tenants/{_TENANT}/tenant.yaml:\n",
        connection_of(name, server),
        "\nin bridge.yaml, since this machine is out of bounds for tenants otherwise:\n",
        EGRESS,
        *_secret_lines(simulated),
        f"\nmappings for it: {', '.join(mappings_of(simulated)) or 'none are shipped'}",
        "each request as it comes; Ctrl-C ends this:\n",
    ])  # fmt: skip


def _secret_lines(simulated: SimulatedErp) -> Iterator[str]:
    if simulated.secrets:
        yield "\nthen, while the bridge's NATS runs (this opens the simulator, and nothing else):\n"
    for name, value in simulated.secrets.items():
        yield f"echo '{value}' | bridge secret set {_TENANT} {name}"


def _json_line(answered: Answered) -> str:
    call, reply = answered.call, answered.reply
    made = [
        {"action": effect.action, "collection": effect.collection, "key": effect.key, "body": effect.body}
        for effect in answered.effects
    ]
    line: dict[str, Any] = {"at": _time(call.at), "method": call.method, "path": _target(answered)}
    line |= {"status": reply.status if reply else None, "made": made}
    if reply and _refuses(reply):
        line["error"] = reply.body
    return encode_json(line).decode()


def _refuses(reply: Reply) -> bool:
    """Also with HTTP 200, as JSON-RPC and GraphQL do, and Odoo's `load`."""
    body = reply.body
    result = body.get("result", body) if isinstance(body, dict) else None
    members = {**body, **result} if isinstance(result, dict) else body
    return reply.status >= 400 or (isinstance(members, dict) and any(map(members.get, _REFUSALS)))


def shown(answered: Answered) -> str:
    reply = answered.reply
    status = str(reply.status) if reply else "no answer"
    lines = [f"{_time(answered.call.at)[11:19]}  {answered.call.method} {_target(answered)}  {status}"]
    if reply and _refuses(reply):
        lines.append(f"          {_text(reply.body)}")
    for effect in answered.effects:
        lines += [
            f"          {effect.action} {effect.collection} {effect.key}",
            f"          {_text(effect.body)}",
        ]
    return "\n".join(lines)


def _target(answered: Answered) -> str:
    call = answered.call
    return f"{call.path}?{call.query}" if call.query else call.path


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(body: Any) -> str:
    text = body if isinstance(body, str) else encode_json(body).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} … ({len(text)} characters)"
