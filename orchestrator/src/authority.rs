//! The server's own certificate authority: who may speak as which node.
//!
//! ```text
//! binnacle token create ─► tokens ─┐
//! agent ── Join, Renew ──────────► enroll ─► issue ─► nodes (who joined, until when, who is revoked)
//! agent ── Push, Control ────────► gate ◄──────────────┘
//! ```
//! Everything is in files of one private folder, `tls` in the data folder, written under its lock: the
//! command line writes there, too, with no other right than that of the folder's owner.

mod enroll;
mod files;
mod gate;
mod issue;
mod metrics;
mod nodes;
mod tokens;

use std::path::{Path, PathBuf};

use binnacle_proto::identity::Fingerprint;
use rustls::pki_types::CertificateDer;

pub(crate) use enroll::Service as EnrollService;
pub(crate) use files::certificates;
pub(crate) use gate::{Gate, Peer};
pub(crate) use issue::Issued;
pub(crate) use metrics::{Reason, Security};
pub(crate) use nodes::{NodeRecord, NodeRecords};

/// Why the authority cannot do what it was asked to. Show it to the operator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the folder cannot be used.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file has another content than it should.
    #[error("{path}: {problem}")]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Making a key or a certificate failed.
    #[error("cannot make a key or certificate: {0}")]
    Crypto(String),
    /// The request cannot be met.
    #[error("{0}")]
    Refused(String),
}

impl Error {
    fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }

    pub(crate) fn broken(path: &Path, problem: impl ToString) -> Self {
        Self::Broken { path: path.into(), problem: problem.to_string() }
    }
}

/// The authority in its folder.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    key: rcgen::KeyPair,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl Authority {
    /// Opens the authority of a data folder and makes it when there is none.
    ///
    /// # Errors
    /// When its files cannot be read or written, or are not what they should be.
    pub fn open(data_dir: &Path, now_ms: i64) -> Result<Self, Error> {
        let folder = data_dir.join("tls");
        for folder in [&folder, &folder.join("tokens"), &folder.join("nodes")] {
            files::private_folder(folder)?;
        }
        let _lock = files::lock(&folder)?;
        let (key_path, path) = (folder.join("authority.key"), folder.join("authority.pem"));
        // The certificate is written last: a key without one is what an interrupted start left.
        if !path.exists() {
            let (key, pem) = issue::new_authority(now_ms)?;
            files::write(&key_path, key.serialize_pem().as_bytes())?;
            files::write(&path, pem.as_bytes())?;
            tracing::info!(path = %path.display(), "made a certificate authority");
        }
        let key = rcgen::KeyPair::from_pem(&files::read_text(&key_path)?);
        let key = key.map_err(|error| Error::broken(&key_path, error))?;
        let certificate = files::certificates(&path)?.swap_remove(0);
        let pem = files::read_text(&path)?;
        Ok(Self { folder, key, certificate, pem })
    }

    /// Whether a data folder has one.
    pub fn is_in(data_dir: &Path) -> bool {
        data_dir.join("tls/authority.pem").exists()
    }

    /// By what an agent knows this authority.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// Where its certificate is, for clients that are to trust it.
    pub fn certificate_path(&self) -> PathBuf {
        self.folder.join("authority.pem")
    }

    /// Holds off every other writer until the result is dropped.
    pub(crate) fn lock(&self) -> Result<std::fs::File, Error> {
        files::lock(&self.folder)
    }

    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }
}

#[cfg(test)]
mod tests;
