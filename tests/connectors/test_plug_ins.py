"""Kinds that other people's packages add: found by name, loaded late, and what is wrong with one harms its users alone."""

import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from connectors import registry
from connectors.protocol import (
    Answer,
    ConnectionSettings,
    Connector,
    Delivered,
    KindBroken,
    Outcome,
    Rejected,
    RequestInvalid,
    SettingsInvalid,
    Uncertain,
)
from connectors.registry import UnknownKind
from tests.connectors.plug_in_packages import KIND, Packages, packages_in

SETTINGS = ConnectionSettings("http://127.0.0.1:1", {"type": "bearer", "token": "s3cret-token"})


@pytest.fixture
def packages(tmp_path: Path) -> Iterator[Packages]:
    with packages_in(tmp_path) as found:
        yield found


async def send(connector: Connector, permit: Any = lambda: None) -> Outcome:
    return await connector.send(connector.prepare({"line": "a"}, "key"), permit)


async def test_a_kind_is_found_by_its_name_and_loaded_when_it_is_asked_for(packages: Packages) -> None:
    packages.add("acme-lines")
    assert "lines" in registry.kinds()
    assert "acme_lines" not in sys.modules
    assert list(registry.shape("lines").keys) == ["line"]
    assert registry.prepare("lines", {"line": "a"}, "key").to_json() == {"connector": "lines", "line": "a"}
    registry.check_settings("lines", SETTINGS)
    connector = registry.open_connector("lines", SETTINGS)
    assert await send(connector) == Delivered(None, "a")
    await connector.aclose()


def test_without_its_package_a_name_is_unknown(packages: Packages) -> None:
    with pytest.raises(UnknownKind, match="no connector is called 'lines': there is"):
        registry.shape("lines")


def test_names_are_read_once(packages: Packages, tmp_path: Path) -> None:
    packages.add("acme-lines")
    assert "lines" in registry.kinds()
    (tmp_path / "acme_lines-1.2.dist-info" / "entry_points.txt").unlink()
    assert "lines" in registry.kinds()


def test_a_name_that_is_ours_stays_ours_and_that_is_said(packages: Packages) -> None:
    packages.add("acme-rest", kind="rest")
    assert "path" in registry.shape("rest").keys
    assert "acme_rest" not in sys.modules
    [said] = registry.shadowed()
    assert said.startswith(
        "the package acme-rest 1.2 offers a connector 'rest', which is ours: it is not used"
    )


def test_two_packages_with_one_name_are_both_refused(packages: Packages) -> None:
    packages.add("acme-lines")
    packages.add("other-lines")
    with pytest.raises(
        KindBroken, match=r"'lines' is offered by acme-lines 1\.2 and other-lines 1\.2: uninstall"
    ):
        registry.shape("lines")


def test_metadata_that_cannot_be_read_is_that_packages_affair(packages: Packages) -> None:
    packages.add("acme-lines")
    packages.describe("torn", "[bridge.connectors]\nno equals sign\n")
    assert "line" in registry.shape("lines").keys


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name' (acme_lines.py, line 1)"),
        ("\n\n1 / 0", "ZeroDivisionError: division by zero (acme_lines.py, line 3)"),
        ("raise SystemExit(1)", "cannot be loaded: SystemExit: 1 (acme_lines.py, line 1)"),
        ("", "has no SHAPE that is a connectors.protocol.RequestShape"),
        (KIND.replace("def check_settings", "def check"), "has no function check_settings"),
        (KIND.replace('payload=("line",)', 'payload=("lime",)'), "has a SHAPE that names 'lime', which is none of its keys"),
        (KIND.replace("RequestKey(Leaf.TEXT, required=True)", "'text'"), "has a SHAPE whose keys are no names with"),
        (KIND.replace("Leaf.TEXT", "Leaf.REQUESTS"), "whose key 'line' is no Leaf.REQUESTS with what is `inside`"),
    ],
)  # fmt: skip
def test_a_package_that_is_no_kind_is_named_with_what_it_lacks(
    packages: Packages, text: str, why: str
) -> None:
    packages.add("acme-lines", text=text)
    for ask in (
        lambda: registry.shape("lines"),
        lambda: registry.prepare("lines", {}, "key"),
        lambda: registry.check_settings("lines", SETTINGS),
        lambda: registry.open_connector("lines", SETTINGS),
    ):
        with pytest.raises(KindBroken) as caught:
            ask()
        assert "connector 'lines' of the package acme-lines 1.2 (acme_lines)" in str(caught.value)
        assert why in str(caught.value)
    assert "path" in registry.shape("rest").keys


