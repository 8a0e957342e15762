"""The realm for Keycloak: who may log in with it, how, and what tokens then say."""

import json

from infra.issuer.people import COMMAND_LINE, CONSOLE
from infra.keycloak import realm
from infra.login import CLIENT
from infra.plan import OPERATOR, assemble
from projections.console import login

ADDRESS = "https://console.example:8443"
PLAN = assemble()
REALM = realm(PLAN, "headrace", ADDRESS)
CLIENTS = {client["clientId"]: client for client in REALM["clients"]}


def test_its_clients_are_those_that_programs_log_in_with():
    assert {*CLIENTS} == {COMMAND_LINE, CONSOLE, OPERATOR} == {CLIENT, login.CLIENT, OPERATOR}


def test_people_log_in_with_a_code_and_pkce_and_nothing_else():
    for name in (COMMAND_LINE, CONSOLE):
        client = CLIENTS[name]
        assert (client["publicClient"], client["standardFlowEnabled"]) == (True, True)
        assert client["attributes"]["pkce.code.challenge.method"] == "S256"
        assert not client.get("serviceAccountsEnabled")
    for client in CLIENTS.values():
        assert (client["implicitFlowEnabled"], client["directAccessGrantsEnabled"]) == (False, False)
        assert client["fullScopeAllowed"] is False
    assert (CLIENTS[OPERATOR]["publicClient"], CLIENTS[OPERATOR]["standardFlowEnabled"]) == (False, False)


def test_a_code_comes_back_to_the_program_that_asked_for_it():
    assert CLIENTS[CONSOLE]["redirectUris"] == [f"{ADDRESS}/callback"]
    assert CLIENTS[COMMAND_LINE]["redirectUris"] == ["http://127.0.0.1/callback"]
    device = "oauth2.device.authorization.grant.enabled"
    assert [name for name in CLIENTS if device in CLIENTS[name]["attributes"]] == [COMMAND_LINE]


def test_every_scope_is_tied_to_a_role_of_its_name_and_asked_for_by_name():
    scopes = {*PLAN.scopes}
    assert {"console:read", "console:write", "orders:read"} <= scopes
    assert {role["name"] for role in REALM["roles"]["realm"]} == scopes
    assert {(one["clientScope"], *one["roles"]) for one in REALM["scopeMappings"]} == {(one, one) for one in scopes}
    known = {scope["name"] for scope in REALM["clientScopes"]}
    for client in CLIENTS.values():
        assert {*client["optionalClientScopes"]} == scopes
        assert scopes.isdisjoint(client["defaultClientScopes"])
        assert {*client["optionalClientScopes"], *client["defaultClientScopes"]} <= known


def test_tokens_are_for_this_system_and_say_what_domains_ask_of_a_person():
    (ours,) = [scope for scope in REALM["clientScopes"] if scope["name"] == "headrace"]
    told = {mapper["name"]: mapper["config"] for mapper in ours["protocolMappers"]}
    assert told.pop("audience")["included.custom.audience"] == "headrace"
    assert {*told} == {*PLAN.claims, "tenant"} >= {"customer"}
    assert all(client["attributes"]["access.token.header.type.rfc9068"] == "true" for client in CLIENTS.values())


def test_nobody_edits_what_his_tokens_say_of_him():
    (profile,) = REALM["components"]["org.keycloak.userprofile.UserProfileProvider"]
    (config,) = profile["config"]["kc.user.profile.config"]
    editable = {one["name"] for one in json.loads(config)["attributes"] if "user" in one["permissions"]["edit"]}
    assert editable == {"username", "email"}
