"""What a rendering child is told of a plug-in's kind: it compiles for it, and loads none of its code."""

from collections.abc import Callable, Mapping
from typing import Any

from connectors.http_request import header_texts, method_token, path_target
from connectors.protocol import KindUnusable, Leaf, RequestKey, RequestShape
from connectors.registry import shape
from connectors.xml_payload import xml_document
from pipeline.jail.frames import Keys, Shape, ShapeKey

_CHECKS: Mapping[str, Callable[[Any], object]] = {
    "method": method_token,
    "path": path_target,
    "headers": header_texts,
    "xml": xml_document,
}
"""Ours, which a plug-in may name. A check of its own is code of its own: its `prepare` raises what that would."""


_NAMES = {check: name for name, check in _CHECKS.items()}


def shape_of(kind: str) -> Shape:
    """For the child. The kind's package is loaded where it was not."""
    try:
        return Shape(kind, _keys(shape(kind)))
    except KindUnusable as error:
        return Shape(kind, str(error))


def _keys(found: RequestShape) -> Keys:
    keys = [
        ShapeKey(
            name,
            key.leaf.value,
            key.required,
            "" if key.check is None else _NAMES.get(key.check, ""),
            key.literal,
            None if key.inside is None else _keys(key.inside),
        )
        for name, key in found.keys.items()
    ]
    return Keys(keys, found.payload, found.one_of)


def told(order: Shape) -> RequestShape | str:
    """In the child; a text says what is wrong with the package."""
    return order.told if isinstance(order.told, str) else _shape(order.told)


def _shape(told: Keys) -> RequestShape:
    keys = {
        key.name: RequestKey(
            Leaf(key.leaf),
            key.required,
            _CHECKS.get(key.check),
            key.literal,
            None if key.inside is None else _shape(key.inside),
        )
        for key in told.keys
    }
    return RequestShape(keys, told.payload, told.one_of)
