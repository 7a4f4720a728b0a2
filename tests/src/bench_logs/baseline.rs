//! What people have without a log store: a file a stream, compressed, searched with grep.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use binnacle_tests::usage::children_cpu_seconds;
use tokio::time::Instant;

use crate::data::{NEEDLE, Shape, labels};

/// Files of one stream are written in parts of about so many bytes.
const WRITE_BYTES: usize = 256 << 10;

/// One way to keep files.
pub struct Kept {
    pub name: &'static str,
    pub bytes: u64,
    pub cpu_seconds: f64,
    /// Wall and CPU, in milliseconds, of finding the needle in all files; `None` without the program.
    pub needle: Option<(f64, f64)>,
    /// As above, of counting the lines with a level.
    pub levels: Option<(f64, f64)>,
}

/// Writes the lines of `shape` to files, compresses and searches them.
pub fn run(shape: &Shape) -> Result<Vec<Kept>> {
    let folder = tempfile::Builder::new().prefix("binnacle-bench-files-").tempdir()?;
    let files = write(shape, folder.path())?;
    println!("searching plain files …");
    let mut kept = vec![Kept {
        name: "plain files",
        bytes: size(&files)?,
        cpu_seconds: 0.0,
        needle: search("grep", &["-h", "-F", "--", NEEDLE], &files)?,
        levels: search("grep", &["-h", "-o", "-E", r#"level[=":]+[a-z]+"#], &files)?,
    }];
    for (name, program, arguments, ending, grep) in [
        ("gzip", "gzip", &["-q", "-k", "-f"][..], "gz", "zgrep"),
        ("zstd -1", "zstd", &["-q", "-1", "-k", "-f"][..], "zst", "zstdgrep"),
        ("zstd -3", "zstd", &["-q", "-3", "-k", "-f"][..], "zst", "zstdgrep"),
    ] {
        if !exists(program) {
            println!("skipped: {name}: no program {program}");
            continue;
        }
        println!("compressing and searching: {name} …");
        let before = children_cpu_seconds()?;
        for part in files.chunks(200) {
            let done = Command::new(program).args(arguments).args(part).status()?;
            if !done.success() {
                bail!("{name} failed: {done}");
            }
        }
        let cpu_seconds = children_cpu_seconds()? - before;
        let compressed: Vec<PathBuf> =
            files.iter().map(|file| file.with_extension(format!("txt.{ending}"))).collect();
        kept.push(Kept {
            name,
            bytes: size(&compressed)?,
            cpu_seconds,
            needle: search(grep, &["-h", "-F", "--", NEEDLE], &compressed)?,
            levels: search(grep, &["-h", "-o", "-E", r#"level[=":]+[a-z]+"#], &compressed)?,
        });
    }
    Ok(kept)
}

fn write(shape: &Shape, folder: &Path) -> Result<Vec<PathBuf>> {
    let files: Vec<PathBuf> = (0..shape.streams)
        .map(|stream| {
            let [_, _, (_, pod)] = labels(stream);
            folder.join(format!("{pod}.txt"))
        })
        .collect();
    let mut waiting: Vec<Vec<u8>> = vec![Vec::new(); shape.streams];
    let put = |stream: usize, text: &mut Vec<u8>| -> Result<()> {
        let mut file = std::fs::File::options().create(true).append(true).open(&files[stream])?;
        file.write_all(text)?;
        text.clear();
        Ok(())
    };
    for batch in shape.lines() {
        let text = &mut waiting[batch.stream];
        for (time_ns, line) in batch.lines {
            // With its time, as a container's log file has it.
            let time = jiff::Timestamp::from_nanosecond(i128::from(time_ns))?;
            writeln!(text, "{time:.9} stdout F {line}")?;
        }
        if text.len() >= WRITE_BYTES {
            put(batch.stream, text)?;
        }
    }
    for (stream, text) in waiting.iter_mut().enumerate() {
        put(stream, text)?;
    }
    Ok(files)
}

fn size(files: &[PathBuf]) -> Result<u64> {
    files.iter().map(|file| Ok(std::fs::metadata(file)?.len())).sum()
}

fn exists(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Not every one knows the flag.
    command.status().is_ok()
}

/// Wall and CPU of a search over all files, which must find something.
fn search(program: &str, arguments: &[&str], files: &[PathBuf]) -> Result<Option<(f64, f64)>> {
    if !exists(program) {
        println!("skipped: no program {program}");
        return Ok(None);
    }
    let (begun, before) = (Instant::now(), children_cpu_seconds()?);
    let mut found = 0;
    for part in files.chunks(200) {
        // Bytes, not characters: grep's fast way.
        let mut command = Command::new(program);
        let output = command.env("LC_ALL", "C").args(arguments).args(part).output().context("search")?;
        found += output.stdout.len();
    }
    if found == 0 {
        bail!("{program} {arguments:?} found nothing");
    }
    let wall_ms = begun.elapsed().as_secs_f64() * 1000.0;
    Ok(Some((wall_ms, (children_cpu_seconds()? - before) * 1000.0)))
}
