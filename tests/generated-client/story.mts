// The whole story with a client that openapi-typescript made of the documents. What it finds it writes as lines of JSON;
// that it compiles says that the documents have a type for everything it touches.

import { once } from 'node:events';
import { createInterface } from 'node:readline';

import createClient from 'openapi-fetch';

import type { components as BrokerParts, paths as BrokerPaths } from './broker.js';
import type { components, paths } from './gateway.js';

type Schemas = components['schemas'];

const environment = (name: string): string => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
};
const baseUrl = environment('GATEWAY');
const operator = createClient<paths>({ baseUrl, headers: { 'X-API-Key': environment('API_KEY') } });
const agent = createClient<paths>({ baseUrl, headers: { 'X-API-Key': environment('NEXUS_KEY') } });
const stranger = createClient<paths>({ baseUrl });
const broker = createClient<BrokerPaths>({
  baseUrl: environment('BROKER'),
  headers: { 'X-API-Key': environment('API_KEY') },
});

const say = (step: string, found: object): void => console.log(JSON.stringify({ step, ...found }));

const answers = createInterface({ input: process.stdin });

/** Has somebody else do something, and waits until it is done. */
async function ask(what: string): Promise<void> {
  const done = once(answers, 'line');
  say('ask', { what });
  await done;
}

/** What was answered; the types say that it is either this or a refusal. */
function good<T>({ data, error }: { data?: T; error?: { code: string; message: string } | string }): T {
  if (data === undefined) throw new Error(typeof error === 'object' ? `${error.code}: ${error.message}` : error);
  return data;
}

/** Only what is a `T`, for errors and answers that must have a type. */
const typed = <T,>(value: T): T => value;

/** How a credential is sent. A way that the document names and this does not would not compile. */
function sent(strategy: Schemas['Strategy']): string {
  switch (strategy.type) {
    case 'oauth2':
      return 'Authorization';
    case 'header':
      return strategy.config?.header_name ?? 'Authorization';
    case 'query_param':
      return `?${strategy.config?.param_name ?? 'api_key'}`;
    case 'basic_auth':
      return `${strategy.config?.username_field}:${strategy.config?.password_field}`;
    case 'hmac_payload':
      return `${strategy.config?.header_name} ${strategy.config?.algo} ${strategy.config?.encoding}`;
    case 'aws_sigv4':
      return `${strategy.config?.service} ${strategy.config?.region}`;
    case 'path':
      return 'path';
    default:
      return typed<string>(strategy.type);
  }
}

// Providers.
const corp = {
  name: 'corp',
  auth_type: 'oauth2',
  issuer: environment('PROVIDER'),
  enable_discovery: true,
  client_id: 'client-1',
  client_secret: environment('CLIENT_SECRET'),
  scopes: ['openid', 'email'],
  params: { access_type: 'offline' },
} satisfies Schemas['Profile'];
const registered = good(await operator.POST('/v1/providers', { body: corp })) satisfies Schemas['ProviderAnswer'];
say('registered', { name: registered.name, kind: registered.auth_type, secret: registered.has_client_secret });
const weather = {
  name: 'weather',
  auth_type: 'api_key',
  auth_header: 'X-Weather-Key',
} satisfies Schemas['Profile'];
const wrapped = good(await operator.POST('/v1/providers', { body: { profile: weather } }));
say('registered', { name: wrapped.name, kind: wrapped.auth_type, secret: wrapped.has_client_secret });
const again = await operator.POST('/v1/providers', { body: corp });
say('refused', { status: again.response.status, code: again.error?.code });
const byId = { params: { path: { id: registered.id } } };
const patched = good(await operator.PATCH('/v1/providers/{id}', { ...byId, body: { description: 'Our people' } }));
say('changed', { description: patched.description, params: patched.params });
const listed = good(await agent.GET('/v1/providers'));
say('providers', { kinds: Object.keys(listed).sort(), scopes: listed['oauth2']?.['corp']?.scopes });

