"""`${NAME}` and `${file:PATH}` in bridge.yaml: values that do not belong in a file under version control."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.yaml_nodes import Node, ScalarNode

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Environment:
    """What references read: variables, and files, whose relative paths start at `folder`."""

    variables: Mapping[str, str]
    folder: Path

    def text(self, node: Node) -> str:
        """The node's text with its references replaced; what they bring is not searched again.

        Raises:
            YamlError: no text, an unknown form, an unset variable, an unreadable file.
        """
        return _REFERENCE.sub(lambda found: self._value(found[1], node), node.as_text())

    def secret(self, node: Node | None) -> str | None:
        """As `text`, where no complaint may quote what is written."""
        if node is None:
            return None
        if not (isinstance(node, ScalarNode) and isinstance(node.value, str)):
            raise node.error(f"{node.mark.path}: expected text; put the value in quotes")
        return self.text(node)

    def path(self, node: Node) -> Path:
        """A path, relative to the configuration file's folder."""
        return self.folder / Path(self.text(node)).expanduser()

    def _value(self, reference: str, node: Node) -> str:
        where = node.mark.path
        if reference.startswith("file:"):
            return self._content(reference.removeprefix("file:"), node)
        if reference.startswith("secret:"):
            raise node.error(
                f"{where}: ${{secret:…}} belongs to tenants; write ${{NAME}} or ${{file:PATH}} here"
            )
        if not _VARIABLE.fullmatch(reference):
            raise node.error(
                f"{where}: ${{{reference}}} is no reference; write ${{NAME}} for an environment variable or "
                "${file:PATH} for a file"
            )
        value = self.variables.get(reference)
        if value is None:
            raise node.error(f"{where}: environment variable {reference} is not set; set it")
        if not value:
            raise node.error(f"{where}: environment variable {reference} is empty; set it")
        return value

    def _content(self, path: str, node: Node) -> str:
        file = self.folder / path
        try:
            content = file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise node.error(f"{node.mark.path}: file {file} cannot be read: {reason}") from None
        if not content:
            raise node.error(f"{node.mark.path}: file {file} is empty")
        return content
