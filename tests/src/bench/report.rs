//! The table, and each number's ratio to Binnacle's.

use crate::contender::Kind;
use crate::measure::Row;

pub fn print(rows: &[Row]) {
    let Some(first) = rows.first() else { return };
    let names: Vec<String> = rows.iter().map(|row| row.kind.to_string()).collect();
    println!("\n{:<32} {}", "", columns(&names));
    line(rows, "samples per CPU-second (k)", |row| row.samples_per_cpu_second / 1000.0, true);
    line(rows, "resident memory (MiB)", |row| row.resident_mib, false);
    line(rows, "bytes a sample on disk", |row| row.bytes_per_sample, false);
    line(rows, "bytes a sample in files", |row| row.content_per_sample, false);
    line(rows, "samples lost by kill -9", |row| row.lost, false);
    line(rows, "kill -9 to ready (ms)", |row| row.restart.as_secs_f64() * 1000.0, false);
    for (at, query) in first.queries.iter().enumerate() {
        line(rows, &format!("{}: wall (ms)", query.name), |row| row.queries[at].wall_ms, false);
        line(rows, &format!("{}: CPU (ms)", query.name), |row| row.queries[at].cpu_ms, false);
    }
    for row in rows {
        if let Some(bytes) = row.wire_bytes_per_sample {
            println!("{}: {bytes:.2} bytes a sample on the wire", row.kind);
        }
    }
    println!("\n(×n: Binnacle is n times better)");
}

fn line(rows: &[Row], name: &str, value: impl Fn(&Row) -> f64, more_is_better: bool) {
    let ours = rows.iter().find(|row| row.kind == Kind::Binnacle).map(&value);
    let cells: Vec<String> = rows
        .iter()
        .map(|row| {
            let theirs = value(row);
            let ratio = ours.filter(|_| row.kind != Kind::Binnacle);
            let ratio = ratio.map(|ours| if more_is_better { ours / theirs } else { theirs / ours });
            let ratio = ratio.filter(|ratio| ratio.is_finite() && *ratio > 0.0);
            let ratio = ratio.map(|ratio| format!(" ×{ratio:.2}")).unwrap_or_default();
            format!("{theirs:.1}{ratio}")
        })
        .collect();
    println!("{name:<32} {}", columns(&cells));
}

fn columns(cells: &[String]) -> String {
    cells.iter().map(|cell| format!("{cell:>20}")).collect()
}
