"""The demo's folder: its bridge.yaml and its tenants, as a user would write them, with this machine's addresses."""

import base64
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_SAMPLE_TENANTS = Path(__file__).with_name("sample_tenants")
_CONFIG = """\
# Written by `bridge demo`. The same few lines start the bridge on a database of your own.
sources:
  fracttal:
    dsn: {dsn}
    tenant_column: id_company
    tables:
      public.work_orders: {{}}
      public.work_order_resources: {{}} # the parts of an order, which a mapping reads
      public.third_parties: {{}}
      public.work_requests: {{}}
nats: {{embedded: ./nats}}
tenants: tenants/
egress: {{allow: [127.0.0.0/8]}} # the simulated ERPs run on this machine
secrets: {{key: "{key}"}}
"""


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder with everything of one demo."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "bridge.yaml"

    @property
    def nats(self) -> Path:
        return self.folder / "nats"

    def write(self, dsn: str, endpoints: Mapping[str, str]) -> None:
        """`endpoints`: what a sample tenant calls its ERP (`http://sap.example`), and where it really is."""
        self.folder.mkdir(parents=True, exist_ok=True)
        key = self.folder / "secrets.key"
        key.write_text(base64.b64encode(os.urandom(32)).decode() + "\n")
        key.chmod(0o600)
        self.config.write_text(_CONFIG.format(dsn=dsn, key="${file:./secrets.key}"))
        self.config.chmod(0o600)
        shutil.copytree(_SAMPLE_TENANTS, self.folder / "tenants", dirs_exist_ok=True)
        for file in (self.folder / "tenants").glob("*/tenant.yaml"):
            text = file.read_text()
            for name, address in endpoints.items():
                text = text.replace(name, address)
            file.write_text(text)
