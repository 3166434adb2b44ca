//! Files that hold secrets.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::KeyError;

/// No key file is longer.
const MAX_LENGTH: u64 = 64 * 1024;

/// What is wrong with a key file. Shown behind its path.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// It is not there, though a setting names it.
    #[error("there is no such file")]
    Missing,
    /// The operating system refuses to have it read.
    #[error("the file cannot be read ({0})")]
    Unreadable(io::Error),
    /// Somebody else may read the secret.
    #[error(
        "others than its owner may read or write the file (mode {mode:04o}); correct that with `chmod 600`"
    )]
    Exposed {
        /// The file's permission bits.
        mode: u32,
    },
    /// It holds something else.
    #[error("the file does not hold {0}")]
    Malformed(&'static str),
    /// It, or the directory for it, cannot be made.
    #[error("it cannot be written ({0})")]
    Unwritable(io::Error),
    /// Somebody made it in the meantime; a key is never overwritten.
    #[error("the file came into being during this start; start again")]
    AppearedMeanwhile,
}

impl FileProblem {
    pub(super) fn at(self, path: &Path) -> KeyError {
        KeyError::File {
            path: path.to_owned(),
            problem: self,
        }
    }
}

/// The content of a file that only its owner may touch; `None` when there is no file.
pub(super) fn read_private(path: &Path) -> Result<Option<Zeroizing<String>>, KeyError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileProblem::Unreadable(error).at(path)),
    };
    let metadata = file
        .metadata()
        .map_err(|error| FileProblem::Unreadable(error).at(path))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FileProblem::Exposed { mode }.at(path));
    }
    content(file, path).map(Some)
}

/// The content of a file that the operator answers for (a mounted secret is often readable to all).
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => FileProblem::Missing.at(path),
        _ => FileProblem::Unreadable(error).at(path),
    })?;
    content(file, path)
}

fn content(file: File, path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let mut content = Zeroizing::new(String::new());
    file.take(MAX_LENGTH)
        .read_to_string(&mut content)
        .map_err(|error| FileProblem::Unreadable(error).at(path))?;
    Ok(content)
}

/// Makes a directory (0700) and those above it, unless it is there.
pub(super) fn make_directory(path: &Path) -> Result<(), KeyError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| FileProblem::Unwritable(error).at(path))
}

/// Writes a line into a new file (0600) that appears complete and durable, or not at all.
///
/// The finished file gets its name by a hard link, because that, unlike a rename, fails when the name is taken.
pub(super) fn write_new(path: &Path, line: &str) -> Result<(), KeyError> {
    let draft = draft_of(path);
    let linked = write_draft(&draft, line).and_then(|()| std::fs::hard_link(&draft, path));
    let removed = std::fs::remove_file(&draft);
    linked
        .and(removed)
        .and_then(|()| sync_directory(path))
        .map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => FileProblem::AppearedMeanwhile.at(path),
            _ => FileProblem::Unwritable(error).at(path),
        })
}

/// Its name holds the process's id, so a draft left by a crash is in nobody's way.
fn draft_of(path: &Path) -> PathBuf {
    path.with_extension(format!("draft-{}", std::process::id()))
}

fn write_draft(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(line.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}
