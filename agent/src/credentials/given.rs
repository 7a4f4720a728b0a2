//! Certificates that the operator provides as files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use binnacle_proto::identity::Facts;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Usable, verify};
use crate::Error;

/// Files of the operator's, PEM.
pub(super) struct Given {
    pub(super) ca: PathBuf,
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

impl Given {
    /// Reads them.
    pub(super) fn load(&self) -> Result<Usable, Error> {
        let authorities = certificates(&self.ca)?;
        let chain = certificates(&self.cert)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|e| broken(&self.key, &e))?;
        usable(&authorities, chain, key).map_err(|problem| broken(&self.cert, &problem))
    }

    /// When they were written.
    pub(super) fn written(&self) -> [Option<SystemTime>; 3] {
        [&self.ca, &self.cert, &self.key].map(|path| fs::metadata(path).and_then(|meta| meta.modified()).ok())
    }
}

/// Settings for a certificate of our own and those we trust.
pub(super) fn usable(
    authorities: &[CertificateDer<'static>],
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Usable, String> {
    let first = chain.first().ok_or("there is no certificate in it")?;
    let expires_ms = Facts::of(first).map_err(|e| e.to_string())?.not_after_ms;
    let builder = verify::trusting(authorities).map_err(|e| e.to_string())?;
    let settings = builder.with_client_auth_cert(chain, key).map_err(|e| e.to_string())?;
    Ok(Usable { settings: verify::with_alpn(settings), expires_ms })
}

pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|e| broken(path, &e))?;
    if found.is_empty() {
        return Err(broken(path, &"there is no certificate in it"));
    }
    Ok(found)
}

pub(super) fn broken(path: &Path, problem: &dyn std::fmt::Display) -> Error {
    Error::config("tls", format!("{}: {problem}", path.display()))
}
