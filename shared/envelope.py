"""Sealing. Three kinds of envelope, each bound to where it belongs:

- *to the refreshers' key* (HPKE, RFC 9180, base mode, ML-KEM-768 + X25519): grants' credentials, providers'
  secrets, enrolments. Whoever holds the public key alone can write one and not read it.
- *under the cache key* (AES-256-GCM): access tokens, in Redis and in SQL alike, and what a consent
  under way needs.
- *under the transport key* (AES-256-GCM): the keys of a day that agents seal their requests to.

Layout: format version (1 byte) | kind (1) | key id (8) | generation (8, big endian) | ciphertext. Header and
place are authenticated, so an envelope moved to another row, owner or generation does not open.

What is presented or kept says inside which client it was given to: `workers.oauth` sends it to no other, and
whoever alters the declaration can read no envelope to write another client into it.
"""

import hashlib
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import msgpack
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from shared.errors import KeyMissing, SealBroken
from shared.keyring import Keyring
from shared.model import (
    AccessToken,
    AuthorizationCode,
    Client,
    ClientItself,
    Credential,
    EnrolmentId,
    Grant,
    GrantId,
    Handback,
    Owner,
    Presented,
    Provider,
    ProviderSecrets,
    RefreshToken,
    SealedColumn,
    SealedRow,
    ServiceAccountKey,
    ServiceName,
    StaticToken,
)
from shared.secret import Secret

FORMAT: Final = 1
TO_REFRESHERS: Final = 1
UNDER_CACHE_KEY: Final = 2
UNDER_TRANSPORT_KEY: Final = 3
NONCE_BYTES: Final = 12
FINGERPRINT_BYTES: Final = 16
_HEADER = struct.Struct(">BB8sQ")
_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_PRESENTED: dict[str, type[Presented]] = {
    "authorization_code": AuthorizationCode,
    "refresh_token": RefreshToken,
    "static_token": StaticToken,
    "service_account_key": ServiceAccountKey,
    "client_itself": ClientItself,
}
#: What each column's values are, as their place says it.
_BOUND_AS: Final[Mapping[SealedColumn, str]] = {
    SealedColumn.PROVIDER_SECRETS: "provider",
    SealedColumn.CREDENTIALS: "credential",
    SealedColumn.TOKENS: "token",
    SealedColumn.PARKED: "spool",
    SealedColumn.ENROLMENTS: "enrolment",
    SealedColumn.VERIFIERS: "verifier",
    SealedColumn.TRANSPORT_KEYS: "transport key",
    SealedColumn.HANDBACKS: "credential",
}
_NAMES = {kind: name for name, kind in _PRESENTED.items()}


def seal_credential(
    keys: Keyring, grant_id: GrantId, owner: Owner, generation: int, value: Credential
) -> bytes:
    """A grant's credential, bound to its row, owner and generation."""
    return _seal_to_refreshers(keys, generation, _place("credential", grant_id, owner), _pack(value))


def open_credential(keys: Keyring, grant: Grant) -> Credential:
    """Raises: SealBroken, KeyMissing."""
    if grant.sealed_credential is None:
        return ClientItself()
    return _opened_credential(keys, grant.id, grant.owner, grant.generation, grant.sealed_credential)


def open_handback(keys: Keyring, handback: Handback) -> Credential:
    """A revoked grant's credential, sealed as the grant had it. Raises: SealBroken, KeyMissing."""
    return _opened_credential(
        keys, handback.grant_id, handback.owner, handback.generation, handback.sealed_credential
    )


def _opened_credential(
    keys: Keyring, grant_id: GrantId, owner: Owner, generation: int, sealed: bytes
) -> Credential:
    place = _place("credential", grant_id, owner)
    opened = _unpack(_open_from_refreshers(keys, sealed, place, generation))
    if isinstance(opened, AuthorizationCode):
        raise SealBroken("A grant holds an authorization code instead of a credential.")
    return opened


def seal_enrolment(
    keys: Keyring, enrolment_id: EnrolmentId, service: ServiceName, owner: Owner, value: Presented
) -> bytes:
    """What an owner presents, bound to its enrolment."""
    return _seal_to_refreshers(keys, 0, _place("enrolment", enrolment_id, service, owner), _pack(value))


