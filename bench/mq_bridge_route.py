"""mq-bridge from a slot to a subject, in a process of its own: DSN SLOT PUBLICATION NATS_URL STREAM."""

import sys

from mq_bridge import Route

# From 128 to 8192 the difference is within the noise; more helps where each batch waits for a disk.
BATCH_SIZE = 8192


def main() -> None:
    dsn, slot, publication, nats_url, stream = sys.argv[1:]
    source = {"url": dsn, "slot_name": slot, "publication": publication, "create_slot": False}
    target = {"url": nats_url, "stream": stream, "subject": f"{stream}.changes"}
    route = {"batch_size": BATCH_SIZE, "input": {"postgres_cdc": source}, "output": {"nats": target}}
    Route.from_config(route).run()


if __name__ == "__main__":
    main()
