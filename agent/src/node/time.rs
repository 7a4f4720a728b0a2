//! The wall clock: what it says, what it is made from, how well it is kept.

use std::path::PathBuf;

use super::{Collector, Failure, Roots};
use crate::clock;
use crate::kernel::{Buffer, read_once};
use crate::sample::Scrape;

/// The wall clock, its zone, and what it is made from.
pub(super) struct Time {
    clocks: PathBuf,
}

impl Time {
    pub(super) fn new(roots: &Roots) -> Self {
        Self { clocks: roots.sys.join("devices/system/clocksource") }
    }
}

impl Collector for Time {
    fn name(&self) -> &'static str {
        "time"
    }

    fn collect(&mut self, _: &mut Buffer, scrape: &mut Scrape<'_>) -> Result<(), Failure> {
        let now_ns = clock::now_ns();
        scrape.emit("node_time_seconds", &[], now_ns as f64 / 1e9);
        let now = jiff::Timestamp::from_nanosecond(i128::from(now_ns));
        if let Ok(now) = now {
            let zone = jiff::tz::TimeZone::try_system().unwrap_or(jiff::tz::TimeZone::UTC);
            let info = zone.to_offset_info(now);
            let offset = f64::from(info.offset().seconds());
            scrape.emit("node_time_zone_offset_seconds", &[("time_zone", info.abbreviation())], offset);
        }
        let Ok(sources) = self.clocks.read_dir() else { return Ok(()) };
        for source in sources.flatten() {
            let name = source.file_name();
            let device = name.to_str().and_then(|name| name.strip_prefix("clocksource"));
            let Some(device) = device else { continue };
            for available in read_once(&source.path().join("available_clocksource"))
                .unwrap_or_default()
                .split_ascii_whitespace()
            {
                let labels = [("clocksource", available), ("device", device)];
                scrape.emit("node_time_clocksource_available_info", &labels, 1.0);
            }
            if let Some(current) = read_once(&source.path().join("current_clocksource")) {
                let labels = [("clocksource", current.trim()), ("device", device)];
                scrape.emit("node_time_clocksource_current_info", &labels, 1.0);
            }
        }
        Ok(())
    }
}

/// The kernel's clock discipline, by `adjtimex`.
pub(super) struct Timex;

/// Frequencies come in parts per million with 16 bits behind the point.
const PPM_16: f64 = 1_000_000.0 * 65_536.0;

/// What `adjtimex` returns while the clock is not synchronised.
const TIME_ERROR: i32 = 5;

impl Collector for Timex {
    fn name(&self) -> &'static str {
        "timex"
    }

    fn collect(&mut self, _: &mut Buffer, scrape: &mut Scrape<'_>) -> Result<(), Failure> {
        // SAFETY: `timex` is plain numbers, for which zero is valid; `modes` 0 only reads, and the
        // kernel writes nothing but this structure.
        let (state, timex) = unsafe {
            let mut timex: libc::timex = std::mem::zeroed();
            (libc::adjtimex(&raw mut timex), timex)
        };
        if state < 0 {
            return Err(Failure::NotOffered);
        }
        let fraction = if timex.status & libc::STA_NANO != 0 { 1e9 } else { 1e6 };
        for (name, value) in [
            ("node_timex_sync_status", f64::from(u8::from(state != TIME_ERROR))),
            ("node_timex_offset_seconds", timex.offset as f64 / fraction),
            ("node_timex_frequency_adjustment_ratio", 1.0 + timex.freq as f64 / PPM_16),
            ("node_timex_maxerror_seconds", timex.maxerror as f64 / 1e6),
            ("node_timex_estimated_error_seconds", timex.esterror as f64 / 1e6),
            ("node_timex_status", f64::from(timex.status)),
            ("node_timex_loop_time_constant", timex.constant as f64),
            ("node_timex_tick_seconds", timex.tick as f64 / 1e6),
            ("node_timex_pps_frequency_hertz", timex.ppsfreq as f64 / PPM_16),
            ("node_timex_pps_jitter_seconds", timex.jitter as f64 / fraction),
            ("node_timex_pps_shift_seconds", f64::from(timex.shift)),
            ("node_timex_pps_stability_hertz", timex.stabil as f64 / PPM_16),
            ("node_timex_pps_jitter_total", timex.jitcnt as f64),
            ("node_timex_pps_calibration_total", timex.calcnt as f64),
            ("node_timex_pps_error_total", timex.errcnt as f64),
            ("node_timex_pps_stability_exceeded_total", timex.stbcnt as f64),
            ("node_timex_tai_offset_seconds", f64::from(timex.tai)),
        ] {
            scrape.emit(name, &[], value);
        }
        Ok(())
    }
}
