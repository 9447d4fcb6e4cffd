# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""pgoutput's rows straight from the wire to JSON, compiled: what `pgoutput.parse_row` and then `RowEncoder.encode` do, in
a third of their time, for there is no object per column in between.

Where no C compiler was at hand when the package was built, those two do the work; a property test holds both to the
same output. One row is written at a time, and no other thread may call: there is one buffer.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport memcpy

cdef const char *KEPT = "surrogateescape"  # foreign_bytes.KEPT

cdef enum Wire:  # column_values.Wire
    CALL, TEXT, AS_IS, PLAIN, NUMBER, BOOLEAN, TIMESTAMP, TIMESTAMPTZ

cdef enum:
    VALUE = 0x74  # 't'
    NULL_MARK = 0x6E  # 'n'
    QUOTE = 0x22
    BACKSLASH = 0x5C
    LONGEST = 65536  # of a frame: a longer one is no work for one buffer

cdef struct Column:
    int wire
    bint published
    const char *name  # as JSON, with its colon
    Py_ssize_t name_size
    Py_ssize_t start  # where its value stands in the buffer, while a row is written
    Py_ssize_t size

cdef bytes ESCAPES = b"".join(
    {8: b"\\b", 9: b"\\t", 10: b"\\n", 12: b"\\f", 13: b"\\r"}.get(code, b"\\u%04x" % code).ljust(6)
    for code in range(32)
)
cdef const char *ESCAPE = PyBytes_AS_STRING(ESCAPES)  # six bytes for each control character

cdef char *out = NULL
cdef Py_ssize_t used = 0
cdef Py_ssize_t room = 0


cdef class WireRows:
    """The rows of one relation."""

    cdef Column *_columns
    cdef int _count
    cdef int _tenant
    cdef list _names  # owns what the columns point to
    cdef list _to_json
    cdef tuple _key

    def __init__(self, list names, wires, list to_json, published, tuple key, tenant):
        """names: each column's as JSON; to_json: for those of `Wire.CALL`; places of columns count from 0."""
        cdef int place
        self._count = len(names)
        self._names = [f"{name}:".encode() for name in names]
        self._to_json, self._key = to_json, key
        self._tenant = -1 if tenant is None else tenant
        self._columns = <Column *>PyMem_Malloc(max(1, self._count) * sizeof(Column))
        if self._columns == NULL:
            raise MemoryError
        for place in range(self._count):
            self._columns[place].wire = wires[place]
            self._columns[place].published = place in published
            self._columns[place].name = PyBytes_AS_STRING(<bytes>self._names[place])
            self._columns[place].name_size = len(<bytes>self._names[place])

    def __dealloc__(self):
        PyMem_Free(self._columns)

    def encode(self, bytes data, Py_ssize_t at):
        """Tenant, key and row, as `RowEncoder.encode` gives them, of the row that begins at `at` in a frame.

        None where the plain way must say what is wrong, or which values are unchanged.
        """
        global used
        cdef const unsigned char *wire = <const unsigned char *>PyBytes_AS_STRING(data)
        cdef Py_ssize_t end = len(data), length
        cdef int place, kind
        cdef object tenant = None
        if end > LONGEST or at + 2 > end or ((wire[at] << 8) | wire[at + 1]) != self._count:
            return None
        at += 2
        used = 0
        for place in range(self._count):
            if at + 5 > end:  # the shortest value, an empty text; a row may end with a NULL, which is shorter
                if at >= end or wire[at] != NULL_MARK:
                    return None
            kind = wire[at]
            at += 1
            if kind == NULL_MARK:
                length = -1
            elif kind == VALUE:
                length = (wire[at] << 24) | (wire[at + 1] << 16) | (wire[at + 2] << 8) | wire[at + 3]
                at += 4
                if length < 0 or length > end - at:
                    return None
            else:
                return None
            if place == self._tenant:
                tenant = NULL_MARK if length < 0 else PyUnicode_DecodeUTF8(<const char *>wire + at, length, KEPT)
            if self._columns[place].published and not self._member(place, wire + at, length):
                return None
            at += max(length, 0)
        if at != end:
            return None
        row = _object(0)
        return tenant, self._key_json() if self._key else "null", row

    cdef bint _member(self, int place, const unsigned char *text, Py_ssize_t length) except -1:
        """A comma, the name and the value. False: it cannot be written here."""
        cdef Column *column = &self._columns[place]
        # a control character takes six bytes; 16 more hold comma, quotes and braces
        _reserve(column.name_size + 6 * max(length, 1) + 16)
        _put(b",", 1)
        _put(column.name, column.name_size)
        column.start = used
        if length < 0:
            _put(b"null", 4)
        elif column.wire == CALL:
            self._call(place, <const char *>text, length)
        elif not _write(column.wire, text, length):
            return False
        column.size = used - column.start
        return True

    cdef int _call(self, int place, const char *text, Py_ssize_t length) except -1:
        cdef bytes value = (<str>self._to_json[place](PyUnicode_DecodeUTF8(text, length, KEPT))).encode("utf-8", KEPT)
        _reserve(len(value) + 16)
        _put(PyBytes_AS_STRING(value), len(value))
        return 0

    cdef str _key_json(self):
        """Behind the row, whose values it copies."""
        cdef Py_ssize_t begin = used
        cdef Column *column
        cdef int place
        for place in self._key:
            column = &self._columns[place]
            _reserve(column.name_size + column.size + 16)
            _put(b",", 1)
            _put(column.name, column.name_size)
            _put(out + column.start, column.size)
        return _object(begin)


