//! One connection, driven by a task of its own that ends with it.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use tokio::task::JoinHandle;
use tokio_postgres::AsyncMessage;

use super::DedicatedClient;
use super::failure::describe;
use super::options::PostgresOptions;

/// A connection; dropping it closes the socket at once, whatever the server is doing.
pub(super) struct Link {
    pub(super) client: DedicatedClient,
    driver: Driver,
}

/// The task that moves the connection's bytes.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How long a farewell may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

impl Link {
    /// Connects within `limit`; `notified` is called with the payload of each notification.
    ///
    /// # Errors
    /// A sentence without secrets.
    pub(super) async fn open(
        options: &PostgresOptions,
        limit: Duration,
        mut notified: impl FnMut(&str) + Send + 'static,
    ) -> Result<Self, String> {
        let config = options.tokio_postgres();
        let connected = tokio::time::timeout(limit, config.connect(options.connector())).await;
        let (client, mut connection) = match connected {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) => return Err(describe(&error)),
            Err(_) => return Err(format!("no connection within {} ms", limit.as_millis())),
        };
        let driver = tokio::spawn(async move {
            let mut messages = stream::poll_fn(|context| connection.poll_message(context));
            while let Some(message) = messages.next().await {
                match message {
                    Ok(AsyncMessage::Notification(notification)) => {
                        notified(notification.payload());
                    }
                    Ok(_) => {}
                    // Whoever waits for an answer gets this error too.
                    Err(_) => break,
                }
            }
        });
        Ok(Self {
            // Its own task ends with it, before a farewell is sent; ours does not.
            client: DedicatedClient::new(client, tokio::spawn(std::future::ready(()))),
            driver: Driver(driver),
        })
    }

    /// Takes leave of the server, which otherwise logs a connection that was reset.
    pub(super) async fn close(self) {
        let Self { client, mut driver } = self;
        drop(client);
        drop(tokio::time::timeout(CLOSE_WITHIN, &mut driver.0).await);
    }
}
