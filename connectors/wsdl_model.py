"""A WSDL as zeep understands it, made of documents that are all at hand: nothing is fetched here. Slow: for a thread."""

import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from zeep import Settings, wsdl
from zeep.wsdl.bindings.soap import SoapBinding
from zeep.xsd.elements import Element, Group
from zeep.xsd.elements.indicators import OrderIndicator
from zeep.xsd.types import ComplexType

from connectors.soap_encoding import STAND_INS
from connectors.wsdl_documents import WsdlDocuments, WsdlInvalid, shown

MOST_PARTICLES = 300_000
"""NetSuite's WSDL has some 20,000."""


class _AtHand:
    """What zeep asks for documents."""

    def __init__(self, documents: Mapping[str, bytes]) -> None:
        self._documents = documents

    def load(self, url: Any) -> bytes:
        place = str(url).partition("#")[0]
        content = self._documents.get(place, STAND_INS.get(place))
        if content is None:
            raise WsdlInvalid(f"{shown(place)} is imported in a way that is not understood")
        return content


def read_wsdl(documents: WsdlDocuments) -> Any:
    """zeep's Document. Raises WsdlInvalid."""
    settings = Settings(
        strict=True, xml_huge_tree=False, forbid_dtd=True, forbid_entities=True, force_https=False
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of operations that are half described: who calls one is told
            document = wsdl.Document(documents.root, _AtHand(documents.found), settings=settings)
        _measure(document)
    except WsdlInvalid:
        raise
    except Exception as error:  # noqa: BLE001 — zeep raises whatever its visitor met: KeyError, AttributeError, …
        words = " ".join(str(error).split())[:300]
        raise WsdlInvalid(
            f"{shown(documents.root)} is not understood: {type(error).__name__}: {words}"
        ) from None
    return document


def _measure(document: Any) -> None:
    """Raises WsdlInvalid for one that unfolds into more than anybody means: groups of groups of groups."""
    left = MOST_PARTICLES
    seen: set[int] = set()
    types = [*document.types.types, *(getattr(each, "type", None) for each in document.types.elements)]
    while types:
        type_ = types.pop()
        if not isinstance(type_, ComplexType) or id(type_) in seen:
            continue
        seen.add(id(type_))
        particles = [type_._element]  # noqa: SLF001 — zeep's only way to the content model
        while particles:
            particle = particles.pop()
            left -= 1
            if left == 0:
                raise WsdlInvalid(
                    f"{shown(document.location)} unfolds into more than {MOST_PARTICLES} elements"
                )
            if isinstance(particle, Element):
                types.append(particle.type)
            else:
                particles.extend(members(particle))


def members(particle: Any) -> list[Any]:
    """Of a group, sequence, choice or all."""
    if isinstance(particle, Group):
        return [particle.child]
    return list(particle) if isinstance(particle, OrderIndicator) else []


def choose_binding(document: Any, service: str | None, port: str | None) -> Any:
    """The SOAP binding of a service's port, by default the first there is. Raises WsdlInvalid."""
    services = document.services
    if service is not None:
        if service not in services:
            raise WsdlInvalid(f"it has no service {service!r}{one_of(service, services)}")
        services = {service: services[service]}
    ports = {name: each for found in services.values() for name, each in found.ports.items()}
    if port is not None:
        if port not in ports:
            raise WsdlInvalid(f"it has no port {port!r}{one_of(port, ports)}")
        ports = {port: ports[port]}
    found = next((each.binding for each in ports.values() if isinstance(each.binding, SoapBinding)), None)
    if found is None:
        raise WsdlInvalid("it has no service with a port that speaks SOAP over HTTP")
    return found


def one_of(name: str, known: Any) -> str:
    """What may have been meant, or what there is."""
    known = [each for each in known if each]  # zeep takes an operation without a name, too
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    names = sorted(map(str, known))
    return f"; there is {', '.join(names[:20])}{', …' if len(names) > 20 else ''}" if names else ""
