//! The API key that the Broker is asked with.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

/// Where the embedded default keeps its key.
const DEFAULT_FILE: &str = "./nexus-data/api.key";

/// An API key; never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ApiKey(String);

impl ApiKey {
    /// The key of a text, without the white space around it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let key = text.trim();
        (!key.is_empty()).then(|| Self(key.to_owned()))
    }

    /// The key itself.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey([redacted])")
    }
}

/// Where the key comes from: a file that is named, else `--api-key`, else the default file.
#[derive(Clone, Args)]
pub(crate) struct KeySource {
    /// The API key; the process list shows it to others, the environment and the file do not.
    #[arg(long, env = "API_KEY", hide_env_values = true, global = true)]
    api_key: Option<String>,
    /// A file that holds the API key [default: ./nexus-data/api.key, when it exists].
    #[arg(long, value_name = "FILE", global = true)]
    api_key_file: Option<PathBuf>,
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySource")
            .field("api_key", &self.api_key.as_ref().map(|_| "[redacted]"))
            .field("api_key_file", &self.api_key_file)
            .finish()
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("no API key: give --api-key-file or API_KEY, or run where {DEFAULT_FILE} is")]
    Missing,
    #[error("the API key is empty")]
    Empty,
    #[error("{} holds no API key", .0.display())]
    EmptyFile(PathBuf),
    #[error("the API key file {} cannot be read: {cause}", path.display())]
    Unreadable { path: PathBuf, cause: io::Error },
}

impl KeySource {
    /// The key.
    pub(crate) fn read(&self) -> Result<ApiKey, KeyError> {
        self.read_or(Path::new(DEFAULT_FILE))
    }

    fn read_or(&self, default: &Path) -> Result<ApiKey, KeyError> {
        if let Some(path) = &self.api_key_file {
            return from_file(path);
        }
        if let Some(key) = &self.api_key {
            return ApiKey::parse(key).ok_or(KeyError::Empty);
        }
        match from_file(default) {
            Err(KeyError::Unreadable { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
                Err(KeyError::Missing)
            }
            read => read,
        }
    }
}

fn from_file(path: &Path) -> Result<ApiKey, KeyError> {
    let text = std::fs::read_to_string(path).map_err(|cause| KeyError::Unreadable {
        path: path.to_owned(),
        cause,
    })?;
    ApiKey::parse(&text).ok_or_else(|| KeyError::EmptyFile(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn source(api_key: Option<&str>, api_key_file: Option<PathBuf>) -> KeySource {
        KeySource {
            api_key: api_key.map(str::to_owned),
            api_key_file,
        }
    }

    fn file(directory: &TempDir, name: &str, content: &str) -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    #[test]
    fn a_named_file_wins_over_the_environment_which_wins_over_the_default_file() {
        let directory = TempDir::new().unwrap();
        let (named, default) = (
            file(&directory, "named", "from-file\n"),
            file(&directory, "default", "from-default\n"),
        );
        let read = |source: KeySource| source.read_or(&default).unwrap();
        assert_eq!(
            read(source(Some("from-environment"), Some(named))).reveal(),
            "from-file"
        );
        assert_eq!(
            read(source(Some(" from-environment "), None)).reveal(),
            "from-environment"
        );
        assert_eq!(read(source(None, None)).reveal(), "from-default");
    }

    #[test]
    fn what_is_missing_is_said_in_one_sentence() {
        let directory = TempDir::new().unwrap();
        let absent = directory.path().join("absent");
        let said = |source: KeySource| source.read_or(&absent).unwrap_err().to_string();
        assert_eq!(
            said(source(None, None)),
            "no API key: give --api-key-file or API_KEY, or run where ./nexus-data/api.key is"
        );
        assert_eq!(said(source(Some(" "), None)), "the API key is empty");
        let empty = file(&directory, "empty", "\n");
        assert_eq!(
            said(source(None, Some(empty.clone()))),
            format!("{} holds no API key", empty.display())
        );
        let unreadable = said(source(Some("k"), Some(absent.clone())));
        assert!(
            unreadable.starts_with(&format!(
                "the API key file {} cannot be read: ",
                absent.display()
            )),
            "{unreadable}"
        );
    }

    #[test]
    fn a_key_is_never_shown() {
        let source = source(Some("canary"), None);
        let key = source.read_or(Path::new("absent")).unwrap();
        assert!(!format!("{source:?} {key:?}").contains("canary"));
    }
}
