"""Text that tries to leave the sandbox, or to cost more than one event may."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.mapping import MappingInvalid, RenderError

ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''.__class__.__mro__ }}",
    "{{ after['__class__'] }}",
    "{{ after.__class__ }}",
    "{{ after | attr('__class__') }}",
    "{{ [after] | map(attribute='__class__') | list }}",
    "{{ [after] | map('attr', '__class__') | list }}",
    "{{ [after] | selectattr('__init__') | list }}",
    "{{ [after] | groupby('__class__') }}",
    "{{ [after] | sum(attribute='__class__') }}",
    "{{ self }}",
    "{{ self._TemplateReference__context }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ lipsum.__globals__['os'] }}",
    "{{ url_for.__globals__ }}",
    "{{ config }}",
    "{{ request }}",
    "{{ ''.format('{0.__class__}') }}",
    "{{ '{0.__class__}' | format(after) }}",
    "{{ '%(a)s' | format({'a': 1}) }}",
    "{{ 'a'.join }}",
    "{{ after.s.format_map({}) }}",
    "{{ (1).bit_length() }}",
    "{{ changed.__globals__ }}",
    "{{ range.__self__ }}",
    "{{ loop.__class__ }}",
    "{{ x.__class__ if (x := 1) else 1 }}",
    "{{ (lambda: 1)() }}",
    "{{ [x for x in after] }}",
    "{{ __import__('os') }}",
    "{{ event.__dict__ }}",
    "{{ omit.__class__ }}",
    "{% import 'os' as os %}",
    "{% from 'os' import path %}",
    "{% include '/etc/passwd' %}",
    "{% extends 'x' %}",
    "{% block x %}{% endblock %}",
    "{% macro x() %}{% endmacro %}",
    "{% call x() %}{% endcall %}",
    "{% filter upper %}x{% endfilter %}",
    "{% with x = 1 %}{% endwith %}",
    "{% autoescape false %}{% endautoescape %}",
    "{% set x %}y{% endset %}",
    "{% set after = 1 %}",
    "{% set vars.x = 1 %}",
    "{% do after.clear() %}",
    "{% for x in after recursive %}{{ loop(x) }}{% endfor %}",
    "{% debug %}",
    "{{ after.update({'a': 1}) }}",
    "{{ after.pop('id') }}",
]


@pytest.mark.parametrize("text", ESCAPES)
def test_escapes_are_refused(leaf: Callable[..., Any], text: str) -> None:
    with pytest.raises((MappingInvalid, RenderError)) as caught:
        leaf(text, after={"id": 1, "s": "x"})
    assert "m.yaml:7:" in str(caught.value)


def doubling(count: int, how: str) -> Any:
    return "vars:\n  v0: \"{{ 'x' * 1 if false else 'xxxxxxxx' }}\"\n".replace(
        "'x' * 1 if false else ", ""
    ) + "".join(f'  v{n}: "{{{{ {how.format(f"vars.v{n - 1}")} }}}}"\n' for n in range(1, count))


NESTED = 'vars:\n  v0: "{{ [1, 1, 1, 1, 1, 1, 1, 1] }}"\n  w0: "{{ [1, 1, 1, 1, 1, 1, 1, 1] }}"\n' + "".join(
    f'  {v}{n}: "{{{{ [{", ".join([f"vars.{v}{n - 1}"] * 8)}] }}}}"\n' for n in range(1, 20) for v in "vw"
)

BOMBS = [
    ("{{ 'x' * 1000000000 }}", ""),
    ("{{ [0] * 1000000000 }}", ""),
    ("{{ 9 ** 9 ** 9 ** 9 ** 9 }}", ""),
    ("{{ 9 ** 99999999 }}", ""),
    ("{{ 2 ** 100 ** 100 }}", ""),
    ("{{ 1e999 ** 100 }}", ""),
    ("{{ 1e999999 | int }}", ""),
    ("{{ 1e999999 ~ '' }}", ""),
    ("{{ range(1000000000) | list }}", ""),
    ("{{ '%1000000000d' | format(1) }}", ""),
    ("{{ '%.1000000000f' | format(1) }}", ""),
    ("{{ '2026-11-24' | date_format('%1000000000d') }}", ""),
    ("{{ 1 | decimal(1000000000) }}", ""),
    ("{{ 1 | round(1000000000) }}", ""),
    ("{{ 'x' | center(1000000000) }}", ""),
    ("{{ 'a\\nb' | indent(1000000000) }}", ""),
    ("{{ [1] | batch(1000000000, 0) }}", ""),
    ("{{ 'x' | add_days(1) }}", ""),
    ("{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}", ""),
    ("{{ vars.v99 }}", doubling(100, "{0} ~ {0}")),
    ("{{ vars.v99 }}", doubling(100, "{0} + {0}")),
    ("{{ vars.v99 }}", doubling(100, "[{0}, {0}] | join")),
    ("{{ vars.v99 }}", doubling(100, "{0} | replace('x', 'xxxxxxxxxx')")),
    ("{{ vars.v99 }}", doubling(100, "{0} | regex_replace('x', 'xxxxxxxxxx')")),
    ("{{ vars.v19 }}", NESTED),
    ("{{ vars.v19 | tojson }}", NESTED),
    ("{{ vars.v19 == vars.w19 }}", NESTED),
    ("{{ vars.v19 in [vars.w19] }}", NESTED),
    ("{{ vars.v19 | unique }}", NESTED),
    ("{{ (" * 1 + "(" * 5000 + "1" + ")" * 5000 + ") }}", ""),
    ("{{ " + "[" * 5000 + "]" * 5000 + " }}", ""),
    ("{{ " + "+".join("1" * 5000) + " }}", ""),
    ("{{ " + "9" * 6000 + " }}", ""),
    ("{{ " + "not " * 5000 + "1 }}", ""),
    ("{{ after.s" + "|upper" * 2000 + " }}", ""),
]


@pytest.mark.parametrize(("text", "head"), BOMBS, ids=lambda value: value[:40])
def test_bombs_cost_one_error_within_a_second(leaf: Callable[..., Any], text: str, head: str) -> None:
    begun = time.process_time()
    with pytest.raises((MappingInvalid, RenderError)):
        leaf(text, after={"s": "x"}, head=head)
    assert time.process_time() - begun < 1


def test_loops_cannot_multiply(body: Callable[..., Any]) -> None:
    tree = "{$for: a in range(10000), $value: {$for: b in range(10000), $value: 1}}"
    with pytest.raises(RenderError) as caught:
        body(tree)
    assert caught.value.class_ == "limit"


def test_loops_cannot_fill_the_memory(body: Callable[..., Any]) -> None:
    tree = '{$for: a in range(10000), $value: "{{ after.s ~ a }}"}'
    with pytest.raises(RenderError) as caught:
        body(tree, after={"s": "x" * 900_000})
    assert caught.value.class_ == "limit"


def test_patterns_run_in_linear_time(leaf: Callable[..., Any]) -> None:
    begun = time.process_time()
    for pattern in ("(a+)+$", "(a|a)*$", "(.*)*x", "(a|aa)+$"):
        leaf("{{ after.s | regex_replace('" + pattern + "', 'b') }}", after={"s": "a" * 50_000 + "!"})
    assert time.process_time() - begun < 1


def test_rendering_changes_no_event(leaf: Callable[..., Any], make_event: Callable[..., Any]) -> None:
    after = {"l": [3, 1, 2], "o": {"a": 1}}
    leaf("{{ (after.l | sort) + (after.l | reverse | list) + [after.o] }}", after=after)
    assert after == {"l": [3, 1, 2], "o": {"a": 1}}
