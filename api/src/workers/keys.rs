//! Admin keys that change while the server runs.

use nexus_domain::metadata::Metadata;
use nexus_domain::vault::VaultEvent;
use nexus_ledger::Ledger;

use super::record;
use crate::application::Application;
use crate::application::waiters::stopped;
use crate::config::Config;
use crate::keys::{ApiKeys, KeyChanges, reload_api_keys};

/// Reads the files of admin keys again and again until told to stop. A file that cannot be used
/// changes nothing. A key that is gone opens nothing from then on; that it is gone is recorded.
pub async fn reload_keys(application: Application, config: Config, keys: ApiKeys) {
    if config.keys.api_key_files.is_empty() {
        return;
    }
    let mut stopping = application.stopping.clone();
    let mut unrecorded = KeyChanges::default();
    loop {
        tokio::select! {
            () = stopped(&mut stopping) => return,
            () = tokio::time::sleep(config.api_key_reload_interval) => {}
        }
        match reload_api_keys(&config, &application.state_key) {
            Ok(newer) => {
                let changes = keys.replace(&newer);
                unrecorded.added.extend(changes.added);
                unrecorded.removed.extend(changes.removed);
            }
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::warn!("the API keys stay as they are: {error:#}");
            }
        }
        if unrecorded != KeyChanges::default() {
            match recorded(&application.ledger, &unrecorded).await {
                Ok(()) => unrecorded = KeyChanges::default(),
                Err(error) => tracing::warn!(%error, "changed API keys could not be recorded"),
            }
        }
    }
}

async fn recorded(ledger: &Ledger, changes: &KeyChanges) -> Result<(), String> {
    let event = VaultEvent::ApiKeysChanged {
        added: changes.added.clone(),
        removed: changes.removed.clone(),
    };
    record(ledger, &event, Metadata::of_the_program("key_reload")).await
}
