//! Files that people name, read up to a bound. What their metadata says is not trusted: devices and pipes
//! have no length, and files grow while they are read.

use std::fs::File;
use std::io::{Error, ErrorKind, Read as _, Result};
use std::path::Path;

/// The bytes of a file of at most `most`.
///
/// # Errors
/// Why it cannot be read, or that it is larger.
pub(super) fn read_bounded(path: &Path, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}

/// The same as text.
///
/// # Errors
/// As above, or that it is no UTF-8.
pub(super) fn read_text_bounded(path: &Path, most: u64) -> Result<String> {
    String::from_utf8(read_bounded(path, most)?).map_err(|error| Error::new(ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_length_is_bounded_as_well() {
        let error = read_bounded(Path::new("/dev/zero"), 1000).unwrap_err();
        assert!(error.to_string().contains("more than 1000 bytes"), "{error}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"four").unwrap();
        assert_eq!(read_bounded(file.path(), 4).unwrap(), b"four");
        assert!(read_bounded(file.path(), 3).is_err());
        std::fs::write(file.path(), [0xff]).unwrap();
        assert!(read_text_bounded(file.path(), 3).is_err());
    }
}
