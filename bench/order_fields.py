"""What of a work order each connector kind's bench sends, as a mapping writes it."""

from textwrap import indent

_FIELDS = """
folio: "{{ after.wo_folio }}"
description: "{{ after.description | cut(40) }}"
cost: "{{ after.total_cost | decimal(2) }}"
plant: "{{ after.costs_center_description }}"
written: "{{ after.creation_date }}"
sequence: "{{ after.id }}"
"""


def order_fields(below: int) -> str:
    """below: how far they stand in, blanks."""
    return indent(_FIELDS.strip("\n"), " " * below) + "\n"
