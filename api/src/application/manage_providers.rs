//! Registers, changes, deletes and finds providers.

use std::sync::Arc;

use nexus_domain::metadata::Metadata;
use nexus_domain::provider::{
    AuthType, InvalidProfile, PRIVATE_KEY, Provider, ProviderCommand, ProviderError, ProviderId,
    ProviderProfile, ProviderSecrets, SecretChange, carry_over, split_secrets,
};
use nexus_domain::sealing::{Purpose, SealedBlob};
use nexus_domain::secret::{Secret, SecretMap};
use nexus_domain::stream::StreamKey;
use nexus_ledger::{AppendError, Context, ExecuteError, KeyChange, NameChange};
use nexus_projections::{ConnectionRow, ProviderRow};
use serde_json::{Map, Value};

use super::keyring::{OpenError, seal_secret};
use super::{Application, Fault};
use crate::random::make_uuid;
use crate::schema::CredentialSchema;
use crate::upstream::ClientKey;

/// How often a change starts again because the provider moved under it.
const ATTEMPTS: usize = 8;
/// The scope of providers' names among the log's unique names.
const NAMES: &str = "provider";

/// Whoever may edit a provider must not be able to collect its secret at a host of their own.
const HOST_CHANGED: &str = "its host changes, so the client's secrets must be given again";

/// How a caller names a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderKey {
    /// By id.
    Id(ProviderId),
    /// By name, whatever its case.
    Name(String),
}

impl ProviderKey {
    /// What it is called on the wire.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Id(_) => "provider_id",
            Self::Name(_) => "provider_name",
        }
    }

    /// The id or the name.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Id(id) => id.to_string(),
            Self::Name(name) => name.clone(),
        }
    }
}

/// How a change treats the fields it does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They stay (PATCH); null clears one.
    Merge,
    /// They are cleared (PUT); an absent client secret stays.
    Replace,
}

/// Why a provider was not registered or changed.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    /// There is no such provider.
    #[error("the provider does not exist")]
    NotFound,
    /// Another provider has the name.
    #[error("a provider of this name exists")]
    NameTaken,
    /// A field is wrong.
    #[error("{}: {}", .0.field, .0.message)]
    Invalid(InvalidProfile),
    /// Something else went wrong.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A profile as it was sent, its secrets apart.
struct Sent {
    profile: ProviderProfile,
    client_secret: SentSecret,
    param_secrets: SecretMap,
}

impl Sent {
    fn gives_secret(&self) -> bool {
        matches!(self.client_secret, SentSecret::Given(_))
    }

    fn gives_key(&self) -> bool {
        self.param_secrets.expose().contains_key(PRIVATE_KEY)
    }

    /// Whether something is in it that the client proves itself with.
    fn proves(&self) -> bool {
        self.gives_secret() || self.gives_key()
    }

    /// Whether everything is in it that the client has proved itself with so far.
    fn repeats(&self, stored: &ProviderSecrets) -> bool {
        (self.gives_secret() || stored.client_secret.is_none())
            && (self.gives_key() || !stored.params.expose().contains_key(PRIVATE_KEY))
    }
}

/// What was said of the client secret.
enum SentSecret {
    /// Nothing: a stored one stays.
    Unnamed,
    /// That there is none.
    Cleared,
    /// What it is.
    Given(Secret),
}

impl SentSecret {
    /// The client secret from now on, `stored` being the one so far.
    fn over(&self, stored: Option<&Secret>) -> Option<Secret> {
        match self {
            Self::Unnamed => stored.cloned(),
            Self::Cleared => None,
            Self::Given(secret) => Some(secret.clone()),
        }
    }
}

