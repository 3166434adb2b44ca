//! The database's files: who may read them, and that one process serves them.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::ledger::OpenError;

/// Readable and writable by the owner alone.
const OWNER_ONLY: u32 = 0o600;

/// `path` with `suffix` behind its file name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Takes the lock that keeps every other server and offline command out. It is held until the
/// file is dropped.
///
/// # Errors
/// [`OpenError::Locked`], [`OpenError::Unavailable`]
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let lock = beside(path, ".lock");
    let options = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(OWNER_ONLY)
        .open(lock);
    let file = options.map_err(|error| OpenError::Unavailable(error.to_string()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(OpenError::Unavailable(error.to_string())),
    }
}

/// Makes the database file, or takes an existing one's permissions away from everyone but its
/// owner. `SQLite` gives the files beside it the same permissions.
///
/// # Errors
/// [`OpenError::Unavailable`]
pub(super) fn make_private(path: &Path) -> Result<(), OpenError> {
    let made = match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(OWNER_ONLY)
        .open(path)
    {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::set_permissions(path, Permissions::from_mode(OWNER_ONLY))
        }
        Err(error) => Err(error),
    };
    made.map_err(|error| OpenError::Unavailable(error.to_string()))
}
