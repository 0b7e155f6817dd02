from typing import NewType

ProviderName = NewType("ProviderName", str)
ServiceName = NewType("ServiceName", str)
IssuerName = NewType("IssuerName", str)
AgentName = NewType("AgentName", str)
SessionId = NewType("SessionId", str)
Owner = NewType("Owner", str)
GrantId = NewType("GrantId", str)
EnrolmentId = NewType("EnrolmentId", str)
IntentId = NewType("IntentId", str)
HandbackId = NewType("HandbackId", str)

#: The owner of team and service accounts.
SHARED_OWNER = Owner("shared")
