"""What a kind says of its requests before anything is sent."""

import msgspec

from bridge.conformance.check import TEXT, NotConforming, Trial, check, expect
from bridge.conformance.kind import KEY
from connectors import registry
from connectors.protocol import RequestInvalid, SettingsInvalid

_UNKNOWN = "no_kind_knows_this"
_encoder = msgspec.json.Encoder(decimal_format="number")


@check
async def a_request_is_prepared_without_a_connection(trial: Trial) -> None:
    """A preview shows what a connection would send, byte for byte."""
    request = trial.kind.request(TEXT)
    shown, again = (registry.prepare(trial.kind.name, request, KEY) for _ in range(2))
    sent = trial.connector().prepare(request, KEY)
    for other in (again, sent):
        expect(
            (shown.parts, shown.content) == (other.parts, other.content),
            f"prepared alike each time: {shown} {other}",
        )
    expect(sent.connector == trial.kind.name, f"a request names its kind, not {sent.connector!r}")
    expect(_holds_no_float(shown.to_json()), "numbers of a request pass through no float")
    try:
        _encoder.encode(shown.to_json())
    except (TypeError, ValueError) as error:
        raise NotConforming(f"the parts of a request are JSON values: {error}") from None
    expect(trial.requests == 0, "prepare sends nothing")


@check
async def a_key_that_it_does_not_know_is_refused(trial: Trial) -> None:
    """By the request's shape, and by prepare."""
    expect(_UNKNOWN not in registry.shape(trial.kind.name).keys, "a SHAPE has the keys that there are")
    try:
        registry.prepare(trial.kind.name, {**trial.kind.request(TEXT), _UNKNOWN: 1}, KEY)
    except RequestInvalid as error:
        expect(_UNKNOWN in str(error), f"the error names the key: {error}")
    else:
        raise NotConforming("prepare refuses a key that it does not know with RequestInvalid")


@check
async def an_option_that_it_does_not_know_is_refused(trial: Trial) -> None:
    """So that a typo in tenant.yaml is told at once."""
    settings = trial.settings(options={**trial.kind.options, _UNKNOWN: 1})
    try:
        registry.check_settings(trial.kind.name, settings)
    except SettingsInvalid as error:
        expect(error.key == _UNKNOWN, f"the error's key is the option, not {error.key!r}")
    else:
        raise NotConforming("check_settings refuses an option that it does not know with SettingsInvalid")


def _holds_no_float(value: object) -> bool:
    match value:
        case float():
            return False
        case dict():
            return all(map(_holds_no_float, value.values()))
        case list() | tuple():
            return all(map(_holds_no_float, value))
    return True
