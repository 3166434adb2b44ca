//! Secrets that are given as files: systemd's credentials, the mounted secrets of a container.

use std::path::Path;

use nexus_domain::secret::Secret;

use super::error::ConfigError;
use super::parse::given;
use super::settings::Settings;
use crate::keys::read_secret;

impl Settings {
    /// The same, with each secret read whose file a setting names.
    ///
    /// # Errors
    /// A file that cannot be read or holds nothing, or a secret that is given twice.
    pub fn with_secret_files(mut self) -> Result<Settings, ConfigError> {
        let files = [
            (
                ("DATABASE_URL", "DATABASE_URL_FILE"),
                self.database_url_file.as_ref(),
                &mut self.database_url,
            ),
            (
                ("ENCRYPTION_KEY", "ENCRYPTION_KEY_FILE"),
                self.encryption_key_file.as_ref(),
                &mut self.encryption_key,
            ),
            (
                ("STATE_KEY", "STATE_KEY_FILE"),
                self.state_key_file.as_ref(),
                &mut self.state_key,
            ),
            (
                ("AUDIT_KEY", "AUDIT_KEY_FILE"),
                self.audit_key_file.as_ref(),
                &mut self.audit_key,
            ),
        ];
        for ((name, file_name), path, secret) in files {
            let Some(path) = given(path) else { continue };
            if secret
                .as_ref()
                .is_some_and(|given| !given.expose().trim().is_empty())
            {
                let problem = format!("{name} is given, too; one of the two is enough");
                return Err(ConfigError::new(file_name, problem));
            }
            let content = read_secret(Path::new(path))
                .map_err(|error| ConfigError::new(file_name, error.to_string()))?;
            if content.trim().is_empty() {
                return Err(ConfigError::new(file_name, format!("{path} is empty")));
            }
            *secret = Some(Secret::new(content.trim()));
            self.sources.follow(name, file_name);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    /// A file that is gone when this is dropped.
    struct TestFile(PathBuf);

    impl TestFile {
        fn holding(content: &str) -> TestFile {
            let name = format!("nexus-secret-{}", crate::random::make_uuid().unwrap());
            let path = std::env::temp_dir().join(name);
            fs::write(&path, content).unwrap();
            TestFile(path)
        }

        fn path(&self) -> String {
            self.0.display().to_string()
        }
    }

    impl Drop for TestFile {
        fn drop(&mut self) {
            drop(fs::remove_file(&self.0));
        }
    }

    fn refused(settings: Settings) -> String {
        settings.with_secret_files().unwrap_err().to_string()
    }

    #[test]
    fn a_secret_is_what_its_file_holds() {
        let file = TestFile::holding(" postgres://nexus:canary@db/nexus\n");
        let settings = Settings {
            database_url_file: Some(file.path()),
            database_url: Some(Secret::new("")),
            ..Settings::default()
        };
        let read = settings.with_secret_files().unwrap();
        let url = read.database_url.as_ref().map(Secret::expose);
        assert_eq!(url, Some("postgres://nexus:canary@db/nexus"));
        assert!(!format!("{read:?}").contains("canary"));
    }

    #[test]
    fn a_file_that_does_not_do_is_named_with_its_setting() {
        let settings = |path: &str| Settings {
            state_key_file: Some(path.to_owned()),
            ..Settings::default()
        };
        let missing = refused(settings("/nowhere/state.key"));
        assert!(
            missing.starts_with("STATE_KEY_FILE") && missing.contains("/nowhere/state.key"),
            "{missing}"
        );
        let empty = TestFile::holding("\n");
        assert!(refused(settings(&empty.path())).contains("is empty"));
        let file = TestFile::holding("canary");
        let twice = Settings {
            state_key: Some(Secret::new("canary")),
            ..settings(&file.path())
        };
        let twice = refused(twice);
        assert!(
            twice.starts_with("STATE_KEY_FILE") && !twice.contains("canary"),
            "{twice}"
        );
    }
}
