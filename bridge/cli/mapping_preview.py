"""What `bridge mapping preview` shows: the exact request, as the connector would send it."""

import asyncio
from collections.abc import Callable
from collections.abc import Mapping as Members
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge.cli.errors import Usage
from bridge.cli.mapping_check import lookup_texts, mapping_text
from bridge.cli.request_text import request_text
from bridge.settings import load_settings
from bridge.shipped_files import shipped
from connectors.protocol import ConnectionSettings, Prepared
from connectors.registry import prepare, showing
from pipeline.jail.frames import MappingSource
from pipeline.jail.renderer import JailedMapping, Renderer
from pipeline.mapping import (
    Done,
    Finding,
    MappingInvalid,
    MappingText,
    Rendered,
    RenderError,
    Skipped,
    Waits,
)
from pipeline.mapping.case_facts import KEYS as FACTS
from pipeline.mapping.case_facts import Facts, label_of, read_facts
from pipeline.mapping.errors import WAIT_FOR
from pipeline.mapping.walk import Walk
from pipeline.problems import ConfigurationInvalid
from pipeline.tenants.folder import load_tenants
from pipeline.tenants.model import Route, Tenant
from pipeline.yaml_tree import Mark, YamlError, load_file, nearest

NEEDS = "needs"
"""The class of what only a source or an ERP can tell."""


class PreviewFailed(Exception):
    """There is no request to show. exit_code: 1, or 2 where the mapping itself is invalid."""

    def __init__(self, class_: str, message: str, mark: Mark, expression: str, exit_code: int) -> None:
        super().__init__(message if str(mark) in message else f"{mark}: {message}")
        self.class_, self.message, self.mark = class_, message, mark
        self.expression, self.exit_code = expression, exit_code

    def to_json(self) -> dict[str, Any]:
        return {
            "class": self.class_,
            "message": self.message,
            "file": self.mark.file,
            "line": self.mark.line,
            "expression": self.expression,
        }

    @classmethod
    def of_render(cls, error: RenderError) -> "PreviewFailed":
        failed = cls(error.class_, error.message, error.mark, error.expression, exit_code=1)
        failed.args = (str(error),)
        return failed

    @classmethod
    def of_mapping(cls, invalid: MappingInvalid) -> "PreviewFailed":
        first = invalid.findings[0]
        failed = cls("invalid", first.message, first.mark, first.expression, exit_code=2)
        failed.args = (str(invalid),)
        return failed

    @classmethod
    def of_tenant(cls, invalid: ConfigurationInvalid) -> "PreviewFailed":
        first = invalid.problems[0]
        failed = cls("invalid", first.message, first.mark, "", exit_code=2)
        failed.args = (str(invalid),)
        return failed


@dataclass(frozen=True, slots=True)
class Subject:
    """A mapping with what a route gives it. key: the tenant's, as its source's rows have it. show: a request, as the
    route's connection would send it.
    """

    mapping: JailedMapping
    tenant: str = "preview"
    route: str = "preview"
    params: Members[str, Any] = field(default_factory=dict)
    timezone: str = "UTC"
    key: str = ""
    show: Callable[[Prepared], dict[str, Any]] = Prepared.to_json


async def of_mapping(renderer: Renderer, name: str) -> Subject:
    """A mapping's file, or a shipped mapping's name; its params are their defaults.

    Raises:
        PreviewFailed: the mapping is invalid.
        Usage: there is none. RendererBroken.
    """
    file = _mapping_file(name)
    try:
        text, lookups = mapping_text(file), lookup_texts(file)
    except YamlError as error:
        raise PreviewFailed.of_mapping(MappingInvalid([Finding.of(error)])) from None
    return Subject(await _compiled(renderer, "", file.stem, text, lookups))


