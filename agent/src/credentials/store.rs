//! What a join left: key and certificate in one file, the authority's certificate in another. Private.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use binnacle_proto::identity::Facts;
use rcgen::KeyPair;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use super::Usable;
use super::given::{broken, certificates, usable};
use crate::{Error, durable};

/// Key and certificate, replaced together.
const IDENTITY: &str = "identity.pem";
/// Whom to trust.
const AUTHORITY: &str = "authority.pem";
/// Id of the token that was dealt with last.
const TOKEN: &str = "token-id";
/// The key with which the agent is joining: when the answer is lost, the same one asks again.
const JOINING: &str = "joining.key";

/// What a node's certificate says, and the settings for connections with it.
pub(super) struct Identity {
    pub(super) facts: Facts,
    pub(super) usable: Usable,
}

/// The identity in `dir`; `None` when there is none, or it is that of another node.
///
/// # Errors
/// When the files are damaged or do not belong together: the node has to join anew.
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
    let authorities = certificates(&dir.join(AUTHORITY))?;
    let made = usable(&authorities, vec![certificate], key);
    Ok(Some(Identity { facts, usable: made.map_err(|problem| broken(&path, &problem))? }))
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

/// Replaces a file as a whole, durably, in a folder that nobody else may enter.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    if !dir.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    durable::replace(path, text.as_bytes())
}
