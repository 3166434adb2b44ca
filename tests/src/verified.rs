//! The whole log, checked from its raw entries.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use nexus_ledger::postgres::PostgresOptions;
use nexus_ledger::verify::{Verified, verify};
use nexus_ledger::{Database, Ledger, Options};

use crate::nexus::Nexus;

impl Nexus {
    /// Re-derives every leaf and the tree of a stopped server's log, and checks every checkpoint's signature; panics
    /// at the first divergence.
    pub async fn verified(&self) -> Verified {
        let ledger = Ledger::open(self.options()).await.expect("the log opens");
        let key = self.audit_key().verifying_key();
        let verified = verify(ledger.backend(), Some(key))
            .await
            .expect("the log verifies");
        ledger.stop().await;
        verified
    }

    /// How its log is opened from outside.
    pub fn options(&self) -> Options {
        let database = match self.database().url() {
            None => Database::Sqlite {
                path: self.data_dir().join("nexus.db"),
            },
            Some(url) => {
                Database::Postgres(PostgresOptions::parse(url, None, None).expect("a URL"))
            }
        };
        Options {
            database,
            projector: None,
            snapshot_every: 100,
            queue_capacity: 16,
            node_id: "verifier".to_owned(),
            checkpoint_key: None,
            origin: "nexus".to_owned(),
        }
    }

    pub(crate) fn audit_key(&self) -> SigningKey {
        let text =
            std::fs::read_to_string(self.data_dir().join("audit.key")).expect("the audit key");
        let seed = STANDARD.decode(text.trim()).expect("base64");
        SigningKey::from_bytes(&seed.try_into().expect("32 bytes"))
    }
}
