//! Files of the kernel that are read again and again: kept open, read with one `pread`.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Rounds after which a file that was not there is looked for again.
const LOOK_AGAIN: u8 = 60;

/// Most bytes read of one file; what is longer is cut. A `/proc/stat` of a machine with 1,000
/// processors is about 100 KiB.
const MAX_FILE: usize = 4 << 20;

/// Where files are read into; shared by all files of a thread.
pub(crate) struct Buffer(Vec<u8>);

impl Default for Buffer {
    fn default() -> Self {
        Self(vec![0; 16 << 10])
    }
}

/// One file, opened when first read.
pub(crate) struct KernelFile {
    dir: Arc<Path>,
    name: &'static str,
    /// Whether the kernel may hand the file out in pieces.
    listing: bool,
    state: State,
}

enum State {
    Open(File),
    /// Not there (or not readable): looked for again after so many rounds.
    Absent(u8),
}

impl KernelFile {
    /// A file that the kernel makes whole: a short read is all of it.
    pub(crate) fn new(dir: &Arc<Path>, name: &'static str) -> Self {
        Self { dir: dir.clone(), name, listing: false, state: State::Absent(0) }
    }

    /// A file with a record for each of many things, which the kernel hands out about a page at a
    /// time: it is read until nothing more comes.
    pub(crate) fn listing(dir: &Arc<Path>, name: &'static str) -> Self {
        Self { listing: true, ..Self::new(dir, name) }
    }

    /// The file's text, or `None` when it is not there, or no longer.
    pub(crate) fn read<'b>(&mut self, buffer: &'b mut Buffer) -> Option<&'b str> {
        let file = match &mut self.state {
            State::Open(file) => file,
            State::Absent(rounds @ 1..) => {
                *rounds -= 1;
                return None;
            }
            State::Absent(0) => match File::open(self.dir.join(self.name)) {
                Ok(file) => {
                    self.state = State::Open(file);
                    let State::Open(file) = &mut self.state else { return None };
                    file
                }
                Err(error) => {
                    // Anything else than "no such file" may be over in the next round.
                    let lasting = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied);
                    self.state = State::Absent(if lasting { LOOK_AGAIN } else { 0 });
                    return None;
                }
            },
        };
        let mut len = 0;
        loop {
            match file.read_at(&mut buffer.0[len..], len as u64) {
                Ok(read) => {
                    len += read;
                    let full = len == buffer.0.len();
                    if read == 0 || (!full && !self.listing) || len >= MAX_FILE {
                        return std::str::from_utf8(&buffer.0[..len]).ok();
                    }
                    if full {
                        buffer.0.resize(len * 2, 0);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    // ENODEV: the cgroup is gone. Others: EOPNOTSUPP of pressure files without PSI.
                    self.state = State::Absent(LOOK_AGAIN);
                    return None;
                }
            }
        }
    }
}

/// A file read once, as text; `None` when it is not there.
pub(crate) fn read_once(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The number in a file that holds one number.
pub(crate) fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The number behind `key` in a file of lines `key number`.
pub(crate) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| number(line.strip_prefix(key)?.strip_prefix(' ')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_anew_each_time_and_may_grow_beyond_the_buffer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "1\n").unwrap();
        let mut file = KernelFile::new(&Arc::from(dir.path()), "f");
        let mut buffer = Buffer::default();
        assert_eq!(file.read(&mut buffer).and_then(number), Some(1));
        let long = "x".repeat(100_000);
        std::fs::write(&path, &long).unwrap();
        assert_eq!(file.read(&mut buffer), Some(long.as_str()));
    }

    #[test]
    fn an_absent_file_is_nothing_and_is_looked_for_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = KernelFile::new(&Arc::from(dir.path()), "f");
        let mut buffer = Buffer::default();
        assert_eq!(file.read(&mut buffer), None);
        std::fs::write(dir.path().join("f"), "7").unwrap();
        let rounds = (0..=LOOK_AGAIN).take_while(|_| file.read(&mut buffer).is_none()).count();
        assert_eq!(rounds, usize::from(LOOK_AGAIN));
    }

    #[test]
    fn keys_are_whole_words() {
        let text = "nr_periods 3\nnr_periods_x 4\nthrottled 5\n";
        assert_eq!(keyed(text, "nr_periods"), Some(3));
        assert_eq!(keyed(text, "throttle"), None);
    }
}
