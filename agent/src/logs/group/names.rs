//! Which files belong together by their names, and in which order they were written.

use super::Format;

/// Place of a file among its group: ascending from the oldest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Number of the container's run; 0 for plain files.
    pub(super) run: u64,
    /// Whether it is the one that is written to.
    pub(super) current: bool,
    /// Numbers count up with age (`app.log.2` is older than `app.log.1`).
    age: i64,
    /// Other suffixes are times.
    suffix: String,
}

/// Place of the file `name`, or `None` when it is no log file of the group.
pub(super) fn place(format: Format, base: Option<&str>, name: &str) -> Option<Place> {
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    if plain.ends_with(".partial") || plain.ends_with(".tmp") {
        return None;
    }
    let (run, suffix) = match format {
        Format::Cri => {
            let (run, rest) = plain.split_once(".log")?;
            (run.parse().ok()?, rest)
        }
        Format::Raw | Format::Docker => (0, plain.strip_prefix(base?)?),
    };
    if suffix.is_empty() {
        // A compressed file is never written to.
        let current = plain == name;
        return Some(Place { run, current, age: 0, suffix: String::new() });
    }
    let suffix = suffix.strip_prefix(['.', '-'])?;
    let number = suffix.parse::<u32>().ok().filter(|_| suffix.len() <= 5);
    Some(match number {
        Some(number) => Place { run, current: false, age: -i64::from(number), suffix: String::new() },
        None => Place { run, current: false, age: 0, suffix: suffix.to_owned() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_in_the_order_they_were_written() {
        let mut names =
            ["1.log", "0.log", "0.log.20260102-000000", "0.log.20260101-000000.gz", "1.log.20260103-000000"];
        names.sort_by_key(|name| place(Format::Cri, None, name).unwrap());
        let expect =
            ["0.log.20260101-000000.gz", "0.log.20260102-000000", "0.log", "1.log.20260103-000000", "1.log"];
        assert_eq!(names, expect);
        let mut names = ["app.log", "app.log.1", "app.log.10", "app.log.2.gz"];
        names.sort_by_key(|name| place(Format::Raw, Some("app.log"), name).unwrap());
        assert_eq!(names, ["app.log.10", "app.log.2.gz", "app.log.1", "app.log"]);
    }

    #[test]
    fn other_files_do_not_belong() {
        for name in ["app.logs", "other.log", "app.log.1.tmp", "app.log.gz.partial"] {
            assert_eq!(place(Format::Raw, Some("app.log"), name), None, "{name}");
        }
        assert_eq!(place(Format::Cri, None, "x.log"), None);
    }
}