def open_enrolment(
    keys: Keyring, enrolment_id: EnrolmentId, service: ServiceName, owner: Owner, sealed: bytes
) -> Presented:
    """Raises: SealBroken, KeyMissing."""
    return _unpack(_open_from_refreshers(keys, sealed, _place("enrolment", enrolment_id, service, owner), 0))


def seal_provider_secrets(keys: Keyring, provider: Provider, value: ProviderSecrets) -> bytes:
    """A provider's secrets, bound to where they are sent too: an altered address does not get them."""
    body = msgpack.packb([[_plain(one) for one in value.client_secrets], _plain(value.private_key)])
    return _seal_to_refreshers(keys, 0, _provider_place(provider), body)


def open_provider_secrets(keys: Keyring, provider: Provider, sealed: bytes | None) -> ProviderSecrets:
    """Raises: SealBroken, KeyMissing."""
    if sealed is None:
        return ProviderSecrets()
    client_secrets, private_key = msgpack.unpackb(
        _open_from_refreshers(keys, sealed, _provider_place(provider), 0)
    )
    return ProviderSecrets(
        client_secrets=tuple(Secret(one) for one in client_secrets),
        private_key=None if private_key is None else Secret(private_key),
    )


def seal_spooled(keys: Keyring, grant_id: GrantId, owner: Owner, generation: int, body: bytes) -> bytes:
    """A provider's raw answer, bound to the grant and the generation it was asked for."""
    return _seal_to_refreshers(keys, generation, _place("spool", grant_id, owner), body)


def open_spooled(keys: Keyring, grant_id: GrantId, owner: Owner, generation: int, sealed: bytes) -> bytes:
    """Raises: SealBroken, KeyMissing."""
    return _open_from_refreshers(keys, sealed, _place("spool", grant_id, owner), generation)


def seal_token(keys: Keyring, service: ServiceName, owner: Owner, token: AccessToken) -> bytes:
    """An access token for the cache, bound to the service, owner and generation it is for."""
    expires = None if token.expires_at is None else token.expires_at.timestamp()
    issued = token.issued_at.timestamp()
    body = msgpack.packb(
        [token.value.reveal(), token.token_type, list(token.scopes), issued, expires, token.grant_id]
    )
    return _seal_under_cache_key(keys, token.generation, _place("token", service, owner), body)


def open_token(keys: Keyring, service: ServiceName, owner: Owner, sealed: bytes) -> AccessToken:
    """Raises: SealBroken for anything but a token sealed for this very service and owner; KeyMissing."""
    generation, opened = _open_from_cache_key(keys, sealed, _place("token", service, owner))
    value, token_type, scopes, issued, expires, grant_id = msgpack.unpackb(opened)
    return AccessToken(
        value=Secret(value),
        token_type=token_type,
        scopes=tuple(scopes),
        issued_at=datetime.fromtimestamp(issued, UTC),
        expires_at=None if expires is None else datetime.fromtimestamp(expires, UTC),
        generation=generation,
        grant_id=GrantId(grant_id),
    )


def seal_verifier(  # noqa: PLR0917
    keys: Keyring, state_hash: bytes, service: ServiceName, owner: Owner, verifier: Secret, client: Client
) -> bytes:
    """A PKCE verifier that waits for its callback, bound to its consent and to whose it is.

    `client`: whose consent is asked for, which the code that comes will be of.
    """
    place = _place("verifier", state_hash.hex(), service, owner)
    body = msgpack.packb([verifier.reveal(), _names_of(client)])
    return _seal_under_cache_key(keys, 0, place, body)


def open_verifier(
    keys: Keyring, state_hash: bytes, service: ServiceName, owner: Owner, sealed: bytes
) -> tuple[Secret, Client | None]:
    """The verifier, and whose consent was asked for. Raises: SealBroken, KeyMissing."""
    place = _place("verifier", state_hash.hex(), service, owner)
    verifier, names = msgpack.unpackb(_open_from_cache_key(keys, sealed, place)[1])
    return Secret(verifier), _client_of(names)


