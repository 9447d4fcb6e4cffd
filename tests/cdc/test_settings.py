from dataclasses import replace

from cdc.settings import SourceSettings, TableSettings, tables_hash

SOURCE = SourceSettings("shop", "", {"public.a": TableSettings("company"), "public.b": TableSettings()})


def test_the_hash_differs_where_the_same_wal_could_make_other_events() -> None:
    others = [
        replace(SOURCE, tables={"public.a": TableSettings("company")}),
        replace(SOURCE, tables={**SOURCE.tables, "public.b": TableSettings(key=("n",))}),
        replace(SOURCE, outbox="bridge.outbox"),
        replace(SOURCE, outbox="bridge.other"),
    ]
    hashes = [tables_hash(source) for source in (SOURCE, *others)]
    assert len({*hashes}) == len(hashes)
    same = replace(SOURCE, tables=dict([*SOURCE.tables.items()][::-1]), streaming=False, slot="other")
    assert tables_hash(same) == hashes[0]
