"""Which reads are asked together, who is next, and for whom what was read is new enough."""

from pipeline.rows.read_cache import ENTRIES, KEEP_S, ReadCache
from pipeline.rows.read_queue import BATCH, SLOW_S, Batch, Group, ReadQueue
from pipeline.rows.row_reads import Place, ReadShape

BY_ORDER = ReadShape("public.parts", (("wo", False),), many=True, limit=1_000)
BY_ID = ReadShape("public.parts", (("id", False),))


def queue(*asked: tuple[str, ReadShape, int], sessions: int = 4) -> ReadQueue[int]:
    made: ReadQueue[int] = ReadQueue(sessions)
    for number, (tenant, shape, value) in enumerate(asked):
        made.add(Group("shop", tenant, shape), value, (value,), number)
    return made


def taken(waiting: ReadQueue[int]) -> list[Batch[int]]:
    batches = []
    while (batch := waiting.take()) is not None:
        batches.append(batch)
    return batches


def test_reads_of_one_shape_and_tenant_go_together_and_tenants_take_turns() -> None:
    waiting = queue(("a", BY_ORDER, 1), ("a", BY_ORDER, 2), ("a", BY_ID, 1), ("b", BY_ORDER, 1))
    assert waiting.find(Group("shop", "a", BY_ORDER), 2) == 1
    assert waiting.find(Group("shop", "b", BY_ORDER), 2) is None
    first, second = taken(waiting)
    assert (first.group.tenant, [number for _, number in first.reads]) == ("a", [0, 1])
    assert second.group.tenant == "b"
    assert (
        waiting.find(Group("shop", "a", BY_ORDER), 2) is None
    )  # it is being asked: a later read wants a newer answer
    waiting.done(first, 0.001)
    [third] = taken(waiting)
    assert (third.group.tenant, third.group.shape) == ("a", BY_ID)


def test_no_more_are_asked_than_there_are_sessions_and_a_tenants_many_wait_behind_others() -> None:
    asked = [("a", BY_ORDER, value) for value in range(BATCH + 5)]
    waiting = queue(*asked, ("b", BY_ORDER, 1), ("c", BY_ORDER, 1), sessions=2)
    first, second = taken(waiting)
    assert (len(first.reads), second.group.tenant) == (BATCH, "b")
    waiting.done(first, 0.001)
    assert [batch.group.tenant for batch in taken(waiting)] == ["c"]
    waiting.done(second, 0.001)
    assert [len(batch.reads) for batch in taken(waiting)] == [5]


def test_slow_tenants_leave_half_of_the_sessions_to_the_others() -> None:
    waiting: ReadQueue[int] = queue(*((tenant, BY_ORDER, 1) for tenant in "abcd"))
    for batch in taken(waiting):
        waiting.done(batch, SLOW_S)
    for tenant in "abcdxyz":
        waiting.add(Group("shop", tenant, BY_ORDER), 1, (1,), 0)
        waiting.add(Group("shop", tenant, BY_ORDER), 2, (2,), 0)
    batches = taken(waiting)
    assert [(batch.group.tenant, len(batch.reads)) for batch in batches] == [
        ("a", 1),  # each alone: one of them may be what is slow
        ("b", 1),
        ("x", 2),
        ("y", 2),
    ]
    waiting.done(batches[0], 0.001)  # no longer slow
    assert [batch.group.tenant for batch in taken(waiting)] == ["c"]


def test_the_cache_serves_for_a_moment_and_only_changes_whose_commit_it_saw() -> None:
    cache = ReadCache()

    def sees(place: Place) -> bool:
        return place.xid is None or place.xid < 100

    cache.put("k", [{"id": 1}], sees, 5.0)
    assert cache.get("k", Place(99), 5.0 + KEEP_S / 2) == [{"id": 1}]
    assert cache.get("k", Place(100), 5.0) is None
    assert cache.get("k", Place(99), 5.0 + KEEP_S) is None
    assert cache.get("other", Place(99), 5.0) is None
    cache.put("k", [{"text": "x" * 100_000}], sees, 6.0)
    assert cache.get("k", Place(99), 6.0) is None
    for number in range(ENTRIES + 10):
        cache.put(number, [], sees, 7.0)
    assert cache.get(9, Place(99), 7.0) is None
    assert cache.get(10, Place(99), 7.0) == []


def test_an_events_place() -> None:
    source = {"xid": 754, "commit_lsn": "0/16B3748"}
    assert Place.of_event({"source": source}) == Place(754, 0x16B3748)
    assert Place.of_event({"source": {"xid": None, "commit_lsn": "nonsense"}}) == Place()
    assert Place.of_event({}) == Place()