def seal_ticket(keys: Keyring, service: ServiceName, owner: Owner, expires_at: datetime) -> bytes:
    """The right to begin a consent, for this very service and owner, until it expires."""
    body = msgpack.packb(int(expires_at.timestamp()))
    return _seal_under_cache_key(keys, 0, _place("ticket", service, owner), body)


def open_ticket(keys: Keyring, service: ServiceName, owner: Owner, sealed: bytes) -> datetime:
    """When the ticket expires. Raises: SealBroken for anything but a ticket of these two, KeyMissing."""
    opened = _open_from_cache_key(keys, sealed, _place("ticket", service, owner))[1]
    return datetime.fromtimestamp(msgpack.unpackb(opened), UTC)


def seal_transport_key(keys: Keyring, day: int, material: bytes) -> bytes:
    """The secrets of a day's transport key, bound to their day (counted from the epoch)."""
    return _seal_under(keys, UNDER_TRANSPORT_KEY, day, _place("transport key"), material)


def open_transport_key(keys: Keyring, day: int, sealed: bytes) -> bytes:
    """Raises: SealBroken, KeyMissing."""
    sealed_day, material = _open_from(keys, UNDER_TRANSPORT_KEY, sealed, _place("transport key"))
    if sealed_day != day:
        raise SealBroken("A transport key was sealed for another day.")
    return material


def resealed(keys: Keyring, row: SealedRow) -> bytes:
    """The row's value under the current key. Raises: SealBroken, KeyMissing."""
    place, sealed_for = _place(_BOUND_AS[row.column], *row.bound_to), generation(row.sealed)
    if row.column.use == "grant":
        opened = _open_from_refreshers(keys, row.sealed, place, sealed_for)
        return _seal_to_refreshers(keys, sealed_for, place, opened)
    kind = UNDER_CACHE_KEY if row.column.use == "cache" else UNDER_TRANSPORT_KEY
    return _seal_under(keys, kind, sealed_for, place, _open_from(keys, kind, row.sealed, place)[1])


def key_id(sealed: bytes) -> str:
    """The id of the key an envelope was sealed with. Raises: SealBroken."""
    if len(sealed) < _HEADER.size:
        raise SealBroken("A sealed value is cut short.")
    return str(_HEADER.unpack_from(sealed)[2].hex())


def generation(sealed: bytes) -> int:
    """The generation an envelope says it is of, which only opening it proves. Raises: SealBroken."""
    if len(sealed) < _HEADER.size:
        raise SealBroken("A sealed value is cut short.")
    return int(_HEADER.unpack_from(sealed)[3])


def fingerprint(grant_id: GrantId, credential: Credential) -> bytes:
    """Names a credential without telling it, whichever client it was given to. Empty for a grant that keeps
    none."""
    if isinstance(credential, ClientItself):
        return b""
    named = bytes(msgpack.packb([_NAMES[type(credential)], _written(credential)]))
    digest = hashlib.sha256(_place("fingerprint", grant_id) + named)
    return digest.digest()[:FINGERPRINT_BYTES]


def _seal_to_refreshers(keys: Keyring, generation: int, place: bytes, body: bytes) -> bytes:
    key_id, key = keys.primary_key("grant", keys.grant_public)
    header = _header(TO_REFRESHERS, key_id, generation)
    return header + _SUITE.encrypt(body, key, info=header + place)


def _open_from_refreshers(keys: Keyring, sealed: bytes, place: bytes, generation: int) -> bytes:
    header, key_id, sealed_generation = _parsed_header(sealed, TO_REFRESHERS)
    key = keys.grant_private.get(key_id)
    if key is None:
        raise KeyMissing(f"No private grant key {key_id} in this process's keyring: only refreshers hold it.")
    if sealed_generation != generation:
        raise SealBroken("A sealed value is of another generation than its row.")
    try:
        return _SUITE.decrypt(sealed[_HEADER.size :], key, info=header + place)
    except (InvalidTag, ValueError):
        raise SealBroken("A sealed value does not open where it lies.") from None


