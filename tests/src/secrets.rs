//! Searching for secrets where they must not be.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::database::Database;
use crate::nexus::TestNexus;

/// Neither as it is, nor as bytes in hexadecimal, nor in base64 wherever it begins.
#[track_caller]
pub fn is_not_in(place: &str, text: &str, secret: &str) {
    assert!(secret.len() >= 12, "{secret} would be found by chance");
    assert!(!text.contains(secret), "{secret} is in {place}");
    assert!(
        !text.contains(&hex(secret)),
        "{secret} is in {place}, as bytes"
    );
    for shift in 0..3 {
        // The characters at the ends depend on what stands beside the secret.
        let encoded = STANDARD.encode(format!("{}{secret}", "x".repeat(shift)));
        let core = &encoded[4..encoded.len() - 4];
        assert!(!text.contains(core), "{secret} is in {place}, in base64");
    }
}

fn hex(text: &str) -> String {
    text.bytes()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// All that is stored, as text.
pub async fn stored(nexus: &TestNexus, database: Database) -> String {
    let keys_apart = std::fs::read_dir(nexus.data_dir())
        .expect("the data directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_none_or(|end| end != "key"));
    let files: Vec<u8> = keys_apart
        .flat_map(|path| std::fs::read(path).expect("a file"))
        .collect();
    let text = String::from_utf8_lossy(&files).into_owned();
    match database {
        Database::Sqlite => text,
        Database::Postgres => text + &nexus.database().dump().await,
    }
}
