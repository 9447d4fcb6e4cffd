"""Standard Webhooks signatures: the specification's own example, and what must not pass."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.console.signature import (
    SecretInvalid,
    SignatureHeaders,
    SignatureInvalid,
    check_signature,
    decode_secret,
    sign,
)

NOW = 1_614_265_330
# of the reference libraries' tests
SECRET = decode_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
ID, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def check(
    signature: str = SIGNATURE,
    *,
    webhook_id: str = ID,
    timestamp: str = str(NOW),
    body: bytes = BODY,
    secrets: tuple[bytes, ...] = (SECRET,),
    now: float = NOW,
) -> None:
    headers = SignatureHeaders(webhook_id, timestamp, signature)
    check_signature(headers, body, secrets, now=now, tolerance=300)


def test_the_example_of_the_reference_libraries_passes() -> None:
    assert sign(SECRET, ID, str(NOW), BODY) == SIGNATURE
    check()


def test_one_of_several_signatures_and_one_of_several_secrets_are_enough() -> None:
    check(f"v1a,AAAA v1,{base64.b64encode(b'x' * 32).decode()} {SIGNATURE}")
    check(secrets=(b"the new one", SECRET))


@pytest.mark.parametrize("seconds", [-300, 300])
def test_the_clocks_may_differ_by_the_tolerance(seconds: int) -> None:
    check(now=NOW + seconds)
    with pytest.raises(SignatureInvalid, match="more than 300 s from now"):
        check(now=NOW + seconds + (1 if seconds > 0 else -1))


@pytest.mark.parametrize(
    ("signature", "more"),
    [
        ("", {}),
        (SIGNATURE, {"webhook_id": ""}),
        (SIGNATURE, {"timestamp": ""}),
        (SIGNATURE.removeprefix("v1,"), {}),
        (SIGNATURE.replace("v1,", "v2,"), {}),
        (SIGNATURE, {"secrets": ()}),
        (SIGNATURE, {"body": BODY + b" "}),
        ("é" + SIGNATURE, {}),
        (sign(SECRET, ID, "soon", BODY), {"timestamp": "soon"}),
        (sign(SECRET, ID, "-1", BODY), {"timestamp": "-1"}),
        (sign(SECRET, "é" * 129, str(NOW), BODY), {"webhook_id": "é" * 129}),
    ],
)
def test_what_is_not_signed_by_us_and_now_is_refused(signature: str, more: dict[str, object]) -> None:
    with pytest.raises(SignatureInvalid):
        check(signature, **more)  # type: ignore[arg-type]  # one table of all of them


def test_no_secret_at_all_is_refused_whatever_stands_in_its_place() -> None:
    from bridge.console import signature  # noqa: PLC0415

    forged = sign(signature._NOBODYS, ID, str(NOW), BODY)
    with pytest.raises(SignatureInvalid):
        check(forged, secrets=())


texts = st.text(min_size=1, max_size=40)


@given(texts, st.integers(0, 10**12 - 1), st.binary(max_size=200), st.binary(min_size=24, max_size=64))
def test_what_is_signed_passes(webhook_id: str, seconds: int, body: bytes, secret: bytes) -> None:
    signature = sign(secret, webhook_id, str(seconds), body)
    check(signature, webhook_id=webhook_id, timestamp=str(seconds), body=body, secrets=(secret,), now=seconds)


@given(
    st.tuples(texts, st.integers(0, 10**9), st.binary()), st.tuples(texts, st.integers(0, 10**9), st.binary())
)
def test_a_signature_is_for_one_id_time_and_body(
    one: tuple[str, int, bytes], other: tuple[str, int, bytes]
) -> None:
    signature = sign(SECRET, one[0], str(one[1]), one[2])
    webhook_id, seconds, body = other
    if one == other:
        check(signature, webhook_id=webhook_id, timestamp=str(seconds), body=body, now=seconds)
    else:
        with pytest.raises(SignatureInvalid):
            check(signature, webhook_id=webhook_id, timestamp=str(seconds), body=body, now=seconds)


@pytest.mark.parametrize(
    "text", ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_?" * 9]
)
def test_what_is_no_secret_is_told_without_quoting_it(text: str) -> None:
    with pytest.raises(SecretInvalid, match="not a webhook secret") as error:
        decode_secret(text)
    assert not text.removeprefix("whsec_") or text.removeprefix("whsec_") not in str(error.value)
