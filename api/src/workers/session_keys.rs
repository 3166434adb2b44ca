//! Session keys that other nodes change, and those whose time is over.

use std::time::Duration;

use tokio::sync::watch;

use crate::application::Application;
use crate::application::waiters::stopped;

/// Between two looks, however fast the log grows.
const PAUSE: Duration = Duration::from_secs(2);
/// Between two looks when it does not.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Keeps to the session keys of the log until told to stop.
pub async fn keep_session_keys(application: Application, mut stopping: watch::Receiver<bool>) {
    let mut head = application.ledger.watch();
    loop {
        head.mark_unchanged();
        if let Err(error) = application.keep_session_keys().await {
            tracing::warn!(%error, "the session keys could not be looked up");
        }
        let next = async {
            tokio::time::sleep(PAUSE).await;
            drop(tokio::time::timeout(LOOK_EVERY, head.changed()).await);
        };
        tokio::select! {
            () = stopped(&mut stopping) => return,
            () = next => {}
        }
    }
}
