"""Names as commands take them that we run ourselves; `finding.identifier` is for people, and quotes where it must."""


def quoted(name: str) -> str:
    """An SQL identifier, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'
