//! What a target wants to be told before it answers. Secrets are never shown.

use std::fmt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Largest file with a secret, in bytes.
const MAX_SECRET_BYTES: u64 = 64 << 10;

/// A text that is not for anybody's eyes.
#[derive(Clone)]
pub(super) enum Secret {
    Given(String),
    /// Read anew for each scrape: it may be rotated.
    File(PathBuf),
}

impl Default for Secret {
    fn default() -> Self {
        Self::Given(String::new())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl Secret {
    fn read(&self) -> Result<String, String> {
        match self {
            Self::Given(text) => Ok(text.clone()),
            Self::File(path) => {
                let wrong = |e: std::io::Error| format!("{}: {e}", path.display());
                if std::fs::metadata(path).map_err(wrong)?.len() > MAX_SECRET_BYTES {
                    return Err(format!("{}: larger than {MAX_SECRET_BYTES} bytes", path.display()));
                }
                std::fs::read_to_string(path).map(|text| text.trim().to_owned()).map_err(wrong)
            }
        }
    }
}

/// The header `Authorization` of a job's requests.
#[derive(Debug, Clone, Default)]
pub(super) enum Auth {
    #[default]
    None,
    Basic {
        username: Secret,
        password: Secret,
    },
    Header {
        kind: String,
        credentials: Secret,
    },
}

impl Auth {
    /// The header's value.
    ///
    /// # Errors
    /// When a file with a secret cannot be read.
    pub(super) fn header(&self) -> Result<Option<String>, String> {
        Ok(match self {
            Self::None => None,
            Self::Basic { username, password } => {
                let pair = format!("{}:{}", username.read()?, password.read()?);
                Some(format!("Basic {}", STANDARD.encode(pair)))
            }
            Self::Header { kind, credentials } => Some(format!("{kind} {}", credentials.read()?)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_from_files_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, "hunter2\n").unwrap();
        let auth =
            Auth::Basic { username: Secret::Given("me".to_owned()), password: Secret::File(file.clone()) };
        assert_eq!(auth.header(), Ok(Some("Basic bWU6aHVudGVyMg==".to_owned())));
        let bearer = Auth::Header { kind: "Bearer".to_owned(), credentials: Secret::File(file.clone()) };
        assert_eq!(bearer.header(), Ok(Some("Bearer hunter2".to_owned())));
        std::fs::remove_file(&file).unwrap();
        assert!(bearer.header().is_err());
        let shown =
            format!("{:?}", Auth::Header { kind: "X".into(), credentials: Secret::Given("s3cr3t".into()) });
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
}