def _seal_under_cache_key(keys: Keyring, generation: int, place: bytes, body: bytes) -> bytes:
    return _seal_under(keys, UNDER_CACHE_KEY, generation, place, body)


def _open_from_cache_key(keys: Keyring, sealed: bytes, place: bytes) -> tuple[int, bytes]:
    return _open_from(keys, UNDER_CACHE_KEY, sealed, place)


def _held(keys: Keyring, kind: int) -> tuple[str, Mapping[str, AESGCM]]:
    """The use and the keys that a kind of envelope is sealed under."""
    return ("cache", keys.cache) if kind == UNDER_CACHE_KEY else ("transport", keys.transport)


def _seal_under(keys: Keyring, kind: int, generation: int, place: bytes, body: bytes) -> bytes:
    key_id, key = keys.primary_key(*_held(keys, kind))
    header = _header(kind, key_id, generation)
    nonce = os.urandom(NONCE_BYTES)
    return header + nonce + key.encrypt(nonce, body, header + place)


def _open_from(keys: Keyring, kind: int, sealed: bytes, place: bytes) -> tuple[int, bytes]:
    header, key_id, generation = _parsed_header(sealed, kind)
    use, held = _held(keys, kind)
    key = held.get(key_id)
    if key is None:
        raise KeyMissing(f"No {use} key {key_id} in this process's keyring.")
    nonce, body = sealed[_HEADER.size : _HEADER.size + NONCE_BYTES], sealed[_HEADER.size + NONCE_BYTES :]
    try:
        return generation, key.decrypt(nonce, body, header + place)
    except (InvalidTag, ValueError):
        raise SealBroken(f"A value under the {use} key does not open where it lies.") from None


def _header(kind: int, key_id: str, generation: int) -> bytes:
    return _HEADER.pack(FORMAT, kind, bytes.fromhex(key_id), generation)


def _parsed_header(sealed: bytes, kind: int) -> tuple[bytes, str, int]:
    if len(sealed) < _HEADER.size:
        raise SealBroken("A sealed value is cut short.")
    version, found, key_id, generation = _HEADER.unpack_from(sealed)
    if (version, found) != (FORMAT, kind):
        raise SealBroken("A sealed value is of another format or kind than expected.")
    return sealed[: _HEADER.size], key_id.hex(), generation


@lru_cache(maxsize=10_000)  # names alone, and the same again with every request
def _place(*parts: str) -> bytes:
    # Lengths first, so that no two lists of parts make the same bytes.
    encoded = [part.encode() for part in ("dispenser", *parts)]
    return b"".join(struct.pack(">I", len(part)) + part for part in encoded)


def _provider_place(provider: Provider) -> bytes:
    revocation_url = provider.revocation_url or ""
    return _place("provider", provider.name, provider.token_url, provider.client_id, revocation_url)


def _pack(value: Presented) -> bytes:
    client = getattr(value, "client", None)
    return bytes(msgpack.packb([_NAMES[type(value)], _written(value), _names_of(client)]))


def _written(value: Presented) -> dict[str, Any]:
    """The value itself, without the client it was given to."""
    names = (each.name for each in fields(value) if each.name != "client")
    return {name: _plain(getattr(value, name)) for name in names}


def _names_of(client: Client | None) -> list[str | None] | None:
    return None if client is None else [client.client_id, client.token_url, client.revocation_url]


def _client_of(names: Sequence[Any] | None) -> Client | None:
    if names is None:
        return None
    client_id, token_url, revocation_url = names
    return Client(client_id=client_id, token_url=token_url, revocation_url=revocation_url)


def _plain(value: Any) -> Any:
    return value.reveal() if isinstance(value, Secret) else value


def _unpack(body: bytes) -> Presented:
    name, written, *given_to = msgpack.unpackb(body)
    kind = _PRESENTED[name]
    secret = {each.name for each in fields(kind) if each.type is Secret}
    arguments: dict[str, Any] = {
        k: Secret(v) if k in secret else tuple(v) if isinstance(v, list) else v for k, v in written.items()
    }
    # None where one was sealed before clients were written down: it is sent nowhere.
    if client := _client_of(given_to[0] if given_to else None):
        arguments["client"] = client
    return kind(**arguments)
