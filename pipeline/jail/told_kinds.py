"""What a rendering child is told of a plug-in's kind: it compiles for it, and loads none of its code."""

from collections.abc import Callable, Mapping
from typing import Any

from connectors.http_request import header_texts, method_token, path_target
from connectors.protocol import KindUnusable, Leaf, RequestKey, RequestShape
from connectors.registry import shape
from connectors.xml_payload import xml_document
from pipeline.jail.frames import Shape

_CHECKS: Mapping[str, Callable[[Any], object]] = {
    "method": method_token,
    "path": path_target,
    "headers": header_texts,
    "xml": xml_document,
}
"""Ours, which a plug-in may name. A check of its own is code of its own: its `prepare` raises what that would."""


def shape_of(kind: str) -> Shape:
    """For the child. The kind's package is loaded where it was not."""
    try:
        found = shape(kind)
    except KindUnusable as error:
        return Shape(kind, problem=str(error))
    names = {check: name for name, check in _CHECKS.items()}
    keys = [
        (
            name,
            key.leaf.value,
            key.required,
            "" if key.check is None else names.get(key.check, ""),
            key.literal,
        )
        for name, key in found.keys.items()
    ]
    return Shape(kind, keys, found.payload, found.one_of)


def told(order: Shape) -> RequestShape | str:
    """In the child; a text says what is wrong with the package."""
    if order.problem:
        return order.problem
    keys = {
        name: RequestKey(Leaf(leaf), required, _CHECKS.get(check), literal)
        for name, leaf, required, check, literal in order.keys
    }
    return RequestShape(keys, order.payload, order.one_of)
