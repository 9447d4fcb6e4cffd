"""What a person can do about a dead letter: one piece of advice for each reason and class. Pure."""

from pipeline.dlq.stored_letter import StoredLetter

_REPLAY = "then `bridge dlq replay {id}`"
_MEND = f"mend the mapping, `bridge tenant apply`, {_REPLAY}"

_BY_CLASS = {
    "lookup": f"add the missing row to the crosswalk (lookups/*.csv of tenant {{tenant}}), `bridge tenant apply`, {_REPLAY}",
    "missing": f"the mapping names something that this event, or the ERP's answer, does not have: give it a `default`, or correct the name; {_MEND}",
    "null": f"a value is null where text is needed: give it a `default`; {_MEND}",
    "unchanged_column": f"the event does not carry that column, because it did not change: {_MEND}",
    "before_unknown": "the row before the change is not known: run the SQL that the message names"
    f" (docs/dba.md, Replica identity), or do without `changed` and `became`; {_MEND}",
    "not_boolean": f"a condition is neither true nor false: {_MEND}",
    "value": f"a filter cannot take this value: {_MEND}",
    "limit": f"the mapping asks for more than it may: {_MEND}",
    "request": f"the connector cannot send what the mapping made: {_MEND}",
    "wsdl": f"what the mapping made does not fit the ERP's WSDL, the message says where: {_MEND}",
    "event": "the event itself cannot be read; nothing in the mapping mends that: `bridge dlq discard {id}`"
    " once its row has been brought over otherwise (`bridge cdc backfill`)",
    "defect": "a defect of the bridge: report it with the message; after the upgrade `bridge dlq replay {id}`",
    "max_deliver": "somebody set max_deliver on a consumer: take it away (the workers make consumers as they"
    f" should be), {_REPLAY}",
    "terminated": f"somebody ended the message by hand: ask who, {_REPLAY}, or discard it",
}
_BY_REASON = {
    "rejected": "the ERP said no, its answer tells why: correct the record in the ERP or in Fracttal, or mend the"
    " mapping and `bridge tenant apply`; then `bridge dlq replay {id}`, or `bridge dlq discard {id}` where a later change has"
    " made it needless",
    "exhausted": "it failed each time, within all attempts that the route's `retry` allows: when the ERP is well again"
    " `bridge dlq replay {id}`; its attempts are counted anew",
    "mapping": f"the mapping could not make a request of it: {_MEND}",
    "uncertain": "it was sent and no answer came, and the mapping's `repeat` says that a repeat is unsafe: look in"
    " the ERP for {delivery}. It is there: `bridge dlq discard {id}`. It is not: `bridge dlq replay {id}`",
    "crashed": "workers ended each time they handled it: look at their logs (memory?), report it; it may have been"
    " sent: look in the ERP, then replay or discard it",
    "expired": "it was not delivered within the route's `deadline`: was the ERP away, or the route without its secret?"
    " When it works again `bridge dlq replay {id}`: its deadline counts from then",
    "removed": "its route is not in force any more: put it back (`bridge tenant apply`) and `bridge dlq replay {id}`,"
    " or `bridge dlq discard {id}`",
}
_REQUIRE = (
    "the mapping's own `require` does not hold: correct the record in Fracttal and `bridge dlq discard {id}` (its"
    " change comes by itself), or, where the rule is wrong, "
)


def advice(id_: str, letter: StoredLetter) -> str:
    """What to do next, in a sentence or two; id_: as people write it."""
    reason, error = letter.reason, letter.error
    if reason == "rejected" and error.status is None and error.class_ == "rejected":
        text = f"{_REQUIRE}{_MEND}"
    elif reason == "mapping" or error.class_ in ("max_deliver", "terminated", "wsdl"):
        text = _BY_CLASS.get(error.class_, _BY_REASON.get(reason, ""))
    else:
        text = _BY_REASON.get(reason, "")
    text = text or "replay it, or discard it; `bridge dlq show {id}` tells all that is known"
    return text.format(id=id_, tenant=letter.tenant, delivery=letter.delivery_id)
