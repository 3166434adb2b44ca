//! The keys that sign session tokens: listing them, and making a new one.

use std::io::{self, Write};

use clap::Subcommand;

use crate::broker::{Broker, BrokerError, SessionKey};

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Lists the keys that sign session tokens, the newest first.
    List,
    /// Makes a new key; it signs once everybody who verifies has it.
    Rotate {
        /// Somebody else may have the keys so far: destroys them and with them every session token; the new one signs at
        /// once.
        #[arg(long)]
        compromised: bool,
    },
}

/// Why the keys were not listed or rotated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// Does what was asked.
pub(crate) async fn run(
    keys: Keys,
    broker: &Broker,
    output: &mut impl Write,
) -> Result<(), KeysError> {
    match keys {
        Keys::List => output.write_all(table(&broker.session_keys().await?).as_bytes())?,
        Keys::Rotate { compromised } => {
            let key = broker.rotate_session_keys(compromised).await?;
            writeln!(output, "{} signs from {}", key.kid, key.signs_from)?;
        }
    }
    Ok(())
}

fn table(keys: &[SessionKey]) -> String {
    let row = |kid: &str, state: &str, since: &str| format!("{kid:36}  {state:9}  {since}\n");
    let keys = keys.iter().map(|key| row(&key.kid, &key.state, since(key)));
    row("KID", "STATE", "SINCE") + &keys.collect::<String>()
}

/// When it came into its state, as far as that is an event.
fn since(key: &SessionKey) -> &str {
    match key.state.as_str() {
        "signing" => &key.signs_from,
        "retired" => key.retired_at.as_ref().unwrap_or(&key.created_at),
        _ => &key.created_at,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::broker::scripted::{Scripted, broker_at};

    async fn said(keys: Keys, answer: (u16, String)) -> (Result<String, String>, Scripted) {
        let scripted = Scripted::serve(vec![answer]);
        let mut output = Vec::new();
        let outcome = run(keys, &broker_at(&scripted.url, "key"), &mut output).await;
        let outcome = outcome.map(|()| String::from_utf8(output).unwrap());
        (outcome.map_err(|error| error.to_string()), scripted)
    }

    fn key(kid: &str, state: &str) -> serde_json::Value {
        json!({
            "kid": kid,
            "state": state,
            "created_at": "2026-11-24T15:04:05Z",
            "signs_from": "2026-11-24T15:14:05Z",
            "retires_at": null,
            "retired_at": (state == "retired").then_some("2026-11-25T00:00:00Z"),
            "reason": null,
        })
    }

    #[tokio::test]
    async fn keys_are_listed_with_their_state_and_since_when() {
        let [new, old] = [
            "01923a4b-5c6d-4e7f-8091-a2b3c4d5e6f7",
            "5e8f0d5c-3a1b-4f6e-9c7d-2b4a6f8e0c13",
        ];
        let keys = json!({"keys": [key(new, "published"), key(old, "signing"), key(old, "verifying"), key(old, "retired")]});
        let (said, _) = said(Keys::List, (200, keys.to_string())).await;
        let expected = "\
KID                                   STATE      SINCE
01923a4b-5c6d-4e7f-8091-a2b3c4d5e6f7  published  2026-11-24T15:04:05Z
5e8f0d5c-3a1b-4f6e-9c7d-2b4a6f8e0c13  signing    2026-11-24T15:14:05Z
5e8f0d5c-3a1b-4f6e-9c7d-2b4a6f8e0c13  verifying  2026-11-24T15:04:05Z
5e8f0d5c-3a1b-4f6e-9c7d-2b4a6f8e0c13  retired    2026-11-25T00:00:00Z
";
        assert_eq!(said.unwrap(), expected);
    }

    #[tokio::test]
    async fn a_new_key_is_named_with_when_it_signs() {
        let answer = (201, key("a-key", "published").to_string());
        let (said, scripted) = said(Keys::Rotate { compromised: false }, answer).await;
        assert_eq!(said.unwrap(), "a-key signs from 2026-11-24T15:14:05Z\n");
        let request = &scripted.requests()[0];
        assert!(
            request.starts_with("POST /admin/v1/session-keys "),
            "{request}"
        );
    }

    #[tokio::test]
    async fn a_refusal_is_told() {
        let refusal = json!({"error": "conflict", "message": "It kept changing."});
        let (said, _) = said(
            Keys::Rotate { compromised: true },
            (409, refusal.to_string()),
        )
        .await;
        assert_eq!(
            said.unwrap_err(),
            "the Broker answered 409 Conflict: It kept changing."
        );
    }
}
