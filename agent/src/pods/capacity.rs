//! What the node offers to pods: what the configuration says, else what the machine has.

use std::path::Path;

use super::spec::Amounts;
use crate::Config;

/// The node's capacity. A part that is neither configured nor readable is 0.
pub(crate) fn capacity(config: &Config) -> Amounts {
    Amounts {
        cpu_millis: config.capacity.cpu_millis.unwrap_or_else(|| cores(&config.proc_root) * 1000),
        memory_bytes: config.capacity.memory_bytes.unwrap_or_else(|| memory(&config.proc_root)),
    }
}

fn cores(proc_root: &Path) -> u64 {
    let stat = std::fs::read_to_string(proc_root.join("stat")).unwrap_or_default();
    let is_core =
        |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(char::is_numeric));
    stat.lines().filter(is_core).count() as u64
}

fn memory(proc_root: &Path) -> u64 {
    let meminfo = std::fs::read_to_string(proc_root.join("meminfo")).unwrap_or_default();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configured_parts_win_over_the_machines() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("stat"), "cpu  1 2\ncpu0 1\ncpu1 1\nintr 5\n").unwrap();
        std::fs::write(dir.path().join("meminfo"), "MemTotal:       2048 kB\nMemFree: 1 kB\n").unwrap();
        let mut config = Config { proc_root: dir.path().to_owned(), ..Config::default() };
        assert_eq!(capacity(&config), Amounts { cpu_millis: 2000, memory_bytes: 2 << 20 });
        config.capacity.cpu_millis = Some(500);
        assert_eq!(capacity(&config).cpu_millis, 500);
    }
}
