# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""`event_text.Transaction` and `event_of`, compiled: the same messages in half their time.

The plain ones do the work where no C compiler was at hand when the package was built; a test holds both to one output.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdio cimport snprintf
from libc.string cimport memcpy

from cdc.foreign_bytes import AS_OCTAL
from eventbus.event import HEADER_EVENT_ID
from eventbus.group_commit import Outgoing

cdef bytes HEADER = f"{HEADER_EVENT_ID}: ".encode()

cdef struct Text:
    const char *start
    Py_ssize_t size


cdef class Transaction:
    """See `event_text.Transaction`."""

    cdef readonly object lsn
    cdef readonly str id_prefix
    cdef public int ordinal
    cdef bytes _commit_lsn
    cdef bytes _xid_and_time

    def __init__(self, str id_prefix, unsigned long long lsn, xid, str second, int microsecond):
        cdef char text[64]
        cdef int size = snprintf(text, sizeof(text), "%X/%X", <unsigned int>(lsn >> 32), <unsigned int>lsn)
        cdef bytes place = text[:size]
        self.lsn = lsn
        self.ordinal = 0
        self.id_prefix = id_prefix + place.decode() + ":"
        self._commit_lsn = b'","commit_lsn":"' + place + b'","ordinal":'
        size = snprintf(text, sizeof(text), ".%06dZ\"},\"key\":", microsecond)
        self._xid_and_time = (
            b',"xid":' + (b"null" if xid is None else str(xid).encode()) + b',"commit_ts":"' + second.encode() + text[:size]
        )


def event_of(Transaction within, unsigned long long lsn, target, str key, str before, str after):
    """See `event_text.event_of`."""
    cdef char place[64]
    cdef char number[16]
    cdef Text parts[12]
    cdef int digits
    cdef bytes head, header
    within.ordinal += 1
    digits = snprintf(number, sizeof(number), "%d", within.ordinal)
    parts[0] = Text(b'{"v":1,"id":"', 13)
    parts[1] = _utf8(within.id_prefix)
    parts[2] = Text(&number[0], digits)
    parts[3] = _utf8(<str>target.head)
    digits = snprintf(place, sizeof(place), "%X/%X", <unsigned int>(lsn >> 32), <unsigned int>lsn)
    parts[4] = Text(&place[0], digits)
    parts[5] = Text(PyBytes_AS_STRING(within._commit_lsn), len(within._commit_lsn))
    parts[6] = parts[2]
    parts[7] = Text(PyBytes_AS_STRING(within._xid_and_time), len(within._xid_and_time))
    try:
        parts[8], parts[9], parts[10] = _utf8(key), _utf8(before), _utf8(after)
        payload = _joined(parts, 12, Text(b"}", 1))
    except UnicodeEncodeError:  # it holds bytes that are no UTF-8
        head = _joined(parts, 9, Text(NULL, 0))
        payload = head + f"{key}{before}{after}}}".encode("utf-8", AS_OCTAL)
    parts[0] = Text(PyBytes_AS_STRING(HEADER), len(HEADER))
    header = _joined(parts, 4, Text(b"\r\n", 2))
    return Outgoing(target.subject, header, payload, (within.lsn, within.ordinal))


cdef Text _utf8(str text) except *:
    cdef Text found
    found.start = PyUnicode_AsUTF8AndSize(text, &found.size)
    return found


cdef bytes _joined(Text *parts, int count, Text last):
    """The first `count` - 1 parts, and `last`."""
    cdef Py_ssize_t size = last.size
    cdef int i
    cdef bytes whole
    cdef char *at
    for i in range(count - 1):
        size += parts[i].size
    whole = PyBytes_FromStringAndSize(NULL, size)
    at = PyBytes_AS_STRING(whole)
    for i in range(count - 1):
        memcpy(at, parts[i].start, parts[i].size)
        at += parts[i].size
    if last.size:
        memcpy(at, last.start, last.size)
    return whole
