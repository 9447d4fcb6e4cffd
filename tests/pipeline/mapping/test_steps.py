"""`steps`, `repeat: find` and `response.save`: what is next, given the answers so far."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest

from connectors.protocol import Answer, Delivered, Rejected, RetryLater, Unavailable
from pipeline.mapping import (
    NOTHING_KNOWN,
    Done,
    Known,
    Mapping,
    MappingInvalid,
    Rendered,
    RenderError,
    Skipped,
    compile_mapping,
)

ID = "fracttal:0/16B3748:3/acme/orders"
STEPS = """
vars: {code: "{{ after.code | trim }}"}
repeat: idempotency_key
steps:
  find:
    reads: true
    request: {method: GET, path: "/v/{{ vars.code }}"}
  create:
    when: steps.find.status == 404
    require: after.name is not none
    request: {method: POST, path: /v, headers: {X: "{{ delivery.id }}", Y: "{{ delivery.uuid }}"}, body: {n: "{{ after.name }}"}}
  confirm:
    request: {method: POST, path: "/v/{{ steps.create.body.id | default(steps.find.body.id) }}/confirm"}
    require: steps.confirm.body.ok
    repeat: unsafe
response: {save: {vendor: "{{ steps.create.body.id }}", status: "{{ status }}", none: "{{ null }}"}}
"""
NEW, OLD = Answer(404, {}, {"error": "no"}), Answer(200, {"ETag": "7"}, {"id": "V7"})


@pytest.fixture
def render(make_input: Callable[..., Any]) -> Callable[..., Any]:
    def of(text: str = STEPS, known: Known = NOTHING_KNOWN, **after: Any) -> Any:
        return _steps(text).render(make_input(after={"code": " A ", "name": "N", **after}, known=known))

    return of


def _steps(text: str) -> Mapping:
    """Without the request that `compiled` writes."""
    head = (
        "source: {table: public.work_orders, operations: [insert, update, delete, read]}\nconnector: rest\n"
    )
    return compile_mapping(head + text, file="m.yaml", name="m")


def answers(**given: Answer) -> Known:
    return Known(answers=given)


def test_the_first_step_comes_first(render: Callable[..., Any]) -> None:
    first = render()
    assert first == Rendered(
        {"method": "GET", "path": "/v/A"}, "find", "request", f"{ID}/find", reads=True, repeat="idempotency_key",
        last=False,
    )  # fmt: skip
    assert first.safe


def test_each_step_sees_the_answers_before_it(render: Callable[..., Any]) -> None:
    create = render(known=answers(find=NEW))
    assert (create.step, create.delivery_id, create.reads) == ("create", f"{ID}/create", False)
    assert create.request["headers"] == {
        "X": f"{ID}/create",
        "Y": str(uuid5(NAMESPACE_URL, f"fracttal-bridge:{ID}/create")),
    }
    confirm = render(known=answers(find=NEW, create=Answer(201, {}, {"id": "V9"})))
    assert (confirm.request["path"], confirm.repeat, confirm.safe) == ("/v/V9/confirm", "unsafe", False)
    assert not confirm.last  # its own `require` is still to be asked


def test_a_step_is_skipped_and_its_body_is_null(render: Callable[..., Any]) -> None:
    assert render(known=answers(find=OLD)).request["path"] == "/v/V7/confirm"


def test_at_the_end_is_what_to_save(render: Callable[..., Any]) -> None:
    ok = Answer(200, {}, {"ok": True})
    known = answers(find=NEW, create=Answer(201, {}, {"id": "V9"}), confirm=ok)
    assert render(known=known) == Done({"vendor": "V9", "status": 200})


def test_what_cannot_be_saved_undoes_nothing(render: Callable[..., Any]) -> None:
    done = render(known=answers(find=OLD, confirm=Answer(200, {}, {"ok": True})))
    assert done.save == {"status": 200}
    assert len(done.problems) == 1
    assert done.problems[0].startswith("m.yaml:")
    assert "steps.create.body is null" in done.problems[0]


def test_what_a_step_requires_before_it_is_sent(render: Callable[..., Any]) -> None:
    with pytest.raises(RenderError, match="the `require` of the step 'create'") as caught:
        render(known=answers(find=NEW), name=None)
    assert caught.value.class_ == "rejected"
    # already sent: it held then
    assert render(known=answers(find=NEW, create=OLD), name=None).step == "confirm"


def test_what_a_step_requires_of_its_answer(render: Callable[..., Any]) -> None:
    with pytest.raises(RenderError, match="of the step 'confirm'"):
        render(known=answers(find=OLD, confirm=Answer(200, {}, {"ok": False})))


def test_a_delivery_that_has_begun_is_ended_whatever_the_conditions_say_now(
    render: Callable[..., Any],
) -> None:
    text = STEPS + "when: after.name == 'N'\nskip_if: after.name == 'S'\nrequire: after.name != 'R'\n"
    assert render(text, name="X") == Skipped("when")
    for name in "XSR":
        assert render(text, name=name, known=answers(find=OLD)).step == "confirm"


def test_where_every_step_is_skipped_nothing_is_sent(render: Callable[..., Any]) -> None:
    text = "steps: {a: {when: after.name == 'X', request: {method: GET, path: /x}}}"
    assert render(text) == Skipped("steps")
    assert render(text, name="X").last


@pytest.mark.parametrize(
    ("more", "last"),
    [("", True), (", require: steps.a.body.ok", False), ("}}\nresponse: {save: {x: 1", False)],
)
def test_the_last_step_is_the_end_where_nothing_is_left_to_ask(
    render: Callable[..., Any], more: str, last: Any
) -> None:
    text = f"steps: {{a: {{request: {{method: GET, path: /x}}{more}}}}}"
    assert render(text).last is last


def test_the_last_step_may_be_skipped(render: Callable[..., Any]) -> None:
    text = """
