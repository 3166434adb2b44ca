//! Session tokens: signed as the server would, and verified by libraries that are not ours.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use nexus_api::session_tokens::{KnownKeys, OpenedKey, SessionTokens};
use nexus_domain::sealing::{KeyEncryptionKey, KeyId, unwrap};
use nexus_domain::vault::{SessionKeys, VaultEvent, session_key_stream};
use nexus_ledger::Backend;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::nexus::{Nexus, TestNexus, root};
use crate::python::python_with_libraries;

/// What the two libraries say of a token: what it says, or why it is refused.
pub type Verdicts = [Result<Value, String>; 2];

impl Nexus {
    /// A data key that is stored, ready to sign; `None` when it is gone.
    pub async fn session_key(&self, kid: KeyId) -> Option<SigningKey> {
        let database = self.options().database;
        let backend = Backend::open_read_only(&database).await.expect("it opens");
        let wrapped = backend.data_key(kid).await.expect("the data keys")?;
        let key = unwrap(&self.encryption_key(), &wrapped).expect("it unwraps");
        Some(SigningKey::from_bytes(&key.derive_signing_seed()))
    }

    fn encryption_key(&self) -> KeyEncryptionKey {
        let file = self.data_dir().join("encryption.key");
        let text = std::fs::read_to_string(file).expect("the encryption key");
        let key = STANDARD.decode(text.trim()).expect("base64");
        KeyEncryptionKey::from_bytes(key.try_into().expect("32 bytes"))
    }
}

impl TestNexus {
    /// What signs and verifies session tokens in this server, read from outside, for tokens that live for an hour at most.
    pub async fn session_tokens(&self, audience: &str) -> SessionTokens {
        let (nexus, mut known) = (self.settings(), KnownKeys::default());
        let events = nexus.events().await.into_iter();
        for recorded in events.filter(|event| event.stream == session_key_stream()) {
            let event: VaultEvent = serde_json::from_str(&recorded.payload).expect("an event");
            known.keys.evolve(&event, recorded.recorded_at);
        }
        for kid in kids(&known.keys) {
            let key = nexus
                .session_key(kid)
                .await
                .expect("a published key is there");
            known.opened.push(Arc::new(OpenedKey { kid, key }));
        }
        let hour = Duration::from_hours(1);
        let tokens = SessionTokens::new(self.issuer(), Some(audience.to_owned()), hour);
        tokens.learn(Arc::new(known));
        tokens
    }

    /// The issuer of session tokens.
    pub fn issuer(&self) -> String {
        let gateway = self.gateway();
        gateway.base().as_str().trim_end_matches('/').to_owned()
    }

    /// What resource servers say of a token that ask this server for its keys: `PyJWT` and npm `jose`.
    pub async fn verdicts(&self, token: &str, audience: &str) -> Verdicts {
        let asked = json!({
            "token": token,
            "jwks_url": format!("{}/.well-known/jwks.json", self.issuer()),
            "issuer": self.issuer(),
            "audience": audience,
        });
        let (python, node) = tokio::join!(verdict(python(), &asked), verdict(node(), &asked));
        [python, node]
    }
}

fn kids(keys: &SessionKeys) -> Vec<KeyId> {
    keys.live().map(|key| key.kid).collect()
}

fn directory() -> PathBuf {
    root().join("tests/jwt-verifiers")
}

fn python() -> Command {
    let mut command = Command::new(python_with_libraries());
    command.arg(directory().join("verify.py"));
    command
}

fn node() -> Command {
    let mut command = Command::new("node");
    command.arg(directory().join("verify.mjs"));
    command
}

async fn verdict(mut library: Command, asked: &Value) -> Result<Value, String> {
    let mut child = library
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the library starts");
    let mut input = child.stdin.take().expect("piped");
    let asked = asked.to_string();
    input.write_all(asked.as_bytes()).await.expect("it listens");
    drop(input);
    let output = child.wait_with_output().await.expect("it ends");
    assert!(output.status.success(), "{library:?} failed");
    let mut said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    match said["refused"].take() {
        Value::String(why) => Err(why),
        _ => Ok(said["claims"].take()),
    }
}
