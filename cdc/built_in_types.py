"""The types that come with PostgreSQL, whose forms are known without asking the catalogue.

All of src/include/catalog/pg_type.dat that a column can have, as of version 18; they keep their OIDs for ever, and
earlier versions have fewer.
"""

from collections.abc import Mapping
from types import MappingProxyType

from cdc.column_values import AS_IS, BOOLEAN, BYTEA, NUMBER, PLAIN, TEXT, TIMESTAMP, TIMESTAMPTZ, Form
from cdc.json_values import JSON
from cdc.nested_values import array_of
from cdc.pgoutput import Type

# type OID, array's OID or 0, name in pg_catalog, form
_TYPES = (
    (16, 1000, "bool", BOOLEAN),
    (17, 1001, "bytea", BYTEA),
    (18, 1002, "char", TEXT),
    (19, 1003, "name", TEXT),
    (20, 1016, "int8", AS_IS),
    (21, 1005, "int2", AS_IS),
    (22, 1006, "int2vector", PLAIN),
    (23, 1007, "int4", AS_IS),
    (24, 1008, "regproc", TEXT),
    (25, 1009, "text", TEXT),
    (26, 1028, "oid", AS_IS),
    (27, 1010, "tid", PLAIN),
    (28, 1011, "xid", PLAIN),
    (29, 1012, "cid", PLAIN),
    (30, 1013, "oidvector", PLAIN),
    (71, 210, "pg_type", TEXT),
    (81, 272, "pg_proc", TEXT),
    (83, 273, "pg_class", TEXT),
    (114, 199, "json", JSON),
    (142, 143, "xml", TEXT),
    (194, 0, "pg_node_tree", TEXT),
    (600, 1017, "point", PLAIN),
    (601, 1018, "lseg", PLAIN),
    (602, 1019, "path", PLAIN),
    (603, 1020, "box", PLAIN),
    (604, 1027, "polygon", PLAIN),
    (628, 629, "line", PLAIN),
    (650, 651, "cidr", PLAIN),
    (700, 1021, "float4", NUMBER),
    (701, 1022, "float8", NUMBER),
    (718, 719, "circle", PLAIN),
    (774, 775, "macaddr8", PLAIN),
    (790, 791, "money", TEXT),
    (829, 1040, "macaddr", PLAIN),
    (869, 1041, "inet", PLAIN),
    (1033, 1034, "aclitem", TEXT),
    (1042, 1014, "bpchar", TEXT),
    (1043, 1015, "varchar", TEXT),
    (1082, 1182, "date", PLAIN),
    (1083, 1183, "time", PLAIN),
    (1114, 1115, "timestamp", TIMESTAMP),
    (1184, 1185, "timestamptz", TIMESTAMPTZ),
    (1186, 1187, "interval", PLAIN),
    (1266, 1270, "timetz", PLAIN),
    (1560, 1561, "bit", PLAIN),
    (1562, 1563, "varbit", PLAIN),
    (1700, 1231, "numeric", NUMBER),
    (1790, 2201, "refcursor", TEXT),
    (2202, 2207, "regprocedure", TEXT),
    (2203, 2208, "regoper", TEXT),
    (2204, 2209, "regoperator", TEXT),
    (2205, 2210, "regclass", TEXT),
    (2206, 2211, "regtype", TEXT),
    (2950, 2951, "uuid", PLAIN),
    (2970, 2949, "txid_snapshot", PLAIN),
    (3220, 3221, "pg_lsn", PLAIN),
    (3361, 0, "pg_ndistinct", TEXT),
    (3402, 0, "pg_dependencies", TEXT),
    (3614, 3643, "tsvector", TEXT),
    (3615, 3645, "tsquery", TEXT),
    (3642, 3644, "gtsvector", TEXT),
    (3734, 3735, "regconfig", TEXT),
    (3769, 3770, "regdictionary", TEXT),
    (3802, 3807, "jsonb", JSON),
    (3904, 3905, "int4range", PLAIN),
    (3906, 3907, "numrange", PLAIN),
    (3908, 3909, "tsrange", TEXT),
    (3910, 3911, "tstzrange", TEXT),
    (3912, 3913, "daterange", TEXT),
    (3926, 3927, "int8range", PLAIN),
    (4072, 4073, "jsonpath", TEXT),
    (4089, 4090, "regnamespace", TEXT),
    (4096, 4097, "regrole", TEXT),
    (4191, 4192, "regcollation", TEXT),
    (4451, 6150, "int4multirange", PLAIN),
    (4532, 6151, "nummultirange", PLAIN),
    (4533, 6152, "tsmultirange", TEXT),
    (4534, 6153, "tstzmultirange", TEXT),
    (4535, 6155, "datemultirange", TEXT),
    (4536, 6157, "int8multirange", PLAIN),
    (4600, 0, "pg_brin_bloom_summary", TEXT),
    (4601, 0, "pg_brin_minmax_multi_summary", TEXT),
    (5017, 0, "pg_mcv_list", TEXT),
    (5038, 5039, "pg_snapshot", PLAIN),
    (5069, 271, "xid8", PLAIN),
)
_DELIMITERS = {"box": ";"}
"""Of arrays whose elements' text holds commas outside quotes."""

_arrays = [
    (oid, f"_{name}", array_of(form.to_json, _DELIMITERS.get(name, ",")))
    for _, oid, name, form in _TYPES
    if oid
]

BUILT_IN: Mapping[int, Form] = MappingProxyType(
    {oid: form for oid, _, _, form in _TYPES} | {oid: form for oid, _, form in _arrays}
)
"""By type OID; what is not here, the stream's type message or the catalogue tells."""

_form_of_name = {name: form for _, _, name, form in _TYPES} | {name: form for _, name, form in _arrays}


def form_of_message(message: Type) -> Form | None:
    """The form that a type message tells: of a domain, whose message names its built-in base type."""
    return _form_of_name.get(message.name) if message.schema == "pg_catalog" else None
