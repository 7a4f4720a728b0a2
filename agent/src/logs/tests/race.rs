//! Rotations that come at any moment, also between two system calls of the tailer.

use super::*;

#[expect(clippy::disallowed_methods, reason = "a real writer beside the tailer")]
fn pause(micros: u64) {
    std::thread::sleep(std::time::Duration::from_micros(micros));
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Writes and rotates, without regard to who reads; how many lines there were.
fn write(log: &Path, random: &mut Random, rotations: u64) -> u64 {
    let mut seq = 0;
    for n in 0..rotations {
        for _ in 0..1 + random.below(3) {
            let more = 1 + random.below(8);
            append(log, &(seq..seq + more).map(|n| format!("seq={n}\n")).collect::<String>());
            seq += more;
            pause(random.below(3000));
        }
        let rotated = PathBuf::from(format!("{}.20260101-{n:06}", log.display()));
        if random.below(2) == 0 {
            fs::rename(log, &rotated).unwrap();
        } else {
            fs::copy(log, &rotated).unwrap();
            OpenOptions::new().write(true).open(log).unwrap().set_len(0).unwrap();
        }
        pause(random.below(3000));
    }
    seq
}

#[test]
fn rotations_between_two_looks_at_a_file_lose_nothing_and_bring_nothing_twice() {
    let seed = number("BINNACLE_ROTATION_SEED").unwrap_or_else(|| clock::now_ns() as u64);
    println!("seed {seed}");
    let dir = tempfile::tempdir().unwrap();
    let (mut bench, host) = Bench::with_volume(dir.path());
    let mut random = Random(seed);
    let rotations = number("BINNACLE_ROTATIONS").unwrap_or(150);
    let writer = std::thread::spawn(move || write(&host.join("app.log"), &mut Random(seed ^ 1), rotations));
    while !writer.is_finished() {
        bench.now_ms = clock::now_ms();
        bench.turn(random.below(8) as usize);
        if random.below(8) == 0 {
            bench.kill(random.below(8) as usize);
        }
    }
    let count = writer.join().unwrap();
    bench.settle();
    let mut seen: Vec<u64> = bench
        .lines("file")
        .iter()
        .map(|line| {
            let number = line.strip_prefix("seq=").and_then(|number| number.parse().ok());
            number.unwrap_or_else(|| panic!("seed {seed}: a broken line: {line:?}"))
        })
        .collect();
    seen.sort_unstable();
    let twice: Vec<u64> = seen.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0]).collect();
    let missing: Vec<u64> = (0..count).filter(|n| seen.binary_search(n).is_err()).collect();
    assert!(
        twice.is_empty() && missing.is_empty(),
        "seed {seed}: of {count} missing {missing:?}, twice {twice:?}"
    );
}
