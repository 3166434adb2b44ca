// A real OpenID provider (npm `oidc-provider`) on a loopback port.
//
//   node server.mjs --redirect-uri http://127.0.0.1:8090/auth/callback [--redirect-uri …]
//                   [--port 0] [--access-token-ttl 3600] [--refresh-token-ttl 86400] [--attached]
//
// It serves until it gets a signal, or, attached, until its standard input ends.
//
// The first line on standard output says where it listens and which clients it knows:
//   {"event":"ready","issuer":"http://127.0.0.1:NNNN","clients":[…]}
// After that, one JSON line per thing that happened to a grant, so that a test can count the exchanges:
//   {"event":"grant.success","grant_type":"refresh_token","client_id":"nexus-demo"}
//   {"event":"grant.error","grant_type":"refresh_token","client_id":"nexus-demo","error":"invalid_grant"}
//   {"event":"grant.revoked","grant_type":"refresh_token","client_id":"nexus-demo"}
//
// POST /test/forget-grants withdraws every consent given so far. POST /test/rotate-keys makes a new signing key and
// forgets the old one; it answers {"kid":"signing-2"}.
//
// Refresh tokens rotate at every use, and a consumed one that comes back revokes its whole grant. Sign-in and consent
// are plain forms: whoever keeps cookies can post `prompt=login&login=alice&password=any`, then `prompt=consent`, to
// the form's action. Any login works; it becomes the account's `sub`.

import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import { Provider } from 'oidc-provider';
import { createMemoryAdapter } from 'oidc-provider/lib/adapters/memory_adapter.js';

const { values: options } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    'redirect-uri': { type: 'string', multiple: true, default: [] },
    'access-token-ttl': { type: 'string', default: '3600' },
    'refresh-token-ttl': { type: 'string', default: '86400' },
    attached: { type: 'boolean', default: false },
  },
});

function seconds(name) {
  const value = Number(options[name]);
  if (!Number.isInteger(value) || value < 1) {
    throw new Error(`--${name} is a whole number of seconds, not ${options[name]}`);
  }
  return value;
}

function say(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function client(client_id, token_endpoint_auth_method) {
  return {
    client_id,
    ...(token_endpoint_auth_method === 'none' ? {} : { client_secret: `${client_id}-secret` }),
    token_endpoint_auth_method,
    redirect_uris: options['redirect-uri'],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    scope: 'openid profile email offline_access',
  };
}

// A client that proves itself with a signature. What is its own alone stays out of what the provider is told.
const clientKeys = new Map();

function signingClient(client_id, alg, { publicKey, privateKey }) {
  clientKeys.set(client_id, privateKey.export({ type: 'pkcs8', format: 'pem' }));
  const { client_secret: _none, ...rest } = client(client_id, 'private_key_jwt');
  return {
    ...rest,
    token_endpoint_auth_signing_alg: alg,
    jwks: { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: `${client_id}-key`, use: 'sig', alg }] },
  };
}

// A client whose id and secret have to be form-encoded before they are joined by a colon (RFC 6749, section 2.3.1).
function oddClient(client_id, client_secret) {
  return { ...client(client_id, 'client_secret_basic'), client_secret };
}

const clients = [
  client('nexus-demo', 'client_secret_post'),
  client('nexus-basic', 'client_secret_basic'),
  oddClient('nexus: odd+100%/2b', 'odd: +/%2B&=~ secret'),
  client('nexus-public', 'none'),
  signingClient('nexus-ps256', 'PS256', generateKeyPairSync('rsa', { modulusLength: 2048 })),
  signingClient('nexus-es256', 'ES256', generateKeyPairSync('ec', { namedCurve: 'P-256' })),
];

// What has been issued outlives a provider, which is made anew for new keys.
const adapter = createMemoryAdapter();
let generation = 0;

function signingKey() {
  generation += 1;
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: `signing-${generation}`, use: 'sig', alg: 'RS256' };
}

function configuration(key) {
  return {
    adapter,
    clients,
    jwks: { keys: [key] },
    cookies: { keys: ['a loopback provider keeps no secrets'] },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
    findAccount: (_ctx, accountId) => ({
      accountId,
      claims: () => ({ sub: accountId, name: accountId, email: `${accountId}@example.test`, email_verified: true }),
    }),
    features: {
      devInteractions: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
    },
    pkce: { required: () => true },
    rotateRefreshToken: true,
    ttl: {
      AccessToken: seconds('access-token-ttl'),
      AuthorizationCode: 60,
      Grant: seconds('refresh-token-ttl'),
      IdToken: 3600,
      Interaction: 600,
      RefreshToken: seconds('refresh-token-ttl'),
      Session: 3600,
    },
  };
}

function report(provider) {
  const about = (ctx) => ({
    grant_type: ctx?.oidc?.params?.grant_type,
    client_id: ctx?.oidc?.client?.clientId,
  });
  provider.on('grant.success', (ctx) => say({ event: 'grant.success', ...about(ctx) }));
  provider.on('grant.error', (ctx, error) => say({ event: 'grant.error', ...about(ctx), error: error.error }));
  provider.on('grant.revoked', (ctx) => say({ event: 'grant.revoked', ...about(ctx) }));
  provider.on('server_error', (_ctx, error) => console.error(error));
}

// What happens when a person withdraws a consent: the grant goes, and everything issued under it.
async function forget(provider, id) {
  await provider.RefreshToken.revokeByGrantId(id);
  await (await provider.Grant.find(id))?.destroy();
}

// The issuer is the address, so the socket listens before the provider exists.
const server = createServer();
server.listen(Number(options.port), '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const grants = new Set();
  let provider;
  function begin(key) {
    provider = new Provider(issuer, configuration(key));
    report(provider);
    provider.on('grant.saved', (grant) => grants.add(grant.jti));
    return key.kid;
  }
  begin(signingKey());
  server.on('request', async (request, response) => {
    const asked = `${request.method} ${request.url}`;
    if (asked === 'POST /test/forget-grants') {
      await Promise.all([...grants].map((id) => forget(provider, id)));
      response.writeHead(204).end();
    } else if (asked === 'POST /test/rotate-keys') {
      const kid = begin(signingKey());
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ kid }));
    } else {
      provider.callback()(request, response);
    }
  });
  say({
    event: 'ready',
    issuer,
    clients: clients.map(({ client_id, client_secret, token_endpoint_auth_method }) => ({
      client_id, client_secret, token_endpoint_auth_method, private_key: clientKeys.get(client_id),
    })),
  });
});

if (options.attached) {
  process.stdin.on('end', () => process.exit(0)).resume();
}
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => process.exit(0));
}