// A connection, from the request to the credential.
const pending = good(
  await stranger.POST('/v1/request-connection', {
    body: { user_id: 'alice', provider_name: 'corp', return_url: 'http://127.0.0.1:9/done' },
  }),
) satisfies Schemas['PendingConnection'];
const connection = { params: { path: { id: pending.connection_id } } };
const early = await stranger.GET('/v1/token/{id}', connection);
if (early.error?.code === 'connection_not_active') {
  say('refused', { status: early.response.status, code: early.error.code, it_is: early.error.status });
}
const waiting = good(await stranger.GET('/v1/check-connection/{id}', connection));
say('status', { status: waiting.status });
say('consent', { auth_url: pending.auth_url });
let status: Schemas['ConnectionStatus']['status'] = 'pending';
while (status === 'pending') {
  const path = { id: pending.connection_id };
  const answer = await stranger.GET('/v1/check-connection/{id}', { params: { path, query: { wait: 30 } } });
  status = good(answer).status;
}
say('status', { status });
const token = good(await stranger.GET('/v1/token/{id}', connection)) satisfies Schemas['Token'];
say('token', { kind: token.strategy.type, sent: sent(token.strategy), scope: token.scope, expires: typeof token.expires_at });
const refreshed = good(await stranger.POST('/v1/refresh/{id}', connection));
say('refreshed', { changed: refreshed.credentials.access_token !== token.credentials.access_token });
const query = { workspace_id: 'alice', provider_name: 'corp' };
const resolved = good(await agent.GET('/v1/resolve', { params: { query } }));
say('resolved', { same: resolved.connection_id === pending.connection_id, expires: typeof resolved.expires_at });
const nobody = await stranger.GET('/v1/token/{id}', { params: { path: { id: crypto.randomUUID() } } });
say('refused', { status: nobody.response.status, code: nobody.error?.code });

// A key that the user types.
const asked = good(
  await stranger.POST('/v1/request-connection', {
    body: { user_id: 'alice', provider_name: 'weather', return_url: 'http://127.0.0.1:9/done' },
  }),
);
const form = good(
  await stranger.GET('/v1/capture-schema', {
    params: { query: { state: asked.state } },
    headers: { Accept: 'application/json' },
  }),
);
say('form', typeof form === 'string' ? {} : { fields: Object.keys(form.properties ?? {}), provider: form.provider_name });
const wrong = await stranger.POST('/v1/capture-credential', { body: { state: asked.state, credentials: { key: 'w' } } });
if (wrong.error?.code === 'invalid_credentials') {
  const fields = wrong.error.fields satisfies Schemas['WrongField'][];
  say('refused', { status: wrong.response.status, code: wrong.error.code, fields: fields.map(field => field.path) });
}
const captured = good(
  await stranger.POST('/v1/capture-credential', { body: { state: asked.state, credentials: { api_key: 'w-123' } } }),
) satisfies Schemas['CapturedCredential'];
say('captured', { status: captured.status });
const key = { params: { path: { id: captured.connection_id } } };
const typedIn = good(await stranger.GET('/v1/token/{id}', key));
say('token', { kind: typedIn.strategy.type, sent: sent(typedIn.strategy), value: typedIn.credentials['api_key'] });
const fixed = await stranger.POST('/v1/refresh/{id}', key);
say('refused', { status: fixed.response.status, code: fixed.error?.code });

// The user's connections, a page each.
const names: string[] = [];
let cursor: string | null | undefined;
do {
  const query = { workspace_id: 'alice', limit: 1, ...(cursor ? { cursor } : {}) };
  const page = await operator.GET('/v1/connections', { params: { query } });
  names.push(...good(page).map((one: Schemas['ListedConnection']) => one.provider_name));
  cursor = page.response.headers.get('X-Next-Cursor');
} while (cursor);
say('connections', { names });
const forbidden = await agent.GET('/v1/connections', { params: { query: { workspace_id: 'alice' } } });
say('refused', { status: forbidden.response.status, code: forbidden.error?.code });

