//! What a join left: key and certificate in one file, the authority's certificate in another. Private.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use binnacle_proto::identity::Facts;
use rcgen::KeyPair;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Usable;
use super::given::{broken, certificates, usable};
use crate::Error;

/// Key and certificate, replaced together.
const IDENTITY: &str = "identity.pem";
/// Whom to trust.
const AUTHORITY: &str = "authority.pem";
/// Id of the token that was dealt with last.
const TOKEN: &str = "token-id";
/// The key with which the agent is joining: when the answer is lost, the same one asks again.
const JOINING: &str = "joining.key";

/// A node's certificate and key.
pub(super) struct Identity {
    key: PrivateKeyDer<'static>,
    certificate: CertificateDer<'static>,
    pub(super) facts: Facts,
}

impl Identity {
    /// Settings for connections as this node.
    pub(super) fn settings(self, dir: &Path) -> Result<Usable, Error> {
        let authorities = certificates(&dir.join(AUTHORITY))?;
        let made = usable(&authorities, vec![self.certificate], self.key);
        made.map_err(|problem| broken(&dir.join(IDENTITY), &problem))
    }
}

/// The identity in `dir`; `None` when there is none, or it is that of another node.
pub(super) fn load(dir: &Path, node: &str) -> Result<Option<Identity>, Error> {
    let path = dir.join(IDENTITY);
    if !path.exists() || !dir.join(AUTHORITY).exists() {
        return Ok(None);
    }
    let certificate = certificates(&path)?.swap_remove(0);
    let facts = Facts::of(&certificate).map_err(|e| broken(&path, &e))?;
    if facts.nodes.first().map(String::as_str) != Some(node) {
        tracing::warn!(node, certificate = facts.nodes.join(","), "the certificate is that of another node");
        return Ok(None);
    }
    let key = PrivateKeyDer::from_pem_file(&path).map_err(|e| broken(&path, &e))?;
    Ok(Some(Identity { key, certificate, facts }))
}

/// Keeps a new identity, durably; certificates are PEM.
pub(super) fn save(dir: &Path, key: &KeyPair, certificate: &str, authority: &str) -> io::Result<()> {
    write(&dir.join(AUTHORITY), authority)?;
    write(&dir.join(IDENTITY), &format!("{}{certificate}", key.serialize_pem()))?;
    match fs::remove_file(dir.join(JOINING)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The id of the token that was dealt with last.
pub(super) fn last_token(dir: &Path) -> Option<String> {
    fs::read_to_string(dir.join(TOKEN)).ok()
}

/// Keeps the id of the token that was dealt with.
pub(super) fn set_last_token(dir: &Path, id: &str) -> io::Result<()> {
    write(&dir.join(TOKEN), id)
}

/// The key to join with: the one of an attempt before, else a new one, kept before it is used.
pub(super) fn joining_key(dir: &Path) -> io::Result<KeyPair> {
    let path = dir.join(JOINING);
    if let Some(key) = fs::read_to_string(&path).ok().and_then(|text| KeyPair::from_pem(&text).ok()) {
        return Ok(key);
    }
    let key = KeyPair::generate().map_err(io::Error::other)?;
    write(&path, &key.serialize_pem())?;
    Ok(key)
}

/// Replaces a file as a whole, durably; nobody else may read it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    if !dir.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let temporary = dir.join(".new");
    // What an interrupted write left must not lend its mode.
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(dir)?.sync_all()
}
