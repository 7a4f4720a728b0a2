//! Files of the authority: private, written whole, under one lock.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Error;

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Makes a folder that nobody else may enter, with its parents.
pub(super) fn private_folder(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|error| Error::io(parent, error))?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made.and_then(|()| own_like_parent(path)).map_err(|error| Error::io(path, error)),
    }
}

/// Holds off every other writer of the folder until the result is dropped.
pub(super) fn lock(folder: &Path) -> Result<File, Error> {
    let path = folder.join("lock");
    let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = opened.map_err(|error| Error::io(&path, error))?;
    own_like_parent(&path).map_err(|error| Error::io(&path, error))?;
    flock(&file, FlockOperation::LockExclusive).map_err(|error| Error::io(&path, error.into()))?;
    Ok(file)
}

/// Replaces a file as a whole, durably; only its owner may read it.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    let wrong = |error| Error::io(path, error);
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = folder.join(".new");
    // What an interrupted write left must not lend its mode.
    let _ = fs::remove_file(&temporary);
    let mut file =
        OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary).map_err(wrong)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(wrong)?;
    own_like_parent(&temporary).map_err(wrong)?;
    fs::rename(&temporary, path).map_err(wrong)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(wrong)
}

/// An operator works as root where the server does not: what is made belongs to the folder's owner.
fn own_like_parent(path: &Path) -> std::io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let Some(parent) = path.parent() else { return Ok(()) };
    let parent = fs::metadata(parent)?;
    std::os::unix::fs::chown(path, Some(parent.uid()), Some(parent.gid()))
}

pub(super) fn read_text(path: &Path) -> Result<String, Error> {
    let wrong = |error| Error::io(path, error);
    if fs::metadata(path).map_err(wrong)?.len() > MAX_BYTES {
        return Err(Error::broken(path, format!("larger than {MAX_BYTES} bytes")));
    }
    fs::read_to_string(path).map_err(wrong)
}

/// The certificates of a PEM file, at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = read_text(path)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let found = read.map_err(|error| Error::broken(path, error))?;
    if found.is_empty() {
        return Err(Error::broken(path, "there is no certificate in it"));
    }
    Ok(found)
}

pub(super) fn read_record<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    serde_json::from_str(&read_text(path)?).map_err(|error| Error::broken(path, error))
}

pub(super) fn write_record<T: Serialize>(path: &Path, record: &T) -> Result<(), Error> {
    let text = serde_json::to_vec(record).map_err(|error| Error::broken(path, error))?;
    write(path, &text)
}

/// Names and paths of the records of a folder.
pub(super) fn records(folder: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| Error::io(folder, error))? {
        let path = entry.map_err(|error| Error::io(folder, error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|n| n.strip_suffix(".json"));
        if let Some(name) = name {
            found.push((name.to_owned(), path.clone()));
        }
    }
    found.sort_unstable();
    Ok(found)
}
