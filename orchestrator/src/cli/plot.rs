//! Plots in the terminal: braille dots, a colour a series.

use std::fmt::Write;

use super::time::format_clock;

/// One series to draw.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    /// For the legend.
    pub name: String,
    /// Milliseconds since the epoch, value.
    pub points: Vec<(i64, f64)>,
}

/// Room to draw in, in characters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub columns: usize,
    pub rows: usize,
    pub colour: bool,
}

/// Most series in the legend.
const MAX_LEGEND: usize = 20;
/// ANSI colours, in the order of the series.
const COLOURS: [u8; 6] = [36, 33, 35, 32, 34, 31];

impl Size {
    /// What the terminal offers, or 100 × 20 without one.
    pub(super) fn of_terminal() -> Self {
        let out = std::io::stdout();
        match rustix::termios::tcgetwinsize(&out) {
            Ok(size) if size.ws_col > 0 => Self {
                columns: usize::from(size.ws_col).clamp(40, 300),
                rows: usize::from(size.ws_row / 2).clamp(8, 40),
                colour: true,
            },
            _ => Self { columns: 100, rows: 20, colour: false },
        }
    }
}

/// Draws the series with an axis, times and a legend.
pub(super) fn render(lines: &[Line], size: Size) -> String {
    let finite = || lines.iter().flat_map(|line| &line.points).filter(|(_, value)| value.is_finite());
    let (Some(first), Some(last)) =
        (finite().map(|point| point.0).min(), finite().map(|point| point.0).max())
    else {
        return "no points\n".into();
    };
    let low = finite().map(|point| point.1).fold(f64::INFINITY, f64::min).min(0.0);
    let high = finite().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    let high = if high > low { high } else { low + 1.0 };
    let scale: Vec<String> = (0..size.rows).map(|row| label(low, high, row, size.rows)).collect();
    let margin = scale.iter().map(String::len).max().unwrap_or(0);
    let columns = size.columns.saturating_sub(margin + 3).max(10);

    // Braille: two dots across and four down in a character.
    let (wide, tall) = (columns * 2, size.rows * 4);
    let mut dots = vec![0u8; columns * size.rows];
    let mut colours = vec![0usize; columns * size.rows];
    let x_of =
        |t_ms: i64| ((t_ms - first) as f64 / (last - first).max(1) as f64 * (wide - 1) as f64) as usize;
    let y_of = |value: f64| ((high - value) / (high - low) * (tall - 1) as f64).round() as usize;
    for (series, line) in lines.iter().enumerate() {
        let mut previous: Option<(usize, usize)> = None;
        for (t_ms, value) in &line.points {
            if !value.is_finite() {
                previous = None;
                continue;
            }
            let (x, y) = (x_of(*t_ms), y_of(*value));
            let (from_x, from_y) = previous.unwrap_or((x, y));
            let steps = x.abs_diff(from_x).max(y.abs_diff(from_y)).max(1);
            for step in 0..=steps {
                let between = |a: usize, b: usize| {
                    (a as f64 + (b as f64 - a as f64) * step as f64 / steps as f64).round() as usize
                };
                let (x, y) = (between(from_x, x), between(from_y, y));
                let cell = (y / 4) * columns + x / 2;
                dots[cell] |= bit(x % 2, y % 4);
                colours[cell] = series;
            }
            previous = Some((x, y));
        }
    }

    let mut out = String::new();
    for (row, label) in scale.iter().enumerate() {
        let _ = write!(out, "{label:>margin$} ┤");
        for column in 0..columns {
            let cell = row * columns + column;
            match dots[cell] {
                0 => out.push(' '),
                dots => paint(&mut out, colours[cell], size.colour, braille(dots)),
            }
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    let (from, to) = (format_clock(first), format_clock(last));
    let gap = columns.saturating_sub(from.len() + to.len());
    let _ = writeln!(out, "{:margin$} └{}", "", "─".repeat(columns));
    let _ = writeln!(out, "{:margin$}  {from}{}{to}", "", " ".repeat(gap));
    for (series, line) in lines.iter().enumerate().take(MAX_LEGEND) {
        paint(&mut out, series, size.colour, '●');
        let last = line.points.last().map_or(f64::NAN, |point| point.1);
        let _ = writeln!(out, " {}  {}", line.name, short(last));
    }
    if lines.len() > MAX_LEGEND {
        let _ = writeln!(out, "… and {} more series", lines.len() - MAX_LEGEND);
    }
    out
}

fn paint(out: &mut String, series: usize, colour: bool, mark: char) {
    if colour {
        let _ = write!(out, "\x1b[{}m{mark}\x1b[0m", COLOURS[series % COLOURS.len()]);
    } else {
        out.push(mark);
    }
}

/// The number at the left of a row; every fourth row and the last have one.
fn label(low: f64, high: f64, row: usize, rows: usize) -> String {
    if !row.is_multiple_of(4) && row + 1 != rows {
        return String::new();
    }
    short(high - (high - low) * row as f64 / (rows - 1).max(1) as f64)
}

/// A number with four significant digits and a suffix.
fn short(value: f64) -> String {
    let (scaled, suffix) = match value.abs() {
        size if size >= 1e12 => (value / 1e12, "T"),
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        size if size >= 1000.0 || scaled.fract() == 0.0 => 0,
        size if size >= 100.0 => 1,
        size if size >= 10.0 => 2,
        _ => 3,
    };
    format!("{scaled:.digits$}{suffix}")
}

/// The dot of a braille character at column 0…1 and row 0…3.
fn bit(x: usize, y: usize) -> u8 {
    const BITS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
    BITS[x][y]
}

fn braille(dots: u8) -> char {
    char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { columns: 40, rows: 8, colour: false };

    fn rising() -> Line {
        Line { name: "x".into(), points: (0..20).map(|i| (i * 1_000, i as f64)).collect() }
    }

    #[test]
    fn rising_line_goes_from_bottom_left_to_top_right() {
        let plot = render(&[rising()], SIZE);
        let rows: Vec<&str> = plot.lines().collect();
        let column = |row: &str| row.chars().position(|c| c > '\u{2800}' && c < '\u{2900}').unwrap();
        assert!(rows[0].starts_with("   19 ┤") || rows[0].starts_with("19"), "{plot}");
        assert!(column(rows[0]) > column(rows[7]), "{plot}");
        assert!(rows.last().unwrap().ends_with("x  19"), "{plot}");
    }

    #[test]
    fn nothing_to_draw_is_said() {
        assert_eq!(render(&[], SIZE), "no points\n");
        let nan = Line { name: "x".into(), points: vec![(0, f64::NAN)] };
        assert_eq!(render(&[nan], SIZE), "no points\n");
    }

    #[test]
    fn single_constant_point_is_drawn() {
        let one = Line { name: "x".into(), points: vec![(5, 0.0)] };
        assert!(render(&[one], SIZE).chars().any(|c| c > '\u{2800}' && c < '\u{2900}'));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(short(1_500_000_000.0), "1.500G");
        assert_eq!(short(0.25), "0.250");
        assert_eq!(short(12.0), "12");
    }
}
