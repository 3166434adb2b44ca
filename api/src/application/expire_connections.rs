//! Records that pending consents have lapsed. Nothing depends on it for correctness: a consent
//! that is past its time is refused and shown as failed whether or not this has run.

use nexus_domain::connection::{Connection, ConnectionCommand, ConnectionError};
use nexus_domain::metadata::Metadata;
use nexus_ledger::{Context, ExecuteError};
use nexus_projections::ConnectionRow;

use super::{Application, Fault, fault_of};

/// How many are looked at in one go.
const AT_ONCE: u32 = 200;

impl Application {
    /// Lets lapse what is due; whether there may be more.
    ///
    /// # Errors
    /// [`Fault`]; what was recorded before it stays recorded.
    pub async fn expire_connections(&self) -> Result<bool, Fault> {
        let due = self
            .reads
            .connections_due(self.ledger.now(), AT_ONCE)
            .await?;
        let mut expired = 0_u32;
        for row in &due {
            expired += u32::from(self.expire(row).await?);
        }
        Ok(expired == AT_ONCE)
    }

    async fn expire(&self, row: &ConnectionRow) -> Result<bool, Fault> {
        let context = Context {
            metadata: Metadata::of_the_program("expire_connections"),
            // The transaction's clock has the last word on whether it is due.
            not_before: row.due_at(),
            only_at: Some(row.sequence),
            ..Context::default()
        };
        let command = ConnectionCommand::Expire {
            now: self.ledger.now(),
            exchange_deadline_passed: true,
        };
        match self
            .ledger
            .execute::<Connection>(&row.reference, command, context)
            .await
        {
            Ok(_) => Ok(true),
            Err(ExecuteError::Decision(ConnectionError::NotDue)) => Ok(false),
            Err(error) => match fault_of(error) {
                Fault::Conflict => Ok(false),
                fault => Err(fault),
            },
        }
    }
}
