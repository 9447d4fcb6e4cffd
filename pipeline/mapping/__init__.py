"""The mapping language: a YAML tree with Jinja leaves that turns an event into an ERP's request.

`compile_mapping` reads a mapping once; `Mapping.render` is a pure function of the event after that.
"""

from pipeline.mapping.compile import compile_mapping
from pipeline.mapping.errors import Finding, MappingInvalid, RenderError
from pipeline.mapping.lookups import Lookup, parse_lookup
from pipeline.mapping.render import Mapping, Rendered, RenderInput, Skipped, Source

__all__ = [
    "Finding",
    "Lookup",
    "Mapping",
    "MappingInvalid",
    "RenderError",
    "RenderInput",
    "Rendered",
    "Skipped",
    "Source",
    "compile_mapping",
    "parse_lookup",
]
