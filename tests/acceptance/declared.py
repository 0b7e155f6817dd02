"""The catalogue that acceptance tests declare."""

SERVICES = ("time-tracker", "slack-post", "calendar-read")


def declared(
    *,
    authorization_url: str,
    token_url: str,
    client_id: str,
    redirect_uri: str = "http://127.0.0.1:8765/callback",
    revocation_url: str = "",
    grace_seconds: int = 0,
) -> str:
    """A provider that revokes on reuse, three services, two agents that may have them, one that may not."""
    takes_back = f"revocation_url: {revocation_url}" if revocation_url else ""
    return f"""
providers:
  strict:
    {takes_back}
    authorization_url: {authorization_url}
    token_url: {token_url}
    client_id: {client_id}
    client_secret: {{env: PROVIDER_SECRET}}
    rotation: {{rotates: true, grace_seconds: {grace_seconds}, on_reuse: revoke_family}}
    redirect_uri: {redirect_uri}
    insecure_local: true
services:
  time-tracker: {{provider: strict, scopes: ["tasks:write"]}}
  slack-post: {{provider: strict, scopes: ["chat:write"]}}
  calendar-read: {{provider: strict, scopes: ["calendar:read"]}}
agents:
  tracker: {{description: "logs tasks"}}
  summarizer: {{description: "summarizes meetings"}}
  intern: {{description: "may have nothing"}}
policies:
  - {{name: workers, effect: allow, agents: [tracker, summarizer], services: ["*"], owners: ["$session"]}}
"""