impl Application {
    /// Registers a provider.
    ///
    /// # Errors
    /// [`ManageError`]
    pub async fn register_provider(
        &self,
        body: Map<String, Value>,
        metadata: Metadata,
    ) -> Result<Arc<ProviderRow>, ManageError> {
        let mut sent = read_profile(body)?;
        let secrets = ProviderSecrets {
            client_secret: sent.client_secret.over(None),
            params: sent.param_secrets,
        };
        self.check(&sent.profile, &secrets)?;
        sent.profile.has_client_secret = secrets.client_secret.is_some();
        let id = ProviderId::from_uuid(make_uuid().map_err(Fault::from)?);
        let stream = StreamKey::provider(id);
        let mut context = Context {
            metadata,
            names: vec![take(&sent.profile)],
            ..Context::default()
        };
        let secret = self
            .seal_secrets(&stream, None, &secrets, &mut context)
            .await?;
        let command = ProviderCommand::Register {
            profile: sent.profile,
            secret,
        };
        self.command(id, command, context).await?;
        self.provider(id).await
    }

    /// Changes a provider.
    ///
    /// # Errors
    /// [`ManageError`]
    pub async fn change_provider(
        &self,
        id: ProviderId,
        body: &Map<String, Value>,
        change: Change,
        metadata: &Metadata,
    ) -> Result<Arc<ProviderRow>, ManageError> {
        for _ in 0..ATTEMPTS {
            let row = self.provider(id).await?;
            match self
                .change(&row, body.clone(), change, metadata.clone())
                .await
            {
                Err(ManageError::Fault(Fault::Conflict)) => {}
                Err(error) => return Err(error),
                Ok(()) => return self.provider(id).await,
            }
        }
        Err(Fault::Conflict.into())
    }

    async fn change(
        &self,
        row: &ProviderRow,
        body: Map<String, Value>,
        change: Change,
        metadata: Metadata,
    ) -> Result<(), ManageError> {
        let stored = self.provider_secrets(row).await?;
        let base = match change {
            Change::Merge => to_map(&row.state.profile),
            Change::Replace => Map::new(),
        };
        let mut sent = read_profile(merge(base, body))?;
        let secrets = ProviderSecrets {
            client_secret: sent.client_secret.over(stored.client_secret.as_ref()),
            params: carry_over(&sent.profile.params, &sent.param_secrets, &stored.params),
        };
        self.check(&sent.profile, &secrets)?;
        let id = row.provider_id();
        let mut context = Context {
            metadata,
            only_at: Some(row.sequence),
            ..Context::default()
        };
        if sent.profile.name_key() != row.state.profile.name_key() {
            context.names = vec![
                take(&sent.profile),
                NameChange::Release {
                    scope: NAMES.to_owned(),
                    name: row.state.profile.name_key(),
                },
            ];
        }
        // A secret that is sent again is set again: a change of host asks for exactly that.
        let resent = sent.proves();
        sent.profile.has_client_secret = secrets.client_secret.is_some();
        if !sent.repeats(&stored)
            && let Some(field) = row.state.profile.changed_host(&sent.profile)
        {
            return Err(invalid(field, HOST_CHANGED));
        }
        let secret = if !resent && same(&secrets, &stored) {
            SecretChange::Keep
        } else {
            let stream = StreamKey::provider(id);
            self.seal_secrets(&stream, Some(row), &secrets, &mut context)
                .await?
                .map_or(SecretChange::Clear, SecretChange::Set)
        };
        self.command(
            id,
            ProviderCommand::Update {
                profile: sent.profile,
                secret,
            },
            context,
        )
        .await
    }

    /// Deletes a provider; its connections survive, its name is free again.
    ///
    /// # Errors
    /// [`ManageError`]
    pub async fn delete_provider(
        &self,
        id: ProviderId,
        metadata: &Metadata,
    ) -> Result<(), ManageError> {
        for _ in 0..ATTEMPTS {
            let row = self.provider(id).await?;
            let context = Context {
                metadata: metadata.clone(),
                only_at: Some(row.sequence),
                names: vec![NameChange::Release {
                    scope: NAMES.to_owned(),
                    name: row.state.profile.name_key(),
                }],
                ..Context::default()
            };
            match self.command(id, ProviderCommand::Delete, context).await {
                Err(ManageError::Fault(Fault::Conflict)) => {}
                outcome => return outcome,
            }
        }
        Err(Fault::Conflict.into())
    }

