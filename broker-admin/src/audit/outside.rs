//! What an auditor brings along: the public key, and checkpoints kept outside.

use std::io;
use std::path::{Path, PathBuf};

use nexus_ledger::checkpoint::{Checkpoint, CheckpointError, NotAVerifierKey, VerifierKey};
use nexus_ledger::verify::Trust;

/// Why what was brought along is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutsideError {
    #[error("{} cannot be read: {cause}", path.display())]
    Unreadable { path: PathBuf, cause: io::Error },
    #[error("the public key is of no use: {0}")]
    Key(#[from] NotAVerifierKey),
    #[error("{}: {cause}", path.display())]
    Note {
        path: PathBuf,
        cause: CheckpointError,
    },
}

fn read(path: &Path) -> Result<String, OutsideError> {
    std::fs::read_to_string(path).map_err(|cause| OutsideError::Unreadable {
        path: path.to_owned(),
        cause,
    })
}

/// The key that was given, or the one in the file.
pub(super) fn public_key(
    given: Option<&str>,
    file: Option<&Path>,
) -> Result<VerifierKey, OutsideError> {
    let text = match file {
        Some(path) => read(path)?,
        None => given.unwrap_or_default().to_owned(),
    };
    Ok(text.parse()?)
}

/// The notes in the files.
pub(super) fn notes(paths: &[PathBuf]) -> Result<Vec<(PathBuf, String)>, OutsideError> {
    let note = |path: &PathBuf| Ok((path.clone(), read(path)?));
    paths.iter().map(note).collect()
}

/// Trusts the key, and the notes that it signed; one that it did not sign is refused.
pub(super) fn trust(key: VerifierKey, notes: &[(PathBuf, String)]) -> Result<Trust, OutsideError> {
    let verified = |(path, note): &(PathBuf, String)| -> Result<Checkpoint, OutsideError> {
        key.verify(note).map_err(|cause| OutsideError::Note {
            path: path.clone(),
            cause,
        })
    };
    let outside: Result<Vec<_>, _> = notes.iter().map(verified).collect();
    Ok(Trust::new(key, outside?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed independently (Python, `cryptography`): key seed 01…01, size 42.
    const NOTE: &str = include_str!("../../../ledger/src/checkpoint/frozen.txt");
    const KEY: &str = "example.com/log+9be5d3c6+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c";

    fn key() -> VerifierKey {
        public_key(Some(KEY), None).unwrap()
    }

    #[test]
    fn a_checkpoint_that_the_key_signed_is_trusted() {
        let trust = trust(key(), &[(PathBuf::from("kept"), NOTE.to_owned())]).unwrap();
        assert_eq!(trust.outside[0].size, 42);
        assert_eq!(trust.origin.as_deref(), Some("example.com/log"));
    }

    #[test]
    fn a_checkpoint_that_the_key_did_not_sign_is_refused_by_its_files_name() {
        let altered = NOTE.replace("\n42\n", "\n43\n");
        let error = trust(key(), &[(PathBuf::from("kept"), altered)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "kept: the checkpoint's signature is wrong"
        );
    }

    #[test]
    fn a_key_comes_from_a_file_too_and_what_is_none_is_said() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{KEY}\n")).unwrap();
        assert_eq!(public_key(None, Some(file.path())).unwrap(), key());
        assert_eq!(
            public_key(Some("canary"), None).unwrap_err().to_string(),
            "the public key is of no use: it is not a verifier key of the form name+hash+key"
        );
        let missing = public_key(None, Some(Path::new("absent"))).unwrap_err();
        assert!(
            missing.to_string().starts_with("absent cannot be read: "),
            "{missing}"
        );
    }
}
