"""The mapping language: a YAML tree with Jinja leaves that turns an event into an ERP's request.

`compile_mapping` reads a mapping once; `Mapping.render` is a pure function of the event and of what is known besides it
after that, called again whenever more is known. The protocol between it and its caller: `pipeline.mapping.known`.
"""

from pipeline.mapping.compile import compile_mapping, compile_stored
from pipeline.mapping.errors import Finding, MappingInvalid, RenderError
from pipeline.mapping.known import NOTHING_KNOWN, ColumnsRead, Known, Read, RowsRead, SavedRead
from pipeline.mapping.lookups import Lookup, parse_lookup
from pipeline.mapping.mapping_facts import MappingFacts, Source
from pipeline.mapping.render import Mapping, RenderInput
from pipeline.mapping.results import Done, Needs, Rendered, Repeat, Result, Skipped, Waits
from pipeline.mapping_text import MappingText

__all__ = [
    "NOTHING_KNOWN",
    "ColumnsRead",
    "Done",
    "Finding",
    "Known",
    "Lookup",
    "Mapping",
    "MappingFacts",
    "MappingInvalid",
    "MappingText",
    "Needs",
    "Read",
    "RenderError",
    "RenderInput",
    "Rendered",
    "Repeat",
    "Result",
    "RowsRead",
    "SavedRead",
    "Skipped",
    "Source",
    "Waits",
    "compile_mapping",
    "compile_stored",
    "parse_lookup",
]
