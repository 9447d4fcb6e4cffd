"""What every kind that speaks HTTP asks of a connection before it is opened; for plug-ins, too."""

from collections.abc import Collection

from connectors.auth import check_auth
from connectors.protocol import ConnectionSettings, OptionUnknown


def check_http_settings(
    settings: ConnectionSettings, options: Collection[str] = (), *, envelopes: bool = False
) -> None:
    """base_url and auth are right, and there are no options but these. envelopes: as check_auth has it.

    Raises SettingsInvalid.
    """
    check_endpoint(settings)
    check_auth(settings.auth, envelopes=envelopes)
    check_options(settings, options)


def check_endpoint(settings: ConnectionSettings) -> None:
    """Raises SettingsInvalid."""
    from connectors.base_url import check_base_url  # noqa: PLC0415 — httpx and yarl, which who renders has no use for

    check_base_url(settings.base_url)


def check_options(settings: ConnectionSettings, options: Collection[str]) -> None:
    """That there are no others. Raises OptionUnknown."""
    for name in sorted(set(settings.options) - set(options)):
        raise OptionUnknown(name, options)
