//! The server's keys: given as settings, or made on first start and kept in the data directory.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use nexus_domain::sealing::KeyEncryptionKey;
use nexus_domain::secret::Secret;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::random::{RandomnessUnavailable, make_bytes};

mod api_keys;
mod file;
mod state;

pub use api_keys::{ApiKeys, KeyChanges, KeyKind, KeyName};
pub use file::FileProblem;
pub use state::{StateKey, StateToken};

/// File of the key-encryption key, in the data directory.
pub const ENCRYPTION_KEY_FILE: &str = "encryption.key";
/// File of the key of OAuth states, in the data directory.
pub const STATE_KEY_FILE: &str = "state.key";
/// File of the Ed25519 seed of signed checkpoints, in the data directory.
pub const AUDIT_KEY_FILE: &str = "audit.key";
/// File of the admin key made on first start, in the data directory.
pub const API_KEY_FILE: &str = "api.key";

/// Base64 as people hand it over: with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// 32 secret bytes, zeroed on drop and redacted in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyMaterial(Zeroizing<[u8; 32]>);

impl KeyMaterial {
    /// Takes over 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> KeyMaterial {
        KeyMaterial(Zeroizing::new(bytes))
    }

    /// The bytes themselves.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// Reads 32 bytes in base64 (RFC 4648 §4), padded or not, white space around them ignored.
#[must_use]
pub fn decode_key(text: &str) -> Option<KeyMaterial> {
    let bytes = Zeroizing::new(BASE64.decode(text.trim()).ok()?);
    Some(KeyMaterial::from_bytes(bytes.as_slice().try_into().ok()?))
}

/// The content of a file that a setting names, and whose permissions the operator answers for.
pub(crate) fn read_secret(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    file::read(path)
}

fn encode_key(key: &KeyMaterial) -> Zeroizing<String> {
    Zeroizing::new(BASE64.encode(key.expose()))
}

/// Why the server's keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A key file or the data directory cannot be used.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: FileProblem,
    },
    /// A setting names a file that cannot be used.
    #[error("{setting}")]
    Setting {
        /// The environment variable's name.
        setting: &'static str,
        /// What is wrong with the file.
        source: Box<KeyError>,
    },
    /// No key could be made.
    #[error("no key could be made")]
    Random(#[from] RandomnessUnavailable),
}

/// The keys of a running server.
pub struct ServerKeys {
    /// Wraps every data key.
    pub kek: KeyEncryptionKey,
    /// Authenticates OAuth states.
    pub state_key: StateKey,
    /// Ed25519 seed that signs checkpoints of the log.
    pub audit_seed: KeyMaterial,
    /// The admin and caller keys.
    pub api_keys: ApiKeys,
    data_dir: PathBuf,
    unsaved: Vec<Unsaved>,
}

/// A key made in this run that no file holds yet.
struct Unsaved {
    path: PathBuf,
    content: Zeroizing<String>,
}

impl fmt::Debug for ServerKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unsaved: Vec<_> = self.unsaved.iter().map(|key| &key.path).collect();
        formatter
            .debug_struct("ServerKeys")
            .field("unsaved", &unsaved)
            .finish_non_exhaustive()
    }
}

impl ServerKeys {
    /// Takes each key from its setting, else from its file, else makes one. Writes nothing: keys that were made live in
    /// memory until [`save_new`](ServerKeys::save_new), so that a start that fails for another reason leaves no trace.
    pub fn load(config: &Config) -> Result<ServerKeys, KeyError> {
        let mut source = KeySource {
            config,
            unsaved: Vec::new(),
        };
        let encryption_key =
            source.key(config.keys.encryption_key.as_ref(), ENCRYPTION_KEY_FILE)?;
        let state_key = StateKey::new(source.key(config.keys.state_key.as_ref(), STATE_KEY_FILE)?);
        let audit_seed = source.key(config.keys.audit_key.as_ref(), AUDIT_KEY_FILE)?;
        let api_keys = ApiKeys::new(&source.api_keys()?, &config.keys.caller_keys, &state_key);
        Ok(ServerKeys {
            kek: KeyEncryptionKey::from_bytes(*encryption_key.expose()),
            state_key,
            audit_seed,
            api_keys,
            data_dir: config.data_dir.clone(),
            unsaved: source.unsaved,
        })
    }

    /// Writes the keys that were made in this run, each atomically into a file (0600) that must not exist yet, and
    /// makes the data directory (0700) for them when it is absent. Returns the files written. Has to succeed before
    /// anything is sealed.
    pub fn save_new(&mut self) -> Result<Vec<PathBuf>, KeyError> {
        if self.unsaved.is_empty() {
            return Ok(Vec::new());
        }
        file::make_directory(&self.data_dir)?;
        let mut written = Vec::new();
        for key in std::mem::take(&mut self.unsaved) {
            file::write_new(&key.path, &key.content)?;
            written.push(key.path);
        }
        Ok(written)
    }
}

/// The API keys as settings and files say now.
///
/// # Errors
/// A file cannot be used.
pub fn reload_api_keys(config: &Config, state_key: &StateKey) -> Result<ApiKeys, KeyError> {
    let admin = given_api_keys(config)?;
    Ok(ApiKeys::new(&admin, &config.keys.caller_keys, state_key))
}

/// The admin keys of the settings and of the files they name.
fn given_api_keys(config: &Config) -> Result<Vec<Secret>, KeyError> {
    let given = &config.keys;
    let keys = given.api_keys.iter().map(|given| given.key.clone());
    let mut keys: Vec<Secret> = keys.collect();
    for (setting, path) in &given.api_key_files {
        let from_file = read_api_keys(path).map_err(|error| KeyError::Setting {
            setting,
            source: Box::new(error),
        })?;
        keys.extend(from_file);
    }
    Ok(keys)
}

/// Finds or makes keys.
struct KeySource<'a> {
    config: &'a Config,
    unsaved: Vec<Unsaved>,
}

/// The keys of a file that a setting names.
fn read_api_keys(path: &Path) -> Result<Vec<Secret>, KeyError> {
    let content = file::read(path)?;
    api_keys::parse(&content).map_err(|problem| problem.at(path))
}

impl KeySource<'_> {
    fn key(&mut self, given: Option<&KeyMaterial>, name: &str) -> Result<KeyMaterial, KeyError> {
        if let Some(key) = given {
            return Ok(key.clone());
        }
        let path = self.config.data_dir.join(name);
        if let Some(content) = file::read_private(&path)? {
            return decode_key(&content)
                .ok_or_else(|| FileProblem::Malformed("32 bytes in base64").at(&path));
        }
        let key = KeyMaterial::from_bytes(make_bytes()?);
        self.unsaved.push(Unsaved {
            path,
            content: encode_key(&key),
        });
        Ok(key)
    }

    /// The keys of the settings and of the files they name; when they name none, those of `api.key`.
    fn api_keys(&mut self) -> Result<Vec<Secret>, KeyError> {
        let keys = given_api_keys(self.config)?;
        if keys.is_empty() {
            self.own_api_keys()
        } else {
            Ok(keys)
        }
    }

    fn own_api_keys(&mut self) -> Result<Vec<Secret>, KeyError> {
        let path = self.config.data_dir.join(API_KEY_FILE);
        if let Some(content) = file::read_private(&path)? {
            return api_keys::parse(&content).map_err(|problem| problem.at(&path));
        }
        let key = api_keys::make()?;
        self.unsaved.push(Unsaved {
            path,
            content: Zeroizing::new(key.expose().to_owned()),
        });
        Ok(vec![key])
    }
}

#[cfg(test)]
mod tests;
