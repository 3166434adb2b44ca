"""The whole story with a client that openapi-python-client made of the Gateway's document. What it finds it writes as
lines of JSON; that mypy accepts it says that the document has a type for everything it touches."""

import json
import os
import uuid
from collections.abc import Iterator
from typing import TypeVar

from httpx import Timeout
from nexus_gateway_client import AuthenticatedClient
from nexus_gateway_client.api.browser import capture_credential, get_capture_schema
from nexus_gateway_client.api.connections import check_connection, list_connections, request_connection, revoke_connection
from nexus_gateway_client.api.credentials import get_token, refresh_connection, resolve_connection
from nexus_gateway_client.api.oauth import introspect_token
from nexus_gateway_client.api.providers import delete_provider, list_providers, register_provider, update_provider
from nexus_gateway_client.api.sessions import close_session, get_session, open_session, open_session_on_behalf
from nexus_gateway_client.models import (
    ActiveToken,
    AttentionRequiredError,
    AuthType,
    AwsSigv4Strategy,
    BasicAuthStrategy,
    CapturedCredential,
    CaptureSchema,
    ClosedSession,
    ConnectionNotActiveError,
    ConnectionRequest,
    ConnectionStatus,
    ConnectionStatusStatus,
    CredentialCapture,
    CredentialCaptureCredentials,
    DeletedProvider,
    HeaderStrategy,
    HmacPayloadStrategy,
    InactiveToken,
    InvalidCredentialsError,
    OAuth2Strategy,
    OpenedSession,
    PendingConnection,
    Profile,
    Provider,
    ProviderAnswer,
    ProviderMetadata,
    ProviderPatch,
    QueryParamStrategy,
    RevokedConnection,
    SentProviderFieldsParamsType0,
    Session,
    SessionOnBehalfRequest,
    SessionRequest,
    Token,
    TokenForm,
    WrappedProfile,
)
from nexus_gateway_client.models.open_session_response_403 import OpenSessionResponse403
from nexus_gateway_client.types import UNSET, Response

GATEWAY = os.environ["GATEWAY"]
RETURN_URL = "http://127.0.0.1:9/done"


def with_key(name: str) -> AuthenticatedClient:
    return AuthenticatedClient(
        base_url=GATEWAY, token=os.environ[name], prefix="", auth_header_name="X-API-Key", raise_on_unexpected_status=True
    )


operator, agent = with_key("API_KEY"), with_key("NEXUS_KEY")

T = TypeVar("T")


def say(step: str, **found: object) -> None:
    print(json.dumps({"step": step, **found}), flush=True)


def ask(what: str) -> None:
    """Has somebody else do something, and waits until it is done."""
    say("ask", what=what)
    input()


def the(kind: type[T], answer: object) -> T:
    """The answer, which must be of this kind."""
    if not isinstance(answer, kind):
        raise SystemExit(f"not {kind.__name__}: {answer}")
    return answer


def refused(answer: Response[T], **more: object) -> None:
    """A refusal of any kind has a code."""
    code = getattr(answer.parsed, "code")
    say("refused", status=int(answer.status_code), code=str(code), **more)


def sent(token: Token) -> str:
    """How the credential is sent."""
    match token.strategy:
        case OAuth2Strategy():
            return "Authorization"
        case HeaderStrategy(config=config) if config:
            return config.header_name or "Authorization"
        case QueryParamStrategy(config=config) if config:
            return f"?{config.param_name or 'api_key'}"
        case BasicAuthStrategy(config=config) if config:
            return f"{config.username_field}:{config.password_field}"
        case HmacPayloadStrategy(config=config) if config:
            return f"{config.header_name} {config.algo} {config.encoding}"
        case AwsSigv4Strategy(config=config) if config:
            return f"{config.service} {config.region}"
        case other:
            return str(other.type_)


def kind_of(value: object) -> str:
    """What JSON calls it, as the other program does."""
    return "number" if isinstance(value, int) else "string"


# Providers.
corp = Profile(
    name="corp",
    auth_type=AuthType.OAUTH2,
    issuer=os.environ["PROVIDER"],
    enable_discovery=True,
    client_id="client-1",
    client_secret=os.environ["CLIENT_SECRET"],
    scopes=["openid", "email"],
    params=SentProviderFieldsParamsType0.from_dict({"access_type": "offline"}),
)
registered = the(ProviderAnswer, register_provider.sync(client=operator, body=corp))
say("registered", name=registered.name, kind=registered.auth_type, secret=registered.has_client_secret)
weather = WrappedProfile(Profile(name="weather", auth_type=AuthType.API_KEY, auth_header="X-Weather-Key"))
wrapped = the(ProviderAnswer, register_provider.sync(client=operator, body=weather))
say("registered", name=wrapped.name, kind=wrapped.auth_type, secret=wrapped.has_client_secret)
refused(register_provider.sync_detailed(client=operator, body=corp))
change = ProviderPatch(description="Our people")
patched = the(Provider, update_provider.sync(registered.id, client=operator, body=change))
say("changed", description=patched.description, params=patched.params.to_dict())
listed = the(ProviderMetadata, list_providers.sync(client=agent))
say("providers", kinds=sorted(listed.additional_keys), scopes=listed["oauth2"]["corp"].scopes)

