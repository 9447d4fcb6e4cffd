"""`extends`: objects merge, lists replace, `{$remove: true}` deletes; each error names the file that is wrong."""

from typing import Any

import pytest

from pipeline.mapping import MappingInvalid, MappingText, Rendered, compile_stored

BASE = """description: base
source: {table: public.work_orders}
when: after.id > 0
params: {plant: {required: true}, group: {default: G1}}
vars: {folio: "{{ after.folio }}"}
connector: rest
request:
  method: POST
  path: /orders
  headers: {X-Plant: "{{ params.plant }}"}
  body:
    folio: "{{ vars.folio }}"
    group: "{{ params.group }}"
    lines: [1, 2]
    address: {city: Lima, zip: "15001"}
repeat: upsert
"""


def derived(text: str, *bases: str) -> MappingText:
    files = ("m.yaml", *(f"base{number}.yaml" for number in range(len(bases))))
    texts = [MappingText(file, each) for file, each in zip(files, (text, *bases), strict=True)]
    return MappingText("m.yaml", text, tuple(texts[1:]))


def request(text: MappingText, make_input: Any, **after: Any) -> Any:
    result = compile_stored(text, "m").render(make_input(params={"plant": "CL01"}, after={"id": 1, **after}))
    assert isinstance(result, Rendered)
    return result.request


def body(text: MappingText, make_input: Any, **after: Any) -> Any:
    return request(text, make_input, **after)["body"]


def test_objects_merge_lists_replace_and_keys_are_removed(make_input: Any) -> None:
    text = """
extends: base
params: {group: {default: G2}}
vars: {folio: "OT-{{ after.folio }}", more: "{{ vars.folio }}!"}
request:
  headers: {$remove: true}
  body:
    lines: [3]
    address: {zip: {$remove: true}, street: Sol}
    more: "{{ vars.more }}"
"""
    assert body(derived(text, BASE), make_input, folio="7") == {
        "folio": "OT-7",
        "group": "G2",
        "lines": [3],
        "address": {"city": "Lima", "street": "Sol"},
        "more": "OT-7!",
    }
    assert "headers" not in request(derived(text, BASE), make_input, folio="7")


def test_a_chain_is_merged_from_its_end(make_input: Any) -> None:
    middle = "extends: base\nrequest: {body: {group: M, lines: [9], middle: true}}"
    text = "extends: middle\nrequest: {body: {group: D, folio: {$remove: true}, address: {$remove: true}}}"
    assert body(derived(text, middle, BASE), make_input, folio="7") == {
        "group": "D",
        "lines": [9],
        "middle": True,
    }


def test_a_key_may_be_removed_and_another_kind_of_body_written(make_input: Any) -> None:
    text = 'extends: base\nrequest: {body: {$remove: true}, text: "{{ vars.folio }}"}'
    assert request(derived(text, BASE), make_input, folio="7")["text"] == "7"
    assert compile_stored(derived(text, BASE), "m").repeat == "upsert"


@pytest.mark.parametrize(
    ("text", "base", "where", "says"),
    [
        ("extends: base\nrequest: {body: {a: {$remove: true}}}", BASE, "m.yaml:2:21", "nothing to remove"),
        ("extends: base\nrequest: {body: {a: {b: {$remove: true}}}}", BASE, "m.yaml:2:26", "none here"),
        (
            "extends: base\nrequest: {body: {lines: [{$remove: true}]}}",
            BASE,
            "m.yaml:2:27",
            "leave the element out",
        ),
        ("extends: base\nrequest: {body: {folio: {$remove: false}}}", BASE, "m.yaml:2:25", "$remove is true"),
        (
            "extends: base\nrequest: {body: {folio: {$remove: true, a: 1}}}",
            BASE,
            "m.yaml:2:25",
            "stands alone",
        ),
        ("extends: [base]", BASE, "m.yaml:1:10", "takes a mapping's name"),
        ('extends: ""', BASE, "m.yaml:1:10", "takes a mapping's name"),
        ("extends: base", BASE + "require: vars.nope\n", "base0.yaml:17:10", "no 'nope'"),
        ("extends: base", "source: {a: 1, a: 2}", "base0.yaml:1:16", "already in line 1"),
        ("extends: base", "wen: {$remove: true}", "base0.yaml:1:7", "none here"),
        ("extends: base\nwen: 1", BASE, "m.yaml:2:1", "did you mean 'when'?"),
        ("extends: base", "extends: other", "base0.yaml:1:10", "'other' is not at hand"),
    ],
)
def test_an_error_names_the_file_that_is_wrong(text: str, base: str, where: str, says: str) -> None:
    with pytest.raises(MappingInvalid) as caught:
        compile_stored(derived(text, base), "m")
    assert str(caught.value).startswith(f"{where}:") or f"\n{where}:" in str(caught.value), str(caught.value)
    assert says in str(caught.value)


def test_an_event_that_cannot_be_rendered_names_the_line_of_the_base(make_input: Any) -> None:
    with pytest.raises(Exception, match=r"base0.yaml:5:15: .*no column 'folio'"):
        body(derived("extends: base", BASE), make_input)


def test_the_version_covers_all_texts() -> None:
    alone = compile_stored(derived("extends: base", BASE), "m").version
    assert alone != compile_stored(derived("extends: base", BASE + "\n"), "m").version
    assert alone != compile_stored(derived("extends: base\n", BASE), "m").version


def test_remove_stands_only_where_something_is_extended() -> None:
    with pytest.raises(MappingInvalid, match="none here"):
        compile_stored(MappingText("m.yaml", BASE + "response: {$remove: true}"), "m")


def test_new_steps_come_behind_those_that_are_there(make_input: Any) -> None:
    base = (
        "source: {table: public.work_orders}\nconnector: rest\nsteps: {a: {request: {method: GET, path: /a}}}"
    )
    text = derived(
        "extends: base\nsteps: {b: {request: {method: GET, path: /b}}, a: {request: {path: /c}}}", base
    )
    course = compile_stored(text, "m").program.course
    assert [step.name for step in course.steps] == ["a", "b"]
    first = compile_stored(text, "m").render(make_input())
    assert isinstance(first, Rendered)
    assert first.request == {"method": "GET", "path": "/c"}
