// Debian's Glewlwyd as a private instance: its own SQLite database and settings in a temporary directory, a loopback
// address of its own.
//
//   node serve.mjs --home DIRECTORY --redirect-uri http://127.0.0.1:8090/auth/callback
//
// `--home` is where `install` has unpacked it; where the package is installed, that one is used.
//
// The first line on standard output says where it is and what it knows:
//   {"event":"ready","issuer":"http://127.1.2.3:NNNN/api/oidc","clients":[…],"password":"…"}
// A line `rotate` on standard input gives it a new signing key and takes the old one away, `replace` does so under the
// same key id; it answers
//   {"event":"rotated","kid":"…"}
// When standard input ends, so do the server and all that is left of it.

import { spawn, spawnSync } from 'node:child_process';
import { generateKeyPairSync, randomBytes, randomInt } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const { values: options } = parseArgs({
  options: { home: { type: 'string' }, 'redirect-uri': { type: 'string' } },
});
const home = existsSync('/usr/bin/glewlwyd') ? '/' : options.home;
const libraries = readdirSync(join(home, 'usr/lib')).filter((name) => name.includes('-linux-'));
const environment = {
  ...process.env,
  LD_LIBRARY_PATH: libraries.map((name) => join(home, 'usr/lib', name)).join(':'),
  PATH: `${join(home, 'usr/bin')}:${process.env.PATH}`,
};
const directory = mkdtempSync(join(tmpdir(), 'nexus-glewlwyd-'));
let server;
let current;

function end(code) {
  server?.kill('SIGKILL');
  rmSync(directory, { recursive: true, force: true });
  process.exit(code);
}

function say(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

// A loopback address of its own, where nobody else takes the port between now and the start.
function freeAddress() {
  const host = `127.${randomInt(1, 256)}.${randomInt(0, 256)}.${randomInt(1, 255)}`;
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, host, () => {
      const { port } = probe.address();
      probe.close(() => resolve({ host, port }));
    });
  });
}

const { host, port } = await freeAddress();
const base = `http://${host}:${port}`;
const issuer = `${base}/api/oidc`;

function settings() {
  const modules = (kind) => join(home, 'usr/lib/glewlwyd', kind);
  return Object.entries({
    port,
    bind_address: host,
    external_url: base,
    login_url: 'login.html',
    api_prefix: 'api',
    static_files_path: join(home, 'usr/share/glewlwyd/webapp/'),
    log_mode: 'console',
    log_level: 'WARNING',
    cookie_domain: host,
    cookie_secure: 0,
    session_expiration: 3600,
    session_key: 'GLEWLWYD2_SESSION_ID',
    admin_scope: 'g_admin',
    profile_scope: 'g_profile',
    user_module_path: modules('user'),
    user_middleware_module_path: join(directory, 'none'),
    client_module_path: modules('client'),
    user_auth_scheme_module_path: modules('scheme'),
    plugin_module_path: modules('plugin'),
    hash_algorithm: 'SHA512',
  }).map(([name, value]) => `${name} = ${JSON.stringify(value)}`).concat(
    `database = { type = "sqlite3"; path = ${JSON.stringify(join(directory, 'glewlwyd.db'))}; };`,
    'static_files_mime_types = ( { extension = ".html"; mime_type = "text/html"; compress = 0; } );',
  ).join('\n');
}

function start() {
  mkdirSync(join(directory, 'none'));
  writeFileSync(join(directory, 'glewlwyd.conf'), settings());
  const schema = join(home, 'usr/share/dbconfig-common/data/glewlwyd/install/sqlite3');
  const made = spawnSync('sqlite3', [join(directory, 'glewlwyd.db'), `.read ${schema}`], { env: environment, encoding: 'utf8' });
  if (made.status !== 0) {
    throw new Error(`no database: ${made.stderr ?? made.error}`);
  }
  server = spawn('glewlwyd', ['--config-file', join(directory, 'glewlwyd.conf')], {
    cwd: directory, env: environment, stdio: ['ignore', 2, 2],
  });
  server.on('exit', (code) => { console.error(`glewlwyd ended: ${code}`); end(1); });
}

