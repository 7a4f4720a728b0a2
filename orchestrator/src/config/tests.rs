//! Tests of the config file: defaults, completeness, messages.

use super::*;

fn refused(text: &str) -> String {
    Config::parse(text, Path::new("b.toml")).unwrap_err().to_string()
}

#[test]
fn default_file_says_the_defaults() {
    let parsed = Config::parse(DEFAULT_FILE, Path::new("default.toml")).unwrap();
    assert_eq!(format!("{parsed:#?}"), format!("{:#?}", Config::default()));
}

/// Every field of the settings is named in the file, set or commented out: nothing is hidden.
#[test]
fn default_file_is_complete() {
    let shown = format!("{:#?}", Config::default());
    let hidden = ["dir"]; // set by the server from data_dir
    let mut missing = Vec::new();
    for line in shown.lines() {
        let Some((name, _)) = line.trim().split_once(": ") else { continue };
        if hidden.contains(&name) || !name.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
            continue;
        }
        let named = DEFAULT_FILE.lines().any(|line| {
            let line = line.trim_start_matches(['#', ' ']);
            line.starts_with(&format!("[{name}]"))
                || line.starts_with('[') && line.contains(&format!(".{name}]"))
                || line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('='))
        });
        if !named {
            missing.push(name);
        }
    }
    assert!(missing.is_empty(), "default.toml does not mention {missing:?}");
}

#[test]
fn retention_rules_are_looked_at_before_the_start() {
    let message = refused("[tsdb]\n[[tsdb.series_retention]]\nselector = \"up{\"\nretention = \"1d\"\n");
    assert!(message.starts_with("b.toml:2: tsdb.series_retention: "), "{message}");
    assert!(message.contains("selector \"up{\""), "{message}");
    let message = refused("[logs]\nstream_retention = [{ selector = \"x\", retention_hours = 1 }]\n");
    assert!(message.starts_with("b.toml:2: logs.stream_retention: selector \"x\""), "{message}");
}

#[test]
fn a_limit_of_write_ahead_records_that_would_seal_all_the_time_is_refused() {
    let message = refused("[logs]\nwal_bytes = 5\n");
    assert_eq!(message, "b.toml:2: logs.wal_bytes: 5 is less than 16777216");
}

#[test]
fn unknown_key_names_file_line_and_field() {
    let message = refused("[server]\n\nhtpp = \"x\"\n");
    assert!(message.starts_with("b.toml:3: server.htpp: unknown field `htpp`"), "{message}");
}

#[test]
fn unknown_section_names_line() {
    let message = refused("[server]\n[hpaa]\ntolerance = 0.1\n");
    assert!(message.starts_with("b.toml:2: hpaa: unknown field `hpaa`"), "{message}");
}

#[test]
fn wrong_type_names_field() {
    let message = refused("[hpa]\ntolerance = \"much\"\n");
    assert!(message.starts_with("b.toml:2: hpa.tolerance: invalid type"), "{message}");
}

#[test]
fn value_out_of_bounds_names_field_and_bounds() {
    let message = refused("[oom]\n# text\nwindow_ms = 3\n");
    assert_eq!(message, "b.toml:3: oom.window_ms: 3 is not within 1000 … 86400000");
}

#[test]
fn syntax_error_names_line() {
    let message = refused("[server]\nhttp = \n");
    assert!(message.starts_with("b.toml:2: "), "{message}");
}

#[test]
fn missing_file_is_named() {
    let message = Config::load(Path::new("/nowhere/x.toml")).unwrap_err().to_string();
    assert!(message.starts_with("cannot read the config file /nowhere/x.toml: "), "{message}");
}

#[test]
fn certificates_and_users_that_cannot_be_used_are_refused() {
    let message = refused("[tls]\nca_file = \"ca.pem\"\n");
    assert_eq!(message, "b.toml:2: tls.ca_file: ca_file, cert_file and key_file go together");
    let message = refused("[web]\ncert_file = \"x\"\n");
    assert!(message.starts_with("b.toml:2: web.cert_file: "), "{message}");
    let message = refused("[web]\n[web.users]\nadmin = \"secret\"\n");
    assert!(message.contains("not a bcrypt hash"), "{message}");
    let hash = bcrypt::hash("x", 4).unwrap();
    let good = Config::parse(&format!("[web.users]\nadmin = \"{hash}\"\n"), Path::new("b.toml")).unwrap();
    assert!(good.web.authenticates() && !format!("{good:?}").contains(&hash));
}