cdef str _object(Py_ssize_t begin):
    """What stands from `begin` on, each member behind a comma, as an object."""
    if used == begin:
        _reserve(2)
        _put(b"{", 1)
    out[begin] = b"{"
    _reserve(1)
    _put(b"}", 1)
    return PyUnicode_DecodeUTF8(out + begin, used - begin, KEPT)


cdef bint _write(int wire, const unsigned char *text, Py_ssize_t length):
    """A value's JSON; False for an empty number, which no server prints."""
    if wire == TEXT:
        _quoted(text, length)
    elif wire == PLAIN:
        _plain(<const char *>text, length)
    elif wire == BOOLEAN:
        if length == 1 and text[0] == b"t":
            _put(b"true", 4)
        else:
            _put(b"false", 5)
    elif wire == TIMESTAMP or wire == TIMESTAMPTZ:
        _timestamp(<const char *>text, length, wire == TIMESTAMPTZ)
    elif length == 0:
        return False
    elif wire == AS_IS or text[length - 1] <= b"9":
        _put(<const char *>text, length)
    else:
        _plain(<const char *>text, length)  # NaN, Infinity
    return True


cdef void _timestamp(const char *text, Py_ssize_t length, bint with_zone):
    cdef Py_ssize_t end = length
    cdef bint usual = length > 13 and text[10] == b" " and text[length - 1] != b"C"
    if with_zone:
        end -= 3
        usual = usual and text[end] == b"+" and text[end + 1] == b"0" and text[end + 2] == b"0"
    if not usual:
        _plain(text, length)
        return
    _put(b'"', 1)
    _put(text, 10)
    _put(b"T", 1)
    _put(text + 11, end - 11)
    if with_zone:
        _put(b"Z", 1)
    _put(b'"', 1)


cdef void _plain(const char *text, Py_ssize_t length):
    _put(b'"', 1)
    _put(text, length)
    _put(b'"', 1)


cdef void _quoted(const unsigned char *text, Py_ssize_t length):
    cdef Py_ssize_t place, written = 0
    cdef unsigned char character
    cdef const char *escape
    _put(b'"', 1)
    for place in range(length):
        character = text[place]
        if character >= 32 and character != QUOTE and character != BACKSLASH:
            continue
        _put(<const char *>text + written, place - written)
        written = place + 1
        if character >= 32:
            _put(b"\\", 1)
            _put(<const char *>text + place, 1)
        else:
            escape = ESCAPE + 6 * character
            _put(escape, 2 if escape[2] == b" " else 6)
    _put(<const char *>text + written, length - written)
    _put(b'"', 1)


cdef void _put(const char *what, Py_ssize_t size):
    """Where `_reserve` has made room."""
    global used
    memcpy(out + used, what, size)
    used += size


cdef int _reserve(Py_ssize_t more) except -1:
    global out, room
    cdef char *grown
    if used + more > room:
        grown = <char *>PyMem_Realloc(out, 2 * (used + more))
        if grown == NULL:
            raise MemoryError
        out, room = grown, 2 * (used + more)
    return 0