def test_what_it_may_raise_goes_through(packages: Packages) -> None:
    text = KIND.replace(
        '    return Prepared("lines"', '    raise RequestInvalid("no"); return Prepared("lines"'
    )
    text = text.replace("    pass\n\nclass", '    raise SettingsInvalid("auth.type", "no")\n\nclass')
    text = text.replace("import Delivered", "import RequestInvalid, SettingsInvalid, Delivered")
    packages.add("acme-lines", text=text)
    with pytest.raises(RequestInvalid, match=r"^no$"):
        registry.prepare("lines", {"line": "a"}, "key")
    with pytest.raises(SettingsInvalid, match=r"auth.type: no"):
        registry.check_settings("lines", SETTINGS)


def test_its_defects_are_told_without_what_it_knows(packages: Packages) -> None:
    defect = "raise KeyError(settings.auth['token'])"
    text = KIND.replace("    pass\n\nclass", f"    {defect}\n\nclass").replace("return Lines()", defect)
    packages.add(
        "acme-lines", text=text.replace("    return Prepared(", "    return (").replace('"lines", ', "")
    )
    for ask in (
        lambda: registry.check_settings("lines", SETTINGS),
        lambda: registry.open_connector("lines", SETTINGS),
    ):
        with pytest.raises(KindBroken) as caught:
            ask()
        assert "acme-lines 1.2" in str(caught.value)
        assert "KeyError (acme_lines.py, line " in str(caught.value)
        assert "s3cret" not in str(caught.value)
    with pytest.raises(
        RequestInvalid, match=r"acme-lines 1\.2 .* prepares no connectors\.protocol\.Prepared"
    ):
        registry.prepare("lines", {"line": "a"}, "key")


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("raise ValueError(self.token)", "failed in a way it must not: ValueError (acme_lines.py, line "),
        ("return None", "gave no outcome, but NoneType"),
        ("return Delivered(None, 7)", "whose message or code is no text"),
        (r"return Delivered(None, '\ud800')", "whose message or code is no text"),
        ("return RetryLater('later', None, float('nan'))", "whose `after` is no number of seconds"),
        ("return RetryLater('later', None, '7')", "whose `after` is no number of seconds"),
        ("return Delivered({'status': 200})", "whose answer holds what is no JSON value"),
        ("return Delivered(Answer(200, {}, object()))", "whose answer holds what is no JSON value"),
        ("return Delivered(Answer(200, {'a': 1}, None))", "whose answer holds what is no JSON value"),
        ("return Delivered(Answer('200', {}, None))", "whose answer holds what is no JSON value"),
        (r"return Delivered(Answer(200, {}, '\ud800'))", "whose answer holds what is no JSON value"),
    ],
)  # fmt: skip
async def test_what_it_must_not_send_back_is_uncertain(packages: Packages, statement: str, why: str) -> None:
    text = KIND.replace('return Delivered(None, prepared.parts["line"])', statement)
    text = text.replace("import Delivered", "import Answer, RetryLater, Delivered")
    packages.add("acme-lines", text=text.replace('kind = "lines"', 'token = "s3cret-token"'))
    outcome = await send(registry.open_connector("lines", SETTINGS))
    assert isinstance(outcome, Uncertain)
    assert outcome.code == "defect"
    assert why in outcome.message
    assert "acme-lines 1.2" in outcome.message
    assert "s3cret" not in outcome.message


async def test_an_answer_goes_through_as_it_is(packages: Packages) -> None:
    text = KIND.replace(
        'return Delivered(None, prepared.parts["line"])',
        'return Rejected("no", Answer(422, {"a": "b"}, {"n": Decimal("1.10")}), "E1")',
    )
    text = "from decimal import Decimal\n" + text.replace(
        "import Delivered", "import Answer, Rejected, Delivered"
    )
    packages.add("acme-lines", text=text)
    answer = Answer(422, {"a": "b"}, {"n": Decimal("1.10")})
    assert await send(registry.open_connector("lines", SETTINGS)) == Rejected("no", answer, "E1")


async def test_what_permit_raises_goes_through(packages: Packages) -> None:
    packages.add("acme-lines")

    class LeaseLost(Exception):
        pass

    def permit() -> None:
        raise LeaseLost

    with pytest.raises(LeaseLost):
        await send(registry.open_connector("lines", SETTINGS), permit)


async def test_a_close_that_fails_is_nobodys_trouble(packages: Packages) -> None:
    packages.add("acme-lines", text=KIND.replace("        pass\n", "        raise OSError\n"))
    await registry.open_connector("lines", SETTINGS).aclose()
