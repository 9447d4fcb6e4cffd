"""A request's envelope without a connection, where the tenant's version holds the whole WSDL."""

from typing import Any

from lxml import etree

from connectors.protocol import ConnectionSettings, Prepared, RequestInvalid
from connectors.soap_service import SoapService
from connectors.wsdl_documents import WsdlDocuments, WsdlInvalid, file_content, file_path, file_url
from connectors.wsdl_loading import understood
from connectors.wsdl_model import choose_binding


class EnvelopePreview:
    """Reads the WSDL when it is made, and blocks for that."""

    def __init__(self, settings: ConnectionSettings) -> None:
        self._why = ""
        self._service: SoapService | None = None
        documents = WsdlDocuments(file_url(settings.options["wsdl"]))
        try:
            while (url := documents.missing()) is not None:
                path = file_path(url)
                if path is None:  # only a worker fetches it
                    return
                documents.add(file_content(settings.files[path]))
            document = understood(documents)
            options = settings.options
            binding = choose_binding(document, options.get("service"), options.get("port"))
            address = settings.base_url if options.get("addressing") else None
            self._service = SoapService(document, binding, address)
        except WsdlInvalid as error:
            self._why = f"the WSDL cannot be used: {error}"

    def __call__(self, prepared: Prepared) -> dict[str, Any]:
        """Raises RequestInvalid."""
        if self._why:
            raise RequestInvalid(self._why)
        shown = prepared.to_json()
        if self._service is None:
            return shown
        envelope = self._service.message(prepared.parts).envelope
        etree.indent(envelope)
        return shown | {"envelope": etree.tostring(envelope, encoding="unicode")}
