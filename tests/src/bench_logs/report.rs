//! The tables.

use crate::agent;
use crate::baseline::Kept;
use crate::measure::Numbers;

pub fn print(numbers: &Numbers, kept: &[Kept]) {
    let megabytes = numbers.sent.bytes as f64 / 1e6;
    let of_raw = |bytes: f64| bytes / numbers.sent.bytes as f64;
    println!("\n{} lines, {megabytes:.0} MB", numbers.sent.lines);
    println!(
        "ingest: {:.1} MB per CPU-second ({:.1} without the sealing of what was open at the end), {:.1} MB/s wall",
        megabytes / (numbers.ingest_cpu_seconds + numbers.seal_cpu_seconds),
        megabytes / numbers.ingest_cpu_seconds,
        megabytes / numbers.ingest_wall_seconds
    );
    println!(
        "memory: {:.0} MiB at most while loading, {:.0} MiB after the queries",
        numbers.peak_mib, numbers.resident_after_queries_mib
    );
    println!(
        "stored: {:.4} bytes a raw byte, {:.1} MB on disk after a stop; {:.4} of it blocks and filters",
        of_raw(numbers.stored_bytes as f64),
        numbers.stored_bytes as f64 / 1e6,
        of_raw(numbers.block_bytes)
    );
    println!("\n{:<26} {:>12} {:>12} {:>10} {:>10}", "query", "wall (ms)", "CPU (ms)", "opened", "ruled out");
    for query in &numbers.queries {
        println!(
            "{:<26} {:>12.1} {:>12.1} {:>10} {:>10}",
            query.name, query.wall_ms, query.cpu_ms, query.blocks.0, query.blocks.1
        );
    }
    if kept.is_empty() {
        return;
    }
    println!(
        "\n{:<26} {:>12} {:>12} {:>14} {:>14}",
        "files", "of raw", "CPU (s)", "needle (ms)", "levels (ms)"
    );
    for one in kept {
        let wall = |took: &Option<(f64, f64)>| took.map_or("-".to_owned(), |(wall, _)| format!("{wall:.0}"));
        println!(
            "{:<26} {:>12.4} {:>12.1} {:>14} {:>14}",
            one.name,
            of_raw(one.bytes as f64),
            one.cpu_seconds,
            wall(&one.needle),
            wall(&one.levels)
        );
        if let (Some((_, needle)), Some((_, levels))) = (one.needle, one.levels) {
            println!("{:<26} {:>12} {:>12} {:>14.0} {:>14.0}", "", "", "CPU (ms):", needle, levels);
        }
    }
}

pub fn print_agent(flow: &agent::Flow, numbers: &agent::Numbers) {
    println!(
        "backlog of {} lines: {:.0} lines per CPU-second of the agent, {:.0} lines/s wall, {:.1} MiB at most",
        flow.backlog,
        numbers.backlog_lines_a_cpu_second,
        numbers.backlog_lines_a_second,
        numbers.backlog_peak_mib
    );
    println!(
        "{} lines/s for {} s: {:.3} cores, {:.1} MiB",
        flow.rate, flow.seconds, numbers.steady_cores, numbers.steady_mib
    );
}