    /// A registered provider.
    ///
    /// # Errors
    /// [`ManageError`]
    pub async fn provider(&self, id: ProviderId) -> Result<Arc<ProviderRow>, ManageError> {
        find_provider(self, &ProviderKey::Id(id))
            .await?
            .ok_or(ManageError::NotFound)
    }

    /// The provider of a connection; also one that was deleted since.
    pub(super) async fn provider_of(&self, row: &ConnectionRow) -> Result<Arc<ProviderRow>, Fault> {
        let missing = || {
            Fault::Internal(format!(
                "the provider of connection {} is missing",
                row.reference
            ))
        };
        let id = row.state.provider_id.ok_or_else(missing)?;
        self.reads
            .provider(&id.to_string())
            .await?
            .ok_or_else(missing)
    }

    /// A provider's secrets; none when it has none.
    pub(super) async fn provider_secrets(
        &self,
        row: &ProviderRow,
    ) -> Result<ProviderSecrets, Fault> {
        let Some(field) = &row.secret else {
            return Ok(ProviderSecrets::default());
        };
        let plaintext = self
            .keyring
            .open(
                &StreamKey::provider(row.provider_id()),
                Purpose::ProviderSecret,
                field,
            )
            .await
            .map_err(|error| match error {
                OpenError::Fault(fault) => fault,
                error => Fault::Unreadable(format!(
                    "the secrets of provider {} cannot be opened: {error}",
                    row.id
                )),
            })?;
        ProviderSecrets::from_plaintext(&plaintext).map_err(|_| {
            Fault::Internal(format!("the secrets of provider {} do not decode", row.id))
        })
    }

    fn check(
        &self,
        profile: &ProviderProfile,
        secrets: &ProviderSecrets,
    ) -> Result<(), ManageError> {
        profile
            .validate(secrets.client_secret.is_some())
            .map_err(ManageError::Invalid)?;
        if signs(profile) {
            ClientKey::of(profile, secrets)
                .map_err(|error| invalid(error.field(), &error.to_string()))?;
        }
        for (field, url) in profile.urls() {
            let parsed =
                url::Url::parse(url).map_err(|_| invalid(field, "it must be an absolute URL"))?;
            self.policy
                .upstreams
                .check(&parsed)
                .map_err(|error| invalid(field, &error.to_string()))?;
        }
        let schema = profile.params.get("credential_schema");
        let compiled = schema.map_or(Ok(()), |schema| CredentialSchema::compile(schema).map(drop));
        compiled.map_err(|error| invalid("params.credential_schema", &error.to_string()))
    }

    /// Seals what there is of secrets under the provider's key, made now when it has none yet.
    async fn seal_secrets(
        &self,
        stream: &StreamKey,
        row: Option<&ProviderRow>,
        secrets: &ProviderSecrets,
        context: &mut Context,
    ) -> Result<Option<nexus_domain::sealing::SealedRef>, ManageError> {
        if secrets.is_empty() {
            return Ok(None);
        }
        let version = row.map_or(0, |row| row.state.secret_version) + 1;
        let before = row
            .and_then(|row| row.secret.as_ref())
            .map(|field| &field.sealed);
        let (key, key_id) = if let Some(sealed) = before {
            let key = self.keyring.key(stream, sealed.key_id).await;
            let key = key.map_err(|error| match error {
                OpenError::Fault(fault) => fault,
                error => Fault::Unreadable(error.to_string()),
            })?;
            (key, sealed.key_id)
        } else {
            let new = self.keyring.make_key(stream)?;
            let key_id = new.wrapped.key_id;
            context.keys.push(KeyChange::Put(new.wrapped));
            (new.key, key_id)
        };
        let (sealed, blob): (_, SealedBlob) = seal_secret(
            &key,
            key_id,
            stream,
            Purpose::ProviderSecret,
            version,
            &secrets.to_plaintext(),
        )?;
        context.blobs.push(blob);
        Ok(Some(sealed))
    }

