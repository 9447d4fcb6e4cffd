"""bridge.yaml, read and checked: what the operator decides. Reference: docs/configuration.md."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bridge import settings_reader as reader
from bridge.console.intake_source import IntakeSource
from bridge.environment import Environment
from bridge.listen import Listen
from bridge.settings_intake import check_names
from bridge.settings_intake import intake as intake_section
from bridge.settings_nats import nats as nats_section
from bridge.settings_reader import Network
from bridge.settings_sources import sources as sources_section
from cdc.settings import SourceSettings
from eventbus.settings import NatsSettings, StreamSettings
from pipeline.problems import Problems


@dataclass(frozen=True, slots=True)
class Settings:
    """embedded: the folder of our own nats-server, whose URL `bridge.cli.context` finds; None: `nats.servers`.

    tenants: the folder; shutdown_timeout: seconds; secrets_keys: 32 bytes each, the first one seals, none where none is configured;
    egress: private networks that tenants' endpoints may be in; listen: where /metrics and its like are served; intake: who may send webhooks.
    """

    file: Path
    sources: Mapping[str, SourceSettings]
    nats: NatsSettings = field(default_factory=NatsSettings)
    embedded: Path | None = None
    streams: StreamSettings = field(default_factory=StreamSettings)
    tenants: Path = Path("tenants")
    egress: tuple[Network, ...] = ()
    listen: Listen | None = None
    intake: Mapping[str, IntakeSource] = field(default_factory=dict)
    shutdown_timeout: float = 25.0
    secrets_keys: tuple[bytes, ...] = field(default=(), repr=False)


def load_settings(
    file: Path,
    variables: Mapping[str, str] | None = None,
    *,
    with_sources: bool = True,
    with_secrets: bool = True,
    with_intake: bool = False,
) -> Settings:
    """Reads bridge.yaml. Relative paths start at its folder.

    Args:
        file: bridge.yaml.
        variables: what `${NAME}` reads; default: the process's environment.
        with_sources: False for commands that open no source, which then need no password of one.
        with_secrets: False for commands that open no secret, which then need no key.
        with_intake: True for what takes in webhooks, and needs their secrets.

    Raises:
        YamlError: the file cannot be read or is no YAML.
        ConfigurationInvalid: everything else that is wrong in it.
    """
    environment = Environment(os.environ if variables is None else variables, file.parent)
    root, problems = reader.root(file), Problems()
    attempt = problems.attempt
    attempt(lambda: reader.check_root(root), None)
    attempt(lambda: check_names(root.get("intake"), root.get("sources")), None)
    nats, embedded = attempt(lambda: nats_section(root.get("nats"), environment), (NatsSettings(), None))
    settings = Settings(
        file=file,
        sources=attempt(lambda: sources_section(root.require("sources"), environment), {})
        if with_sources
        else {},
        nats=nats,
        embedded=embedded,
        streams=attempt(
            lambda: reader.streams(root.get("streams"), embedded=embedded is not None), StreamSettings()
        ),
        tenants=attempt(lambda: reader.tenants(root.get("tenants"), environment), Path()),
        egress=attempt(lambda: reader.egress(root.get("egress")), ()),
        listen=attempt(lambda: reader.http_listen(root.get("http")), None),
        intake=attempt(lambda: intake_section(root.get("intake"), environment), {}) if with_intake else {},
        shutdown_timeout=attempt(lambda: reader.shutdown_timeout(root.get("shutdown_timeout")), 0.0),
        secrets_keys=attempt(lambda: reader.secrets_keys(root.get("secrets"), environment), ())
        if with_secrets
        else (),
    )
    problems.raise_any()
    return settings