def _mapping_file(name: str) -> Path:
    file = Path(name)
    if not file.is_file():
        file = shipped("templates") / f"{name}.yaml"
    if not file.is_file():
        folder = shipped("templates")
        names = {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")}
        known = {one for one in names if not one.endswith(".cases")}
        raise Usage(f"there is no mapping {name!r}, neither a file nor a shipped one{nearest(name, known)}")
    return file


async def of_tenant(renderer: Renderer, tenant: Tenant, route: Route) -> Subject:
    """A tenant's route. Raises PreviewFailed where its mapping is invalid, RendererBroken."""
    text = tenant.mappings[route.mapping]
    mapping = await _compiled(renderer, tenant.name, route.mapping, text, tenant.lookups)
    connection = tenant.connections[route.connection]
    settings = ConnectionSettings(connection.base_url, options=connection.options, files=connection.files)
    show = await asyncio.to_thread(showing, connection.connector, settings)
    return Subject(mapping, tenant.name, route.name, route.params, tenant.timezone, tenant.key, show)


async def _compiled(
    renderer: Renderer, tenant: str, name: str, text: MappingText, lookups: Members[str, str] | None
) -> JailedMapping:
    source = MappingSource.of(text, None if lookups is None else dict(lookups))
    try:
        return await renderer.mapping(tenant, name, text.file, source)
    except MappingInvalid as invalid:
        raise PreviewFailed.of_mapping(invalid) from None


async def route_in_folder(renderer: Renderer, route: str, config: Path) -> tuple[Tenant, Route]:
    """The tenant and route of a `TENANT/ROUTE`, from the tenants folder.

    Raises:
        PreviewFailed: the tenant's files are not valid.
        Usage, YamlError, ConfigurationInvalid: there is none, or bridge.yaml is not valid. RendererBroken.
    """
    tenant_name, slash, route_name = route.partition("/")
    if not slash:
        raise Usage(f"--route {route!r}: write TENANT/ROUTE")
    tenant = await _tenant(renderer, tenant_name, config)
    if route_name not in tenant.routes:
        raise Usage(f"tenant {tenant_name} has no route {route_name!r}{nearest(route_name, tenant.routes)}")
    return tenant, tenant.routes[route_name]


async def _tenant(renderer: Renderer, name: str, config: Path) -> Tenant:
    folder = load_settings(config, with_sources=False).tenants
    read = await load_tenants(folder, shipped("templates"), renderer)
    if name in read.invalid:
        raise PreviewFailed.of_tenant(read.invalid[name])
    for tenant in read.tenants:
        if tenant.name == name:
            return tenant
    known = [tenant.name for tenant in read.tenants]
    raise Usage(f"{folder} has no tenant {name!r}{nearest(name, known)}")


def facts_of(file: Path) -> Facts:
    """What `--given` tells. Raises YamlError."""
    section = load_file(file).as_mapping()
    section.check_keys(FACTS)
    return read_facts(section)


def prepared(subject: Subject, rendered: Rendered) -> dict[str, Any]:
    """As the connector would send it. Raises RequestInvalid."""
    return subject.show(prepare(subject.mapping.facts.connector, rendered.request, rendered.delivery_id))


def walked(found: Walk, requests: list[dict[str, Any]]) -> dict[str, Any]:
    """What there is to show of a mapping's way. Raises PreviewFailed where it waits for something."""
    match found.end:
        case Skipped(by=by):
            return {"skipped": by}
        case Waits(message=message, file=file, line=line, expression=expression):
            raise PreviewFailed(WAIT_FOR, message, Mark(file, line, 1), expression, exit_code=1)
    labels = [label_of(each) for each in found.requests]
    if labels == ["request"]:
        return requests[0]
    steps = [{"step": label, **request} for label, request in zip(labels, requests, strict=True)]
    return {"steps": steps} | ({"save": found.end.save} if isinstance(found.end, Done) else {})


def shown(result: Members[str, Any]) -> str:
    """As people read it."""
    if "connector" in result:
        return request_text(result)
    if "steps" in result:
        return "\n\n".join(f"{step['step']}:\n{request_text(step)}" for step in result["steps"])
    return f"skipped by {result['skipped']}: nothing would be sent"
