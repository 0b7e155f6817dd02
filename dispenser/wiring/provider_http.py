from shared.adapters.provider_http import HttpxProviderHttp
from shared.settings import Settings


def provider_http(settings: Settings) -> HttpxProviderHttp:
    """The way to providers and issuers, as the operator allows it. Whoever has it closes it."""
    return HttpxProviderHttp(settings.private_networks, ca_file=settings.provider_ca_file)
