from integration.emulator.oauth_client import Client


async def test_revoking_a_refresh_token_ends_the_family_and_the_unknown_is_no_error(client: Client) -> None:
    first = await client.granted()

    async def revoke(token: str) -> int:
        url = client.provider.revocation_url
        return (await client.http.post(url, data={"token": token}, auth=client.auth)).status_code

    assert await revoke("unknown") == 200
    assert await client.call(first["access_token"]) == 200
    assert await revoke(first["refresh_token"]) == 200
    assert await client.call(first["access_token"]) == 401
    assert (await client.introspect(first["refresh_token"])) == {"active": False}


async def test_the_metadata_says_what_there_is(client: Client) -> None:
    url = f"{client.provider.issuer}/.well-known/oauth-authorization-server"
    metadata = (await client.http.get(url)).json()
    assert metadata["issuer"] == client.provider.issuer
    assert metadata["token_endpoint"] == client.provider.token_url
    assert metadata["authorization_response_iss_parameter_supported"] is True


async def test_the_api_wants_the_scope_of_its_path(client: Client) -> None:
    token = (await client.granted("chat:write"))["access_token"]
    assert await client.call(token, "tasks/1") == 403
    assert await client.call(token, "chat") == 200
    assert [(call.path, call.status, call.owner) for call in client.provider.api_calls] == [
        ("tasks/1", 403, "ada"),
        ("chat", 200, "ada"),
    ]


async def test_tests_in_other_processes_reach_the_emulator_over_http(client: Client) -> None:
    url = f"{client.provider.issuer}/_emulator"
    asked = {"owner": "ada", "scopes": ["tasks:write"]}
    token = (await client.http.post(f"{url}/refresh_tokens", json=asked)).json()["refresh_token"]
    faults = [{"fault": "Status", "status": 502}, {"fault": "Hang", "seconds": 0.01}]
    assert (await client.http.post(f"{url}/faults", json=faults)).status_code == 204
    assert (await client.refresh(token)).status_code == 502
    tokens = (await client.refresh(token)).json()
    assert await client.call(tokens["access_token"], "tasks") == 200
    seen = (await client.http.get(f"{url}/requests")).json()
    assert (seen["token_calls"], seen["refreshes"], seen["reuses"], seen["overlaps"]) == (2, 2, 0, 0)
    assert [record["fault"] for record in seen["requests"]] == ["Status", "Hang"]
    assert (await client.http.post(f"{url}/revoke_all")).status_code == 204
    assert await client.call(tokens["access_token"], "tasks") == 401


async def test_a_fault_nobody_knows_is_refused(client: Client) -> None:
    answer = await client.http.post(f"{client.provider.issuer}/_emulator/faults", json=[{"fault": "Flood"}])
    assert answer.status_code == 400
    assert "RateLimited" in answer.json()["error"]