// What an administrator does in its pages; they call the same doors.
let cookie = '';
async function administer(method, path, body) {
  const response = await fetch(`${base}/api/${path}`, {
    method,
    headers: { cookie, ...(body && { 'content-type': 'application/json' }) },
    body: body && JSON.stringify(body),
  });
  if (!response.ok) {
    throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  }
  cookie = response.headers.getSetCookie()[0]?.split(';')[0] ?? cookie;
}

async function answers() {
  for (let attempt = 0; attempt < 500; attempt += 1) {
    try {
      return await administer('POST', 'auth/', { username: 'admin', password: 'password' });
    } catch (error) {
      if (error.cause?.code !== 'ECONNREFUSED') throw error;
      await pause(20);
    }
  }
  throw new Error('glewlwyd does not answer');
}

const newId = () => `key-${randomBytes(6).toString('hex')}`;

function pair(kid) {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { kid, privateKey, jwk: privateKey.export({ format: 'jwk' }), shown: publicKey.export({ format: 'jwk' }) };
}

function plugin({ kid, jwk }) {
  return {
    module: 'oidc',
    name: 'oidc',
    display_name: 'OpenID Connect',
    parameters: {
      iss: issuer,
      'jwks-private': JSON.stringify({ keys: [{ ...jwk, kid, alg: 'ES256', use: 'sig' }] }),
      'jwks-show': true,
      'access-token-duration': 3600,
      'refresh-token-duration': 86400,
      'code-duration': 60,
      'refresh-token-rolling': true,
      'refresh-token-one-use': 'always',
      'auth-type-code-enabled': true,
      'auth-type-code-revoke-replayed': true,
      'auth-type-refresh-enabled': true,
      'pkce-allowed': true,
      'pkce-required': true,
      'introspection-revocation-allowed': true,
      'introspection-revocation-allow-target-client': true,
      'request-parameter-allow': true,
      'client-jwks-parameter': 'jwks',
      'request-maximum-exp': 3600,
      'oauth-as-iss-id': true,
      'subject-type': 'public',
      'name-claim': 'mandatory',
      'email-claim': 'mandatory',
      'scope-claim': 'no',
    },
  };
}

function client(client_id, method, rest) {
  return {
    client_id,
    name: client_id,
    confidential: true,
    enabled: true,
    redirect_uri: [options['redirect-uri']],
    // Without the last one a client may not revoke what it was given.
    authorization_type: ['code', 'refresh_token', 'client_credentials'],
    token_endpoint_auth_method: [method],
    scope: [],
    ...rest,
  };
}

async function configure() {
  const password = randomBytes(12).toString('base64url');
  const secret = randomBytes(24).toString('base64url');
  const oddSecret = `odd: +/%2B&=é${randomBytes(24).toString('base64url')}`;
  const signing = pair(newId());
  const jwks = { keys: [{ ...signing.shown, kid: signing.kid, alg: 'ES256', use: 'sig' }] };
  current = pair(newId());
  await administer('POST', 'mod/plugin/', plugin(current));
  await administer('POST', 'client/?source=database', client('nexus-basic', 'client_secret_basic', { client_secret: secret }));
  await administer('POST', 'client/?source=database', client('nexus-signs', 'private_key_jwt', { jwks }));
  await administer('POST', 'client/?source=database', client('nexus-odd', 'client_secret_basic', { client_secret: oddSecret }));
  for (const username of ['alice', 'bob']) {
    await administer('POST', 'user/?source=database', {
      username, password, name: username, email: `${username}@example.test`, enabled: true, scope: ['openid', 'g_profile'],
    });
  }
  return {
    password,
    clients: [
      { client_id: 'nexus-basic', client_secret: secret },
      { client_id: 'nexus-odd', client_secret: oddSecret },
      {
        client_id: 'nexus-signs', private_key_id: signing.kid,
        private_key: signing.privateKey.export({ type: 'pkcs8', format: 'pem' }),
      },
    ],
  };
}

async function rotate(kid) {
  current = pair(kid);
  await administer('PUT', 'mod/plugin/oidc', plugin(current));
  await administer('PUT', 'mod/plugin/oidc/reset');
  say({ event: 'rotated', kid });
}

const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => {
  rotate(line === 'rotate' ? newId() : current.kid).catch((error) => { console.error(error); end(1); });
});
lines.on('close', () => end(0));
try {
  start();
  await answers();
  say({ event: 'ready', issuer, ...await configure() });
} catch (error) {
  console.error(error);
  end(1);
}
