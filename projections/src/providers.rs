//! The `providers` read model. A deleted provider keeps its row, without its name: the connections
//! made with it survive and are refreshed with its settings.

use nexus_domain::decider::Decider;
use nexus_domain::provider::{Provider, ProviderEvent, ProviderId, SecretChange, Status};
use nexus_domain::time::Timestamp;
use nexus_ledger::RecordedEvent;
use uuid::Uuid;

use crate::connections::{SealedField, decode, encode, required, signed, unsigned};
use crate::projection::{FoldError, Projection};
use crate::table::{Column, Value, Values};

/// A provider.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderRow {
    /// Its id.
    pub id: String,
    /// The newest sequence of its stream.
    pub sequence: u64,
    /// The position of its newest event.
    pub position: u64,
    /// The folded state.
    pub state: Provider,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Its secrets, sealed.
    pub secret: Option<SealedField>,
}

/// The fold.
#[derive(Debug)]
pub struct Providers;

impl Projection for Providers {
    const NAME: &'static str = "providers";
    const VERSION: i64 = 1_000 + Provider::STATE_VERSION as i64;
    const STREAM: &'static str = "provider";
    const COLUMNS: &'static [Column] = &[
        Column::text("id"),
        Column::integer("sequence"),
        Column::integer("position"),
        Column::text("name_key"),
        Column::text("state"),
        Column::integer("created_at"),
        Column::integer("updated_at"),
        Column::text("secret_sealed"),
        Column::integer("secret_position"),
        Column::bytes("secret_blob"),
    ];
    const INDEXES: &'static [&'static str] = &["name_key"];
    type Row = ProviderRow;

    fn position(row: &Self::Row) -> u64 {
        row.position
    }

    fn apply(
        row: Option<ProviderRow>,
        recorded: &RecordedEvent,
    ) -> Result<Option<ProviderRow>, FoldError> {
        let event: ProviderEvent = decode(&recorded.payload)?;
        let mut row = row.unwrap_or_else(|| ProviderRow::new(recorded));
        row.state.evolve(&event);
        row.sequence = recorded.sequence;
        row.position = recorded.position;
        row.updated_at = recorded.recorded_at;
        row.keep_secret(&event, recorded);
        Ok(Some(row))
    }

    fn row_key(row: &ProviderRow) -> &str {
        &row.id
    }

    fn to_values(row: &ProviderRow) -> Vec<Value> {
        vec![
            row.id.clone().into(),
            signed(row.sequence).into(),
            signed(row.position).into(),
            row.name_key().into(),
            encode(&row.state).into(),
            row.created_at.as_micros().into(),
            row.updated_at.as_micros().into(),
            row.secret
                .as_ref()
                .map(|field| encode(&field.sealed))
                .into(),
            row.secret
                .as_ref()
                .map(|field| signed(field.position))
                .into(),
            row.secret
                .as_ref()
                .and_then(|field| field.blob.clone())
                .into(),
        ]
    }

    fn from_values(values: Vec<Value>) -> Result<ProviderRow, FoldError> {
        let mut values = Values::new(values);
        let id = required(values.text()?)?;
        let sequence = unsigned(values.integer()?)?;
        let position = unsigned(values.integer()?)?;
        let _name_key = values.text()?;
        Ok(ProviderRow {
            id,
            sequence,
            position,
            state: decode(&required(values.text()?)?)?,
            created_at: Timestamp::from_micros(required(values.integer()?)?),
            updated_at: Timestamp::from_micros(required(values.integer()?)?),
            secret: crate::connections::sealed_field(&mut values)?,
        })
    }

    fn superseded_blob(old: &ProviderRow, new: Option<&ProviderRow>) -> Option<u64> {
        let old = old.secret.as_ref()?.position;
        let kept = new
            .and_then(|row| row.secret.as_ref())
            .is_some_and(|field| field.position == old);
        (!kept).then_some(old)
    }
}

impl ProviderRow {
    fn new(first: &RecordedEvent) -> Self {
        Self {
            id: first.stream.id.clone(),
            sequence: 0,
            position: 0,
            state: Provider::default(),
            created_at: first.recorded_at,
            updated_at: first.recorded_at,
            secret: None,
        }
    }

    /// Whether new connections can be made with it.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.state.status == Status::Registered
    }

    /// Its id as the domain knows it.
    #[must_use]
    pub fn provider_id(&self) -> ProviderId {
        ProviderId::parse(&self.id).unwrap_or_else(|_| ProviderId::from_uuid(Uuid::nil()))
    }

    fn name_key(&self) -> Option<String> {
        self.is_registered().then(|| self.state.profile.name_key())
    }

    fn keep_secret(&mut self, event: &ProviderEvent, recorded: &RecordedEvent) {
        let blob = || recorded.blob.as_deref().map(<[u8]>::to_vec);
        match event {
            ProviderEvent::Registered {
                secret: Some(sealed),
                ..
            }
            | ProviderEvent::Updated {
                secret: SecretChange::Set(sealed),
                ..
            } => {
                self.secret = Some(SealedField {
                    sealed: sealed.clone(),
                    position: recorded.position,
                    blob: blob(),
                });
            }
            ProviderEvent::Updated {
                secret: SecretChange::Clear,
                ..
            } => self.secret = None,
            ProviderEvent::Registered { secret: None, .. }
            | ProviderEvent::Updated {
                secret: SecretChange::Keep,
                ..
            }
            | ProviderEvent::Deleted { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests;