# A connection, from the request to the credential.
wanted = ConnectionRequest(user_id="alice", provider_name="corp", return_url=RETURN_URL)
pending = the(PendingConnection, request_connection.sync(client=agent, body=wanted))
connection = str(pending.connection_id)
early = get_token.sync_detailed(connection, client=agent)
refused(early, it_is=the(ConnectionNotActiveError, early.parsed).status)


def status(wait: int = 0) -> ConnectionStatus:
    return the(ConnectionStatus, check_connection.sync(connection, client=agent, wait=wait))


say("status", status=status().status)
say("consent", auth_url=pending.auth_url)
patient = agent.with_timeout(Timeout(60))
while status().status is ConnectionStatusStatus.PENDING:
    check_connection.sync(connection, client=patient, wait=30)
say("status", status=status().status)
token = the(Token, get_token.sync(connection, client=agent))
say("token", kind=token.strategy.type_, sent=sent(token), scope=token.scope, expires=kind_of(token.expires_at))
refreshed = the(Token, refresh_connection.sync(connection, client=agent))
say("refreshed", changed=refreshed.credentials.access_token != token.credentials.access_token)
resolved = the(Token, resolve_connection.sync(client=agent, workspace_id="alice", provider_name="corp"))
say("resolved", same=resolved.connection_id == connection, expires=kind_of(resolved.expires_at))
refused(get_token.sync_detailed(str(uuid.uuid4()), client=agent))

# A key that the user types.
wanted = ConnectionRequest(user_id="alice", provider_name="weather", return_url=RETURN_URL)
state = the(PendingConnection, request_connection.sync(client=agent, body=wanted)).state
form = the(CaptureSchema, get_capture_schema.sync(client=agent, state=state))
say("form", fields=form.properties.additional_keys if form.properties else [], provider=form.provider_name)


def typed(**fields: str) -> CredentialCapture:
    return CredentialCapture(state=state, credentials=CredentialCaptureCredentials.from_dict(fields))


wrong = capture_credential.sync_detailed(client=agent, body=typed(key="w"))
refused(wrong, fields=[field.path for field in the(InvalidCredentialsError, wrong.parsed).fields])
captured = the(CapturedCredential, capture_credential.sync(client=agent, body=typed(api_key="w-123")))
say("captured", status=captured.status)
key = str(captured.connection_id)
typed_in = the(Token, get_token.sync(key, client=agent))
say("token", kind=typed_in.strategy.type_, sent=sent(typed_in), value=typed_in.credentials["api_key"])
refused(refresh_connection.sync_detailed(key, client=agent))


# The user's connections, a page each.
def names() -> Iterator[str]:
    cursor: str | None = None
    while True:
        page = list_connections.sync_detailed(client=operator, workspace_id="alice", limit=1, cursor=cursor or UNSET)
        for one in the(list, page.parsed):
            yield one.provider_name
        cursor = page.headers.get("X-Next-Cursor")
        if cursor is None:
            return


say("connections", names=list(names()))
refused(list_connections.sync_detailed(client=agent, workspace_id="alice"))

# An agent and its sessions. The agent is registered at the Broker, whose document this generator does not read.
ask("agent")
mail_scopes = SessionRequest(agent_id="mail-bot", scopes=["email"], connection_id=connection)
mail = the(OpenedSession, open_session.sync(client=agent, body=mail_scopes))
same = mail.access_token == refreshed.access_token
say("session", kind=mail.token_type, scopes=mail.scopes_granted, is_the_connections=same)
own_scopes = SessionRequest(agent_id="mail-bot", scopes=["report.write"], ttl_seconds=300)
own = the(OpenedSession, open_session.sync(client=agent, body=own_scopes))


def introspect(session: OpenedSession) -> ActiveToken | InactiveToken:
    answer = introspect_token.sync(client=agent, body=TokenForm(token=session.session_token or "none"))
    return answer if isinstance(answer, ActiveToken) else the(InactiveToken, answer)


active = the(ActiveToken, introspect(own))
say("introspected", active=active.active, subject=active.sub, scope=active.scope)
for_alice = SessionOnBehalfRequest(
    agent_id="mail-bot", scopes=["report.write"], user_context_token=os.environ["USER_CONTEXT_TOKEN"]
)
obo = the(OpenedSession, open_session_on_behalf.sync(client=agent, body=for_alice))
say("session", kind=obo.token_type, scopes=obo.scopes_granted, **{"for": obo.acting_for})
too_much = SessionRequest(agent_id="mail-bot", scopes=["payroll.read"])
denied = open_session.sync_detailed(client=agent, body=too_much)
refused(denied, scope=the(OpenSessionResponse403, denied.parsed).scope)
for session in (mail, own, obo):
    closed = the(ClosedSession, close_session.sync(session.session_id, client=agent))
    shown = the(Session, get_session.sync(session.session_id, client=agent))
    say("closed", revoked=closed.token_revoked, reason=shown.closed_reason, active=introspect(session).active)

# The user takes the consent back at the provider, and the connection is ended.
ask("withdraw")
lost = refresh_connection.sync_detailed(connection, client=agent)
refused(lost, reason=the(AttentionRequiredError, lost.parsed).reason)
say("status", status=status().status)
for ended in (connection, key):
    revoked = the(RevokedConnection, revoke_connection.sync(ended, client=agent))
    say("revoked", status=revoked.status, unreadable=revoked.token_deleted, sessions=revoked.sessions_closed)
say("status", status=status().status, reason=status().reason)
deleted = the(DeletedProvider, delete_provider.sync(registered.id, client=operator))
say("deleted", same=deleted.id == registered.id)