    async fn command(
        &self,
        id: ProviderId,
        command: ProviderCommand,
        context: Context,
    ) -> Result<(), ManageError> {
        match self
            .ledger
            .execute::<Provider>(&id.to_string(), command, context)
            .await
        {
            Ok(_) => Ok(()),
            Err(ExecuteError::Append(AppendError::NameTaken { .. })) => Err(ManageError::NameTaken),
            Err(ExecuteError::Append(error)) => Err(Fault::from(error).into()),
            Err(ExecuteError::Load(error)) => Err(Fault::from(error).into()),
            Err(ExecuteError::Decision(error)) => Err(of_decision(error)),
        }
    }
}

/// Whether its client proves itself with a signature.
fn signs(profile: &ProviderProfile) -> bool {
    profile.auth_type == AuthType::Oauth2
        && profile.auth_header.as_deref() == Some("private_key_jwt")
}

/// The registered provider of a key.
pub(super) async fn find_provider(
    application: &Application,
    key: &ProviderKey,
) -> Result<Option<Arc<ProviderRow>>, Fault> {
    let reads = &application.reads;
    let row = match key {
        ProviderKey::Id(id) => reads.provider(&id.to_string()).await?,
        ProviderKey::Name(name) => reads.provider_by_name(&name_key(name)).await?.map(Arc::new),
    };
    Ok(row.filter(|row| row.is_registered()))
}

fn of_decision(error: ProviderError) -> ManageError {
    match error {
        ProviderError::NotFound => ManageError::NotFound,
        ProviderError::Invalid(error) => ManageError::Invalid(error),
        ProviderError::HostChangeNeedsSecret { field } => invalid(field, HOST_CHANGED),
        ProviderError::StaleVersion { .. } => ManageError::Fault(Fault::Conflict),
        error @ ProviderError::AlreadyRegistered => {
            ManageError::Fault(Fault::Internal(error.to_string()))
        }
    }
}

fn take(profile: &ProviderProfile) -> NameChange {
    NameChange::Take {
        scope: NAMES.to_owned(),
        name: profile.name_key(),
    }
}

/// The fields of `base` with those of `body` over them; null clears one.
fn merge(mut base: Map<String, Value>, body: Map<String, Value>) -> Map<String, Value> {
    for (name, value) in body {
        if value.is_null() && name != "client_secret" {
            base.remove(&name);
        } else {
            base.insert(name, value);
        }
    }
    base
}

/// Whether two sets of secrets are the same; compared in memory only.
fn same(a: &ProviderSecrets, b: &ProviderSecrets) -> bool {
    a.to_plaintext() == b.to_plaintext()
}

/// What a name is unique by.
#[must_use]
pub fn name_key(name: &str) -> String {
    ProviderProfile {
        name: name.to_owned(),
        ..ProviderProfile::default()
    }
    .name_key()
}

fn to_map(profile: &ProviderProfile) -> Map<String, Value> {
    match serde_json::to_value(profile) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// Reads a profile as it was sent, and takes its secrets out of it.
fn read_profile(mut body: Map<String, Value>) -> Result<Sent, ManageError> {
    let client_secret = match body.remove("client_secret") {
        None => SentSecret::Unnamed,
        Some(Value::Null) => SentSecret::Cleared,
        Some(Value::String(secret)) if secret.is_empty() => SentSecret::Cleared,
        Some(Value::String(secret)) => SentSecret::Given(Secret::new(secret)),
        Some(_) => return Err(invalid("client_secret", "it must be a string")),
    };
    let mut profile: ProviderProfile = serde_path_to_error::deserialize(Value::Object(body))
        .map_err(|error| {
            let field = error.path().to_string();
            invalid(
                &field,
                "it has the wrong type, or a value that is not known",
            )
        })?;
    profile.name = profile.name.trim().to_owned();
    let (params, param_secrets) = split_secrets(std::mem::take(&mut profile.params));
    profile.params = params;
    Ok(Sent {
        profile,
        client_secret,
        param_secrets,
    })
}

fn invalid(field: &str, message: &str) -> ManageError {
    ManageError::Invalid(InvalidProfile {
        field: field.to_owned().into(),
        message: message.to_owned().into(),
    })
}