steps:
  a: {request: {method: GET, path: /x}}
  b: {when: "steps.a.status == 201", request: {method: GET, path: /y}}
"""
    assert not render(text).last
    assert render(text, known=answers(a=OLD)) == Done()
    assert render(text, known=answers(a=Answer(201, {}, None))).last


def test_headers_of_an_answer_are_in_lower_case(render: Callable[..., Any]) -> None:
    text = """
steps:
  a: {request: {method: GET, path: /x}}
  b: {request: {method: PUT, path: /x, headers: {If-Match: "{{ steps.a.headers.etag }}"}}}
"""
    assert render(text, known=answers(a=OLD)).request["headers"] == {"If-Match": "7"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("steps: {}", "steps needs a step"),
        ("steps: {a: {}}", "needs a request"),
        ("steps: {a: 1}", "a step is an object"),
        ("steps: {a-b: {request: {method: GET, path: /x}}}", "is no name"),
        ("steps: {a: {request: {method: GET, path: /x}, wen: true}}", "did you mean 'when'?"),
        ("steps: {a: {request: {method: GET, path: /x}, reads: yes}}", "true or false"),
        ("steps: {a: {request: {method: GET, path: /x}}}\nrequest: {}", "in each of the steps"),
        ("steps: {a: {request: {method: GET, path: /x}}}\nschema: {}", "in each of the steps"),
        (
            "steps: {a: {request: {method: GET, path: /x}}}\nrepeat: {find: {request: {}, found: true}}",
            "belongs to the step",
        ),
        ("steps: {a: {when: steps.b.status == 1, request: {method: GET, path: /x}}}", "no 'b'"),
        ("steps: {a: {when: steps.a.status == 1, request: {method: GET, path: /x}}}", "no 'a'"),
        ("steps: {a: {request: {method: GET, pth: /x}}}", "did you mean 'path'?"),
        ("steps: {a: {request: {method: GET, path: /x}, require: body.ok}}", "steps.NAME.body"),
    ],
)
def test_what_cannot_work_is_found_before_any_event(text: str, says: str) -> None:
    with pytest.raises(MappingInvalid) as caught:
        _steps(text)
    assert says in str(caught.value)


# ── What an answer means ─────────────────────────────────────────────────────────────────────────────────────────


def judged(make_input: Any, rendered: Rendered, outcome: Any) -> Any:
    text = STEPS.replace(
        "response: {", "response: {retry: step == 'create' and steps.find.status == 404 and status == 409, "
    )
    known = answers(find=NEW)
    return _steps(text).classify(outcome, make_input(after={"code": "A", "name": "N"}, known=known), rendered)


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_not_there_answers_who_only_reads(make_input: Any, status: int) -> None:
    answer = Answer(status, {}, None)
    for rendered in (Rendered({}, "find", reads=True), Rendered({}, "create", "find")):
        assert judged(make_input, rendered, Rejected("no", answer)) == Delivered(answer)
    sent = Rendered({}, "create")
    assert isinstance(judged(make_input, sent, Rejected("no", answer)), Rejected)


@pytest.mark.parametrize("outcome", [Rejected("no", Answer(400, {}, None)), Unavailable("down")])
def test_who_reads_hears_everything_else_as_anybody(make_input: Any, outcome: Any) -> None:
    assert judged(make_input, Rendered({}, "find", reads=True), outcome) is outcome


def test_the_rules_are_asked_of_each_step(make_input: Any) -> None:
    conflict = Rejected("no", Answer(409, {}, None))
    assert isinstance(judged(make_input, Rendered({}, "create"), conflict), RetryLater)
    assert isinstance(judged(make_input, Rendered({}, "confirm"), conflict), Rejected)
    assert isinstance(judged(make_input, Rendered({}, "create", "find"), conflict), Rejected)


def test_what_is_out_of_date_is_read_again(make_input: Any) -> None:
    gone = Rejected("changed", Answer(412, {}, None), "412")
    heard = judged(make_input, Rendered({}, "create"), gone)
    assert isinstance(heard, RetryLater)
    assert (heard.answer, heard.code) == (gone.answer, "412")
    told = Rejected("changed", Answer(409, {}, {"error": {"code": "Request_EntityChanged"}}))
    assert isinstance(judged(make_input, Rendered({}, "confirm"), told), RetryLater)
    # the mapping's own word on it counts more, and without a step that reads nothing would be another the next time
    rejects = STEPS.replace("response: {", "response: {reject: status == 412, ")
    given = make_input(after={"code": "A", "name": "N"}, known=answers(find=NEW))
    assert isinstance(_steps(rejects).classify(gone, given, Rendered({}, "create")), Rejected)
    reads_nothing = replace(given, known=Known())
    assert isinstance(_steps(STEPS).classify(gone, reads_nothing, Rendered({}, "create")), Rejected)
    facts = _steps(STEPS).facts
    assert not facts.leaves(gone, Rendered({}, "create"))
    assert facts.leaves(Rejected("no", Answer(409, {}, None)), Rendered({}, "create"))


# ── Looking up ───────────────────────────────────────────────────────────────────────────────────────────────────

FIND = """
request: {method: POST, path: /x, body: {e: "{{ event.id }}"}}
repeat:
  find:
    request: {method: GET, path: /x, query: {e: "{{ event.id }}"}}
    found: body.value | length > 0
    save: {doc: "{{ body.value[0].id }}", one: "{{ body.value[0].nope }}"}
