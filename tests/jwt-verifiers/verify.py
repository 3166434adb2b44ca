#!/usr/bin/env python3
"""Verifies a session token with PyJWT, as a resource server would.

Reads {"token", "jwks_url", "issuer", "audience"} from standard input; writes {"claims"} or {"refused": why}.
"""

import json
import sys

import jwt

REQUIRED = ["iss", "aud", "sub", "client_id", "iat", "exp", "jti"]


def verified(asked):
    """What RFC 9068, section 4, asks for."""
    token = asked["token"]
    if jwt.get_unverified_header(token).get("typ") != "at+jwt":
        raise jwt.InvalidTokenError("it is no access token")
    key = jwt.PyJWKClient(asked["jwks_url"]).get_signing_key_from_jwt(token)
    return jwt.decode(
        token, key, algorithms=["EdDSA"], issuer=asked["issuer"], audience=asked["audience"], options={"require": REQUIRED}
    )


def main():
    try:
        answer = {"claims": verified(json.load(sys.stdin))}
    except jwt.PyJWTError as error:
        answer = {"refused": f"{type(error).__name__}: {error}"}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
