"""Every problem type that a service answers with. A slug is a promise: add, never change."""

from typing import NamedTuple


class Kind(NamedTuple):
    title: str
    meaning: str


PROBLEMS = {
    "as-of-too-far": Kind(
        "Too far in the past", "To answer as of that time would take more events than we fold; `detail` says how many."
    ),
    "bad-gateway": Kind("Bad answer from a service", "The service behind the gateway gave no valid answer."),
    "bad-request": Kind("Malformed request", "The request is not valid HTTP, or a parameter of it is malformed."),
    "client-certificate-required": Kind(
        "Client certificate required", "This address answers only to a certificate of the system's own authority."
    ),
    "content-too-large": Kind("Body too large", "The body is larger than this service takes."),
    "cursor-expired": Kind(
        "Changes no longer known", "`Last-Event-ID` is too old to go on from. Begin anew, with `snapshot=true`."
    ),
    "events-detached": Kind(
        "Events are detached", "Old events that this needs were taken out of the database; they can be brought back."
    ),
    "fold-failed": Kind(
        "An event cannot be folded", "An event that was there at that time can't be folded by today's code."
    ),
    "gateway-timeout": Kind("A service did not answer in time", "It may or may not have acted; repeat with the key."),
    "idempotency-conflict": Kind(
        "Idempotency key reused", "The key was used before, with another request. Use a new key for a new request."
    ),
    "identity-provider-unavailable": Kind(
        "Identity provider unavailable", "The token could not be checked since its issuer does not answer."
    ),
    "insufficient-scope": Kind("Insufficient scope", "The token is valid but lacks the scope that this needs."),
    "internal-error": Kind("Internal error", "Something broke in the service. The request id finds its log lines."),
    "invalid-command": Kind("Invalid command", "The body is not what the command asks for; `errors` names each fault."),
    "invalid-consistency-token": Kind(
        "Invalid consistency token", "The `Consistency-Token` is not one of this system."
    ),
    "invalid-cursor": Kind("Invalid cursor", "The `cursor` or `Last-Event-ID` was not given here; begin without one."),
    "invalid-content": Kind("Invalid content", "A field does not have the form it must have; `errors` names each."),
    "invalid-event": Kind("Invalid event", "What would have been recorded is larger than an event may be."),
    "invalid-idempotency-key": Kind(
        "Invalid idempotency key", "An `Idempotency-Key` is a quoted string of at most 200 printable characters."
    ),
    "invalid-key": Kind("Invalid key", "A key of a view has 1 to 256 printable characters."),
    "invalid-parameter": Kind("Invalid parameter", "A parameter of the query does not have the form it must have."),
    "invalid-path": Kind("Invalid address", "The address holds characters that no address here has."),
    "invalid-precondition": Kind(
        "Invalid precondition", "`If-Match` takes strong tags or `*`, and `If-None-Match` takes `*`; send one of them."
    ),
    "invalid-token": Kind("Invalid token", "The access token is missing, expired, foreign or malformed."),
    "key-missing": Kind(
        "Key missing", "A text about a person can't be opened: its key is gone, though nobody was forgotten."
    ),
    "method-not-allowed": Kind("Method not allowed", "This address does not know this method; `Allow` names those."),
    "not-found": Kind("Not found", "There is nothing at this address."),
    "not-from-here": Kind(
        "Not from a page of yours", "A form acts only when it comes from a page of the console that you have open."
    ),
    "not-logged-in": Kind("Not logged in", "Nobody is logged in, or the login has come to its end."),
    "not-parked": Kind("Not parked", "No event waits there: somebody else was faster, or it was never so."),
    "not-yours": Kind(
        "Not yours", "The token is bound to what is its owner's own, and this is somebody else's, or nobody's."
    ),
    "not-yet-consistent": Kind(
        "Not yet consistent", "The views have not yet seen what the token speaks of. `Retry-After` says when to ask."
    ),
    "outcome-unknown": Kind(
        "Outcome unknown", "The command may or may not have been recorded. Repeat it with the same `Idempotency-Key`."
    ),
    "peer-not-allowed": Kind("Peer not allowed", "The client certificate is valid but not one that may call here."),
    "precondition-failed": Kind(
        "Precondition failed", "The stream is not at the version that `If-Match` or `If-None-Match` asks for."
    ),
    "precondition-required": Kind(
        "Precondition required", "This command needs `If-Match` with the version that was seen, or `If-None-Match: *`."
    ),
    "quota-exceeded": Kind(
        "Quota exceeded", "More was asked than `RateLimit-Policy` allows. `Retry-After` says when to ask again."
    ),
    "rebuild-refused": Kind("Rebuild refused", "The view can't be rebuilt now; the live one is untouched."),
    "refused": Kind("Refused", "The business says no; `code` says why and never changes."),
    "request-timeout": Kind("Request not complete", "The head or the body did not come to its end in time."),
    "request-header-fields-too-large": Kind("Headers too large", "The head of the request is larger than we take."),
    "request-in-progress": Kind(
        "Request in progress", "The first request with this `Idempotency-Key` is still in work; yours gets its answer."
    ),
    "service-unavailable": Kind("Service unavailable", "A service is down or busy. `Retry-After` says when to ask."),
    "store-unavailable": Kind("Event store unavailable", "Nothing was recorded. `Retry-After` says when to ask."),
    "temporary-reduced-capacity": Kind(
        "Too much to do", "The request was turned away at once rather than kept waiting. Ask again later."
    ),
    "unknown-key": Kind("Unknown key", "The view has no row for this key; `Data-Age` says how old that answer is."),
    "unknown-view": Kind("Unknown view", "The domain has no view of this name."),
    "views-unavailable": Kind(
        "Views unavailable", "The read database does not answer. `Retry-After` says when to ask."
    ),
    "unknown-command": Kind("Unknown command", "The domain has no command of this name."),
    "unknown-operation": Kind(
        "Unknown operation", "There is no operation of yours with this id; it may have been forgotten with its key."
    ),
    "unknown-stream": Kind("Unknown stream", "Nothing was recorded under this id."),
    "unsupported-media-type": Kind("Unsupported media type", "Send `Content-Type: application/json`."),
}
