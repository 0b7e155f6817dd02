"""Where an owner begins to connect a service at the gateway."""

from urllib.parse import quote, urlencode

from shared.model import Owner, ServiceName


def connect_address(public_url: str, service: ServiceName, owner: Owner, ticket: str | None = None) -> str:
    """The address, with the ticket that opens it or, for those who may do without, none."""
    query = {"owner": owner} | ({} if ticket is None else {"ticket": ticket})
    return f"{public_url}/v1/connect/{quote(service, safe='')}?{urlencode(query)}"
