// Verifies a session token with jose, as a resource server would.
//
// Reads {"token", "jwks_url", "issuer", "audience"} from standard input; writes {"claims"} or {"refused": why}.

import { createRemoteJWKSet, errors, jwtVerify } from 'jose';

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const { token, jwks_url, issuer, audience } = JSON.parse(Buffer.concat(chunks));

// What RFC 9068, section 4, asks for.
const expected = {
  issuer, audience, typ: 'at+jwt', algorithms: ['EdDSA'],
  requiredClaims: ['iss', 'aud', 'sub', 'client_id', 'iat', 'exp', 'jti'],
};
try {
  const { payload } = await jwtVerify(token, createRemoteJWKSet(new URL(jwks_url)), expected);
  console.log(JSON.stringify({ claims: payload }));
} catch (error) {
  if (!(error instanceof errors.JOSEError)) throw error;
  console.log(JSON.stringify({ refused: `${error.code}: ${error.message}` }));
}
