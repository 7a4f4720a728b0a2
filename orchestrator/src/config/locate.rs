//! Finds lines and names of fields in TOML text, for messages.

/// The line of byte `at`, counted from 1.
pub(super) fn line_at(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
}

/// The dotted name of the field on the line of byte `at`: section and key, as far as the text shows.
pub(super) fn field_at(text: &str, at: usize) -> Option<String> {
    let line = line_at(text, at);
    let mut section = String::new();
    for (number, content) in text.lines().enumerate() {
        let content = content.trim();
        if let Some(name) = section_name(content) {
            section = name.to_owned();
            if number + 1 == line {
                return Some(section);
            }
        } else if number + 1 == line {
            let key = content.split('=').next().unwrap_or_default().trim();
            return match (section.is_empty(), key.is_empty()) {
                (_, true) => None,
                (true, false) => Some(key.to_owned()),
                (false, false) => Some(format!("{section}.{key}")),
            };
        }
    }
    None
}

/// The line on which `section.key` is set, or that of its section, or 1.
pub(super) fn line_of(text: &str, section: &str, key: &str) -> usize {
    let (mut current, mut found) = ("", 1);
    for (number, content) in text.lines().enumerate() {
        let content = content.trim();
        if let Some(name) = section_name(content) {
            current = name;
            if name == section {
                found = number + 1;
            }
            if name.split_once('.') == Some((section, key)) {
                return number + 1;
            }
        } else if current == section && content.split('=').next().is_some_and(|have| have.trim() == key) {
            return number + 1;
        }
    }
    found
}

fn section_name(line: &str) -> Option<&str> {
    // Tables and elements of lists of tables.
    line.strip_prefix('[')?.trim_start_matches('[').split(']').next().map(str::trim)
}