// An agent and its sessions. Agents are registered at the Broker.
const bot = good(
  await broker.POST('/admin/v1/agents', { body: { agent_id: 'mail-bot', allowed_scopes: ['email', 'report.write'] } }),
) satisfies BrokerParts['schemas']['Agent'];
say('agent', { id: bot.agent_id, scopes: bot.allowed_scopes });
const mail = good(
  await agent.POST('/v1/agent-sessions', {
    body: { agent_id: 'mail-bot', scopes: ['email'], connection_id: pending.connection_id },
  }),
) satisfies Schemas['OpenedSession'];
say('session', { kind: mail.token_type, scopes: mail.scopes_granted, is_the_connections: mail.access_token === refreshed.access_token });
const own = good(
  await agent.POST('/v1/agent-sessions', { body: { agent_id: 'mail-bot', scopes: ['report.write'], ttl_seconds: 300 } }),
);
const introspect = async (token: string): Promise<Schemas['Introspection']> =>
  good(
    await agent.POST('/v1/oauth/introspect', {
      body: { token },
      headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
    }),
  );
const active = await introspect(own.session_token ?? '');
if (active.active) say('introspected', { active: active.active, subject: active.sub, scope: active.scope });
const obo = good(
  await agent.POST('/v1/agent-sessions/obo', {
    body: { agent_id: 'mail-bot', scopes: ['report.write'], user_context_token: environment('USER_CONTEXT_TOKEN') },
  }),
);
say('session', { kind: obo.token_type, scopes: obo.scopes_granted, for: obo.acting_for });
const denied = await agent.POST('/v1/agent-sessions', { body: { agent_id: 'mail-bot', scopes: ['payroll.read'] } });
if (denied.error?.code === 'scope_not_allowed') {
  say('refused', { status: denied.response.status, code: denied.error.code, scope: denied.error.scope });
}
for (const { session_id: id, session_token } of [mail, own, obo]) {
  const closed = good(await agent.DELETE('/v1/agent-sessions/{id}', { params: { path: { id } } }));
  const shown = good(await agent.GET('/v1/agent-sessions/{id}', { params: { path: { id } } })) satisfies Schemas['Session'];
  const after = await introspect(session_token ?? 'none');
  say('closed', { revoked: closed.token_revoked, reason: shown.closed_reason, active: after.active });
}

// The user takes the consent back at the provider, and the connection is ended.
await ask('withdraw');
const lost = await stranger.POST('/v1/refresh/{id}', connection);
if (lost.error?.code === 'attention_required') {
  say('refused', { status: lost.response.status, code: lost.error.code, reason: lost.error.reason });
}
const needs = good(await stranger.GET('/v1/check-connection/{id}', connection));
say('status', { status: needs.status });
for (const ended of [connection, key]) {
  const revoked = good(await stranger.DELETE('/v1/connections/{id}', ended)) satisfies Schemas['RevokedConnection'];
  say('revoked', { status: revoked.status, unreadable: revoked.token_deleted, sessions: revoked.sessions_closed });
}
const gone = good(await stranger.GET('/v1/check-connection/{id}', connection));
say('status', { status: gone.status, reason: gone.reason });
const deleted = good(await operator.DELETE('/v1/providers/{id}', byId));
say('deleted', { same: deleted.id === registered.id });

// The Broker's side.
const bots = good(await broker.GET('/admin/v1/agents'));
say('agents', { ids: bots.agents.map(one => one.agent_id) });
const handed = good(await broker.GET('/audit', { params: { query: { event_type: 'session.opened', limit: 1 } } }));
say('audit', { types: handed.map((entry: BrokerParts['schemas']['AuditEntry']) => entry.event_type) });
answers.close();
