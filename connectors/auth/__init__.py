"""How a connection proves who it is: the kinds of `auth`, shared by all connector kinds.

`kinds` declares what each may hold, `check` checks it. What every request carries comes from `fixed` (nothing that
ends), `oauth1` (a signature over each request) or a pass, which an issuer grants (`oauth2`, `login`) and `renewal`
keeps fresh. `connectors.erp_client` puts it onto requests, so that no connector kind knows of it.
"""

from connectors.auth.checking import check_auth

__all__ = ["check_auth"]
