"""Every problem type that a service answers with. A slug is a promise: add, never change."""

from typing import NamedTuple


class Kind(NamedTuple):
    title: str
    meaning: str


PROBLEMS = {
    "already-running": Kind("The same request is being answered", "A request with this key runs; ask again shortly."),
    "bad-gateway": Kind("Bad answer from a service", "The service behind the gateway gave no valid answer."),
    "bad-request": Kind("Malformed request", "The request is not valid HTTP, or a parameter of it is malformed."),
    "client-certificate-required": Kind(
        "Client certificate required", "This address answers only to a certificate of the system's own authority."
    ),
    "content-too-large": Kind("Body too large", "The body is larger than this service takes."),
    "forbidden": Kind("Forbidden", "The token is valid but does not allow this."),
    "gateway-timeout": Kind("A service did not answer in time", "It may or may not have acted; repeat with the key."),
    "idempotency-key-reused": Kind(
        "Idempotency key reused", "The key was used before, with another request. Use a new key for a new request."
    ),
    "identity-provider-unavailable": Kind(
        "Identity provider unavailable", "The token could not be checked since its issuer does not answer."
    ),
    "insufficient-scope": Kind("Insufficient scope", "The token is valid but lacks the scope that this needs."),
    "internal-error": Kind("Internal error", "Something broke in the service. The request id finds its log lines."),
    "invalid-consistency-token": Kind(
        "Invalid consistency token", "Send the token as an answer gave it, or leave it out."
    ),
    "invalid-content": Kind("Invalid content", "A field does not have the form it must have; `errors` names each."),
    "invalid-path": Kind("Invalid address", "The address holds characters that no address here has."),
    "invalid-token": Kind("Invalid token", "The access token is missing, expired, foreign or malformed."),
    "method-not-allowed": Kind("Method not allowed", "This address does not know this method; `Allow` names those."),
    "not-found": Kind("Not found", "There is nothing at this address."),
    "peer-not-allowed": Kind("Peer not allowed", "The client certificate is valid but not one that may call here."),
    "precondition-failed": Kind(
        "Precondition failed", "The stream is not at the version that `If-Match` or `If-None-Match` asks for."
    ),
    "precondition-required": Kind("Precondition required", "Say with `If-Match` which version the change is for."),
    "refused": Kind("Refused", "The business says no; `code` says why and never changes."),
    "request-header-fields-too-large": Kind("Headers too large", "The head of the request is larger than we take."),
    "service-unavailable": Kind("Service unavailable", "A service is down or busy. `Retry-After` says when to ask."),
    "unsupported-media-type": Kind("Unsupported media type", "Send `Content-Type: application/json`."),
    "view-behind": Kind("View behind", "The view has not yet seen what the consistency token asks for. Ask again."),
}
