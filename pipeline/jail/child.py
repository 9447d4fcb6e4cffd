"""A process that compiles and renders tenants' text, and can do nothing else: `python -I -m pipeline.jail.child`.

Its parent (`pipeline.jail.process`) gives it one end of a socket and a board, an empty environment, and no secret. It
reads orders, answers each task in its order, and ends with the socket. Limits: `pipeline.jail.limits`.
"""

import gc
import os
import resource
import socket
import sys
import time
from contextlib import nullcontext

import msgspec

from connectors import protocol
from connectors.registry import PLUG_INS, judged, kinds, shape
from eventbus.event import encode_json
from pipeline.jail.board import Board
from pipeline.jail.desk import Desk
from pipeline.jail.frames import (
    Answer,
    Failed,
    Frames,
    Hello,
    Invalid,
    Load,
    MappingSource,
    PlugIns,
    Result,
    Shape,
    Task,
    Zone,
    frame,
    read_order,
    to_json,
)
from pipeline.jail.limits import CpuLimit, end_with, lock_in
from pipeline.jail.told_kinds import told
from pipeline.jail.zone_files import zone_file
from pipeline.mapping import RenderInput
from pipeline.mapping.errors import EvaluationError
from pipeline.mapping.zones import give

AT_A_GO = 262_144
FLUSH_S = 0.002
"""Answers gather so long, that others may go out together with them."""
COLLECT_EVERY = 2_000
"""Tasks. The collector must not look at a thousand compiled mappings within somebody's limit: that takes seconds."""
GROWN_KB = 512 * 1024
"""What mappings leave behind that made room for others is never collected; a child that has grown so far makes room itself."""
WARM_UP = """
source: {table: w.u, operations: [insert]}
connector: rest
request:
  method: POST
  path: /
  body:
    a: "{{ after.t | regex_replace('a', 'b') | upper | title | cut(3) | truncate(5) | wordwrap(9) | indent | center(9) }}"
    b: "{{ after.d | local | date_format('%d/%m/%Y %A %b %H') }} {{ after.d | add_days(1) | odata_date | urlencode }}"
    c: "{{ after.n | decimal(2) }} {{ '%05d %s' | format(after.n, after.t) }} {{ after | tojson | striptags | escape }}"
    d: "{{ after.l | groupby('a') | tojson }} {{ delivery.uuid }} {{ after.n | round | int | float }}"
    e: "{{ after.t | xml }} {{ [after.t] | csv }}"
schema: {properties: {a: {type: string, pattern: ^.}}, required: [b]}
"""
REFUSAL = protocol.Answer(400, {}, {"errors": [{"message": "no"}]})
WRONG = (("| upper", "| (upper"), ("type: string", "type: nonsense"), ("required: [b]", "required: [z]"))
"""What complaining loads, too: the grammar, a schema, and what does not fulfil one."""


class Child:
    def __init__(self, connection: socket.socket, board: Board) -> None:
        self._connection = connection
        self._board = board
        self._cpu = CpuLimit()
        self._desk = Desk(self._cpu.of)
        self._written: list[bytes] = []
        self._since = 0.0
        self._spent = False
        self._uncollected = 0

    def serve(self) -> None:
        """Until the other end of the socket is closed, or a task has taken all the memory: a fresh one goes on then."""
        frames = Frames()
        self._write(frame(Hello()))
        self._flush()
        while data := self._connection.recv(AT_A_GO):
            for body in frames.feed(data):
                self._take(body)
                if self._spent:
                    break
            self._flush()
            self._collect()
            if self._spent:
                return

    def _take(self, body: bytes) -> None:
        order = read_order(body)
        match order:
            case Load():
                self._desk.keep(order)
            case Zone():
                self._desk.zone(order)
            case PlugIns():
                PLUG_INS.load_none(order.names)
            case Shape():
                PLUG_INS.tell(order.name, told(order))
            case Task(number=number) if number > self._board.skip:
                self._board.at = number
                self._write(frame(self._answer(order)))
                self._board.at = 0
                self._uncollected += 1
            case _:
                pass

    def _collect(self) -> None:
        """What tasks left in cycles; what they made to stay is never looked at again."""
        if self._uncollected >= COLLECT_EVERY:
            self._uncollected = 0
            gc.collect(0)
            gc.freeze()
            self._spent = self._spent or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > GROWN_KB

    def _answer(self, task: Task) -> Answer:
        self._cpu.passed = False
        try:
            answer = self._desk.answer(task)
        except EvaluationError as error:
            # it passed outside of any expression
            answer = _limit(task, error.message)
        except MemoryError:
            self._spent = True
            answer = _limit(task, "more memory than one event may cost")
        if (self._cpu.passed or self._spent) and isinstance(answer, Failed | Invalid | Result):
            return msgspec.structs.replace(answer, strain=True)
        return answer

    def _write(self, answer: bytes) -> None:
        self._written.append(answer)
        now = time.monotonic()
        if len(self._written) == 1:
            self._since = now
        elif now - self._since > FLUSH_S:
            self._flush()

    def _flush(self) -> None:
        if self._written:
            self._connection.sendall(b"".join(self._written))
            self._written.clear()


def _limit(task: Task, what: str) -> Failed:
    return Failed(task.number, "limit", what, ("", 1, 1))


def warm_up() -> None:
    """Loads and compiles once what is loaded lazily: later no file can be opened."""
    PLUG_INS.load_none(())
    for kind in kinds():
        shape(kind)
        judged(kind, {}, REFUSAL)
    give("UTC", zone_file("UTC"))
    desk = Desk(lambda _seconds: nullcontext())
    desk.keep(Load(b"", MappingSource(WARM_UP)))
    row = {"t": "aa", "d": "2026-11-24T03:28:19Z", "n": 1, "l": [{"a": 1}]}
    event = {"op": "insert", "tenant": "a", "source": {"schema": "w", "table": "u"}, "after": row}
    given = RenderInput(event={}, tenant="a", route="b", params={}, delivery_id="c")
    for op in ("facts", "render"):
        answer = desk.answer(Task(1, op, b"", encode_json(event), to_json(given), 1.0))
        if not isinstance(answer, Result):
            sys.exit(f"the renderer does not render: {answer}")
    for right, wrong in WRONG:
        desk.keep(Load(wrong.encode(), MappingSource(WARM_UP.replace(right, wrong))))
        desk.answer(Task(1, "render", wrong.encode(), encode_json(event), to_json(given), 1.0))


def main() -> None:
    """Arguments: the socket's and the board's file descriptors, the parent's process, and how nice to be."""
    connection_file, board, parent, nice = (int(argument) for argument in sys.argv[1:5])
    end_with(parent)
    os.nice(nice)
    child = Child(socket.socket(fileno=connection_file), Board(board))
    os.close(board)
    gc.disable()
    warm_up()
    gc.freeze()
    lock_in(connection_file)
    child.serve()


if __name__ == "__main__":
    main()
