"""`bridge secret`: credentials that tenant.yaml names as `${secret:NAME}`; kept encrypted, never printed."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from bridge.cli.context import config_option, json_option
from bridge.cli.errors import Usage
from bridge.cli.event_bus import event_bus
from bridge.cli.running import run
from bridge.cli.tenant_name import tenant_name
from bridge.console.intake_source import secret_name
from bridge.secret_keys import secret_keys
from bridge.settings import Settings, load_settings
from bridge.settings_reader import NEW_KEY
from eventbus.subjects import Subjects
from pipeline.quantities import MAX_NAME, NAME
from pipeline.secrets import SecretName, SecretStore

MAX_CHARACTERS = 64 * 1024
_INTAKE = secret_name("")


@click.group()
def secret() -> None:
    """Keep the tenants' credentials, encrypted."""


@secret.command("set")
@click.argument("tenant")
@click.argument("name")
@config_option
def set_secret(tenant: str, name: str, config: Path) -> None:
    """Read a credential from stdin (or ask for it) and keep it as NAME of TENANT.

    tenant.yaml names it as "${secret:NAME}". It is in force at once.
    """
    settings = load_settings(config, with_sources=False)
    _check_name(name)
    keys = _keys(settings)
    run(_set(settings, keys, (tenant, name), _read_value(tenant, name)))
    use = f'tenant.yaml names it as "${{secret:{name}}}"'
    if name.startswith(_INTAKE):
        use = f"webhooks to /intake/{name.removeprefix(_INTAKE)}/{tenant} are signed with it"
    click.echo(f"secret {name} of tenant {tenant} is set; {use}", err=True)


def _keys(settings: Settings) -> tuple[bytes, ...]:
    keys = secret_keys(settings)
    if not keys:
        raise Usage(
            f"{settings.file} has no `secrets: {{key: …}}`, which encrypts what is kept. Make a key with\n"
            f"    (umask 077; {NEW_KEY} > bridge.key)\n"
            'and write\n    secrets: {key: "${file:bridge.key}"}'
        )
    return keys


def _check_name(text: str) -> None:
    if len(text) > MAX_NAME or not NAME.fullmatch(text):
        raise Usage(
            f"{text!r} cannot be a name: write lower-case letters, digits, and single - or _ between them"
        )


def _read_value(tenant: str, name: str) -> str:
    if sys.stdin.isatty():
        value: str = click.prompt(f"{name} of {tenant}", hide_input=True, err=True)
    else:
        value = sys.stdin.read(MAX_CHARACTERS + 1).removesuffix("\n").removesuffix("\r")
    if not value:
        raise Usage("stdin is empty: pipe the credential in, or run this on a terminal to be asked for it")
    if len(value) > MAX_CHARACTERS:
        raise Usage(f"a credential has at most {MAX_CHARACTERS} characters")
    return value


async def _set(settings: Settings, keys: Sequence[bytes], place: tuple[str, str], value: str) -> None:
    async with event_bus(settings, "bridge secret set") as jetstream:
        subjects = Subjects(settings.nats.namespace)
        tenant, name = await tenant_name(place[0], jetstream, subjects), place[1]
        await SecretStore(jetstream, subjects, keys).set(tenant, name, value)


@secret.command("list")
@click.argument("tenant", required=False)
@config_option
@json_option
def list_secrets(tenant: str | None, config: Path, *, as_json: bool) -> None:
    """Which credentials there are, and since when; never their values."""
    for found in run(_list(load_settings(config, with_sources=False), tenant)):
        click.echo(_json(found) if as_json else f"{found.tenant}  {found.name}  set {_date(found)}")


async def _list(settings: Settings, tenant: str | None) -> list[SecretName]:
    async with event_bus(settings, "bridge secret list") as jetstream:
        subjects = Subjects(settings.nats.namespace)
        name = await tenant_name(tenant, jetstream, subjects) if tenant else None
        return await SecretStore(jetstream, subjects, keys=()).list(name)


@secret.command("rotate")
@config_option
@json_option
def rotate(config: Path, *, as_json: bool) -> None:
    """Encrypt with the first of `secrets.key` what an older one of them has encrypted.

    First write the new key before the old one, `key: [new, old]`, and start every process again, so that all of them
    can read both; then run this; then take the old one out.
    """
    settings = load_settings(config, with_sources=False)
    keys = _keys(settings)
    rotated = run(_rotate(settings, keys))
    if as_json:
        for found in rotated:
            click.echo(_json(found))
        return
    where = "secrets.key" if settings.secrets_keys else f"the file secrets.key in {settings.embedded}"
    if rotated:
        which = "1 secret is" if len(rotated) == 1 else f"{len(rotated)} secrets are"
        click.echo(f"{which} now encrypted with the first key; take the older ones out of {where}")
    elif len(keys) > 1:
        click.echo(f"every secret is encrypted with the first key; take the older ones out of {where}")
    else:
        click.echo(
            f"every secret is encrypted with the only key; to change it, write a new one before it in {where}"
        )


async def _rotate(settings: Settings, keys: Sequence[bytes]) -> Sequence[SecretName]:
    async with event_bus(settings, "bridge secret rotate") as jetstream:
        return await SecretStore(jetstream, Subjects(settings.nats.namespace), keys).rotate()


def _json(found: SecretName) -> str:
    return json.dumps({"tenant": found.tenant, "name": found.name, "set_at": _date(found)})


def _date(found: SecretName) -> str:
    return found.set_at.strftime("%Y-%m-%dT%H:%M:%SZ")