response: {save: {doc: "{{ body.id }}"}}
"""


@pytest.fixture
def found(compiled: Callable[..., Any], make_input: Callable[..., Any]) -> Callable[..., Any]:
    return lambda text=FIND, **known: compiled(text).render(make_input(known=Known(**known)))


def test_at_first_nothing_is_looked_up(found: Callable[..., Any]) -> None:
    first = found()
    assert (first.kind, first.repeat, first.safe, first.last) == ("request", "find", True, False)
    assert found(FIND.split("response:", maxsplit=1)[0]).last


def test_what_may_have_arrived_is_looked_up_before_it_is_sent_again(found: Callable[..., Any]) -> None:
    unsure = frozenset({""})
    lookup = found(unsure=unsure)
    assert (lookup.kind, lookup.request["method"], lookup.safe, lookup.last) == ("find", "GET", True, False)
    there = found(unsure=unsure, finds={"": Answer(200, {}, {"value": [{"id": 5}]})})
    assert (there.found, there.save, len(there.problems)) == (True, {"doc": 5}, 1)
    assert found(unsure=unsure, finds={"": Answer(200, {}, {"value": []})}).kind == "request"


def test_a_lookup_that_says_nothing_sends_nothing(found: Callable[..., Any]) -> None:
    with pytest.raises(RenderError, match="no member 'value'") as caught:
        found(unsure=frozenset({""}), finds={"": Answer(404, {}, {"error": 1})})
    assert caught.value.class_ == "missing"


def test_what_was_sent_in_the_end_is_saved_from_its_own_answer(found: Callable[..., Any]) -> None:
    empty = {"": Answer(200, {}, {"value": []})}
    done = found(unsure=frozenset({""}), finds=empty, answers={"": Answer(201, {}, {"id": 6})})
    assert done == Done({"doc": 6})


def test_a_step_that_is_found_has_the_lookups_answer(render: Callable[..., Any]) -> None:
    text = """
steps:
  a:
    request: {method: POST, path: /x}
    repeat: {find: {request: {method: GET, path: /x}, found: body.there, save: {a: "{{ body.id }}"}}}
  b: {request: {method: POST, path: "/y/{{ steps.a.body.id }}", body: "{{ steps.a.found }}"}}
"""
    assert (render(text).step, render(text).kind) == ("a", "request")
    unsure = frozenset({"a"})
    assert render(text, known=Known(unsure=unsure)).kind == "find"
    known = Known(unsure=unsure, finds={"a": Answer(200, {}, {"there": True, "id": 5})})
    step = render(text, known=known)
    assert (step.step, step.request["path"], step.request["body"]) == ("b", "/y/5", True)
    known = Known(unsure=unsure, finds=known.finds, answers={"b": OLD})
    assert render(text, known=known) == Done({"a": 5})


# ── After the end ────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_undoes_what_the_erp_has(found: Callable[..., Any]) -> None:
    broken = FIND + 'vars: {x: "{{ after.nope }}"}\n'
    done = found(broken, answers={"": Answer(201, {}, {"id": 6})})
    assert isinstance(done, Done)
    assert "no column 'nope'" in done.problems[0]


def test_what_is_saved_is_bounded_and_reads_nothing_more(found: Callable[..., Any]) -> None:
    text = FIND.replace(
        '{doc: "{{ body.id }}"}', "{big: \"{{ body.big }}\", more: \"{{ saved('r', 1, 'x') }}\", ok: 1}"
    )
    done = found(text, answers={"": Answer(201, {}, {"big": "x" * 100_000})})
    assert done.save == {}
    assert len(done.problems) == 3
    done = found(text, answers={"": Answer(201, {}, {"big": "x"})})
    assert done.save == {"big": "x", "ok": 1}
    assert "nothing more is read" in done.problems[0]
