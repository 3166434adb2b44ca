use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::config::Settings;

/// A directory that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        let name = format!("nexus-keys-{}", crate::random::make_uuid().unwrap());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    fn data_dir(&self) -> PathBuf {
        self.0.join("data")
    }

    fn settings(&self) -> Settings {
        Settings {
            data_dir: Some(self.data_dir().display().to_string()),
            ..Settings::default()
        }
    }

    fn load(&self) -> Result<ServerKeys, KeyError> {
        ServerKeys::load(&self.settings().validate().unwrap())
    }

    fn first_start(&self) -> ServerKeys {
        let mut keys = self.load().unwrap();
        keys.save_new().unwrap();
        keys
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn loading_alone_writes_nothing() {
    let scratch = Scratch::new();
    scratch.load().unwrap();
    assert!(!scratch.data_dir().exists());
}

#[test]
fn the_first_start_makes_a_private_directory_with_four_private_files() {
    let scratch = Scratch::new();
    let written = scratch.load().unwrap().save_new().unwrap();
    assert_eq!(written.len(), 4);
    assert_eq!(mode(&scratch.data_dir()), 0o700);
    let mut names: Vec<_> = fs::read_dir(scratch.data_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            API_KEY_FILE,
            AUDIT_KEY_FILE,
            ENCRYPTION_KEY_FILE,
            STATE_KEY_FILE
        ]
    );
    for path in written {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_later_start_has_the_same_keys_and_writes_nothing() {
    let scratch = Scratch::new();
    let first = scratch.first_start();
    let mut second = scratch.load().unwrap();
    assert_eq!(second.save_new().unwrap(), Vec::<PathBuf>::new());
    assert_eq!(first.kek.id(), second.kek.id());
    assert_eq!(first.audit_seed, second.audit_seed);
    let api_key = fs::read_to_string(scratch.data_dir().join(API_KEY_FILE)).unwrap();
    let name = first.api_keys.authorize(api_key.trim()).unwrap();
    assert_eq!(second.api_keys.authorize(api_key.trim()), Some(name));
}

#[test]
fn a_setting_takes_the_place_of_its_file() {
    let scratch = Scratch::new();
    let key = Secret::new(BASE64.encode([5; 32]));
    let settings = Settings {
        encryption_key: Some(key.clone()),
        state_key: Some(key.clone()),
        audit_key: Some(key),
        api_key: Some(Secret::new("my-own-key")),
        ..scratch.settings()
    };
    let mut keys = ServerKeys::load(&settings.validate().unwrap()).unwrap();
    assert_eq!(keys.kek.id(), KeyEncryptionKey::from_bytes([5; 32]).id());
    assert!(keys.api_keys.authorize("my-own-key").is_some());
    assert_eq!(keys.save_new().unwrap(), Vec::<PathBuf>::new());
    assert!(!scratch.data_dir().exists());
}

#[test]
fn admin_keys_of_a_named_file_are_known() {
    let scratch = Scratch::new();
    let path = scratch.0.join("keys.txt");
    fs::write(&path, "one\ntwo,three\n").unwrap();
    let settings = Settings {
        api_keys_file: Some(path.display().to_string()),
        ..scratch.settings()
    };
    let keys = ServerKeys::load(&settings.validate().unwrap()).unwrap();
    for key in ["one", "two", "three"] {
        assert!(keys.api_keys.authorize(key).is_some(), "{key}");
    }
}

#[test]
fn a_named_file_that_is_absent_is_an_error_naming_it() {
    let scratch = Scratch::new();
    let path = scratch.0.join("absent.txt");
    let settings = Settings {
        api_key_file: Some(path.display().to_string()),
        ..scratch.settings()
    };
    let error = ServerKeys::load(&settings.validate().unwrap()).unwrap_err();
    assert_eq!(
        format!("{:#}", anyhow::Error::new(error)),
        format!("API_KEY_FILE: {}: there is no such file", path.display())
    );
}

#[test]
fn a_key_file_that_others_may_read_is_refused() {
    let scratch = Scratch::new();
    scratch.first_start();
    let path = scratch.data_dir().join(ENCRYPTION_KEY_FILE);
    for exposed in [0o640, 0o604, 0o620] {
        fs::set_permissions(&path, Permissions::from_mode(exposed)).unwrap();
        let message = scratch.load().unwrap_err().to_string();
        assert!(
            message.starts_with(&path.display().to_string()),
            "{message}"
        );
        assert!(message.contains("chmod 600"), "{message}");
    }
}

#[test]
fn a_malformed_key_file_is_refused_and_left_alone() {
    let scratch = Scratch::new();
    scratch.first_start();
    for name in [
        ENCRYPTION_KEY_FILE,
        STATE_KEY_FILE,
        AUDIT_KEY_FILE,
        API_KEY_FILE,
    ] {
        let path = scratch.data_dir().join(name);
        let right = fs::read_to_string(&path).unwrap();
        for wrong in ["", "\n", "AAAA", "not base64 at all"] {
            let problem = (name, wrong);
            fs::write(&path, wrong).unwrap();
            let loaded = scratch.load();
            assert_eq!(fs::read_to_string(&path).unwrap(), wrong, "{problem:?}");
            if problem != (API_KEY_FILE, "AAAA") {
                assert!(
                    loaded.unwrap_err().to_string().contains(name),
                    "{problem:?}"
                );
            }
        }
        fs::write(&path, right).unwrap();
    }
    scratch.load().unwrap();
}

#[test]
fn a_key_file_that_cannot_be_read_is_an_error_naming_it() {
    let scratch = Scratch::new();
    let path = scratch.data_dir().join(STATE_KEY_FILE);
    fs::create_dir_all(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    let message = scratch.load().unwrap_err().to_string();
    assert!(
        message.starts_with(&path.display().to_string()),
        "{message}"
    );
}

#[test]
fn a_file_that_appeared_meanwhile_is_never_overwritten() {
    let scratch = Scratch::new();
    let mut late = scratch.load().unwrap();
    let early = scratch.first_start();
    let error = late.save_new().unwrap_err();
    assert!(matches!(
        error,
        KeyError::File {
            problem: FileProblem::AppearedMeanwhile,
            ..
        }
    ));
    assert_eq!(scratch.load().unwrap().kek.id(), early.kek.id());
    let drafts = fs::read_dir(scratch.data_dir()).unwrap().count();
    assert_eq!(drafts, 4);
}

#[test]
fn keys_are_read_padded_or_not_and_only_at_their_length() {
    let padded = BASE64.encode([3; 32]);
    let bare = padded.trim_end_matches('=');
    for text in [padded.as_str(), bare, &format!(" {padded}\n")] {
        assert_eq!(decode_key(text), Some(KeyMaterial::from_bytes([3; 32])));
    }
    for text in ["", &BASE64.encode([3; 31]), &BASE64.encode([3; 33]), "!"] {
        assert_eq!(decode_key(text), None);
    }
}

#[test]
fn debug_shows_no_key() {
    let key = KeyMaterial::from_bytes([0xab; 32]);
    assert_eq!(format!("{key:?}"), "[redacted]");
    let shown = format!("{:?}", Scratch::new().load().unwrap());
    assert!(
        shown.contains(STATE_KEY_FILE) && shown.len() < 400,
        "{shown}"
    );
}
