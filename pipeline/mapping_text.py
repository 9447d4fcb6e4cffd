"""A mapping's text with all that it names: what a version of a tenant holds, so that nothing outside it changes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from sys import intern


@dataclass(frozen=True, slots=True)
class MappingText:
    """A mapping's source as it was at `apply`. file: for messages; a shipped one's is `templates/…`.

    bases: what it `extends`, the nearest first. files: the texts of the files that it names itself, as it names them.
    """

    file: str
    text: str
    bases: tuple["MappingText", ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def shared(self) -> "MappingText":
        """The same, with texts that are one object wherever they are alike, for as long as anybody holds them."""
        return MappingText(
            intern(self.file),
            intern(self.text),
            tuple(base.shared for base in self.bases),
            {name: intern(text) for name, text in self.files.items()},
        )

    @property
    def said(self) -> "MappingText":
        """Without names of files: all that it says, wherever it stands."""
        return replace(self, file="", bases=tuple(base.said for base in self.bases))
