//! What `{:?}` shows of what holds a secret.

use std::collections::BTreeMap;
use std::fmt::Debug;

use nexus_api::application::capture_credential::Captured;
use nexus_api::application::complete_consent::Callback;
use nexus_api::application::connect::Requested;
use nexus_api::keys::{KeyMaterial, StateKey};
use nexus_api::upstream::{Authorization, TokenAnswer};
use nexus_domain::credential::{Credential, OAuth2Credential, StaticCredential};
use nexus_domain::reference::{ConnectionId, ConnectionReference};
use nexus_domain::secret::{Secret, SecretMap};
use nexus_domain::time::Timestamp;
use serde_json::json;

/// What every secret here begins with.
const CANARY: &str = "canary";
/// A connection's id.
const ID: &str = "c0ffee00-aaaa-4aaa-8aaa-aaaaaaaaaaaa";

fn shows_nothing(holder: &impl Debug) {
    for shown in [format!("{holder:?}"), format!("{holder:#?}")] {
        assert!(!shown.contains(CANARY) && !shown.contains(ID), "{shown}");
    }
}

fn secret() -> Secret {
    Secret::new(CANARY)
}

#[test]
fn consents_show_neither_codes_nor_states_nor_ids() {
    shows_nothing(&Callback {
        code: Some(CANARY.to_owned()),
        state: Some(CANARY.to_owned()),
        iss: None,
        error: None,
    });
    let url = format!("https://provider.test/?state={CANARY}");
    shows_nothing(&Requested {
        auth_url: url.clone(),
        connection_id: ConnectionId::parse(ID).unwrap(),
        state: CANARY.to_owned(),
        scopes: Vec::new(),
        provider_id: String::new(),
        expires_at: Timestamp::from_micros(0),
    });
    shows_nothing(&Captured {
        connection_id: ID.to_owned(),
        redirect_url: format!("https://app.test/?connection_id={ID}")
            .parse()
            .unwrap(),
    });
    shows_nothing(&Authorization {
        state: CANARY,
        pkce_verifier: &secret(),
        nonce: CANARY,
        redirect_uri: "https://vault.test/callback",
        scopes: &[],
    });
    let key = StateKey::new(KeyMaterial::from_bytes([7; 32]));
    let state = key.mint(ConnectionReference::default(), [7; 16]);
    let shown = format!("{state:?} {key:?}");
    assert!(!shown.contains(state.as_str()), "{shown}");
}

#[test]
fn credentials_show_no_token_and_no_field() {
    let credential = OAuth2Credential {
        access_token: secret(),
        token_type: "Bearer".to_owned(),
        refresh_token: Some(secret()),
        id_token: Some(secret()),
        scope: Vec::new(),
        expires_at: None,
        fields: SecretMap::new(
            [("instance_url".to_owned(), json!(CANARY))]
                .into_iter()
                .collect(),
        ),
    };
    shows_nothing(&Credential::OAuth2(credential));
    let fields = BTreeMap::from([("secret_key".to_owned(), json!(CANARY))]);
    let fields = SecretMap::new(fields.into_iter().collect());
    shows_nothing(&Credential::Static(StaticCredential { fields }));
    shows_nothing(&TokenAnswer {
        access_token: secret(),
        token_type: "Bearer".to_owned(),
        refresh_token: Some(secret()),
        id_token: Some(secret()),
        scope: None,
        expires_in: None,
        fields: SecretMap::new(
            [("instance_url".to_owned(), json!(CANARY))]
                .into_iter()
                .collect(),
        ),
    });
}
