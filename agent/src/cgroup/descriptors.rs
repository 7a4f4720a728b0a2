//! Open files of a container's processes: dear to count, so it is done seldom and in turn.

use std::path::Path;

/// Processes of a container that are looked at; a container with more has at least what is shown.
pub(super) const MAX_PROCESSES: usize = 1_000;

/// Each container is counted once in so many rounds.
const EVERY: u64 = 6;

/// Whether it is this container's turn; `salt` spreads the containers over the rounds.
pub(super) fn is_due(round: u64, salt: u64) -> bool {
    round.wrapping_add(salt).is_multiple_of(EVERY)
}

/// Open files of all these processes; `None` when none of them can be looked at.
pub(super) fn count(proc: &Path, pids: &[u32]) -> Option<u64> {
    let mut total = None;
    for pid in pids {
        let dir = proc.join(pid.to_string()).join("fd");
        // The kernel says the number as the directory's size, from Linux 6.2 on.
        let size = std::fs::metadata(&dir).map_or(0, |meta| meta.len());
        let open = if size > 0 { Some(size) } else { dir.read_dir().ok().map(|open| open.count() as u64) };
        if let Some(open) = open {
            *total.get_or_insert(0) += open;
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_of_this_very_process_are_counted() {
        let files: Vec<_> = (0..10).map(|_| tempfile::tempfile().unwrap()).collect();
        let open = count(Path::new("/proc"), &[std::process::id()]).unwrap();
        assert!(open >= files.len() as u64, "{open}");
        assert_eq!(count(Path::new("/proc"), &[u32::MAX]), None);
        assert_eq!((0..EVERY).filter(|round| is_due(*round, 7)).count(), 1);
    }
}
