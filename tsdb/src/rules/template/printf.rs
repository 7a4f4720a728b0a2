//! `printf` with Go's verbs.

use super::humanize::{go_general, go_scientific, not_finite};
use super::value::Value;

/// Widest field and longest precision, so that a format cannot ask for a gigabyte of spaces.
const MAX_WIDTH: usize = 1000;

#[derive(Default)]
struct Flags {
    minus: bool,
    plus: bool,
    zero: bool,
    space: bool,
    sharp: bool,
    width: usize,
    precision: Option<usize>,
}

pub(super) fn printf(format: &str, args: &[Value]) -> String {
    let mut out = String::new();
    let mut args = args.iter();
    let mut rest = format.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = Flags::default();
        while let Some(flag) = rest.next_if(|c| "-+0 #".contains(*c)) {
            match flag {
                '-' => flags.minus = true,
                '+' => flags.plus = true,
                '0' => flags.zero = true,
                ' ' => flags.space = true,
                _ => flags.sharp = true,
            }
        }
        flags.width = number(&mut rest).unwrap_or(0);
        if rest.next_if_eq(&'.').is_some() {
            flags.precision = Some(number(&mut rest).unwrap_or(0));
        }
        match rest.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match args.next() {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(value) => pad(&mut out, &flags, &formatted(verb, &flags, value)),
            },
        }
    }
    let extra: Vec<String> = args.map(|value| format!("{}={}", value.kind(), value.print(false))).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

fn number(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut number = None;
    while let Some(digit) = rest.next_if(char::is_ascii_digit) {
        let digit = digit as usize - '0' as usize;
        number = Some((number.unwrap_or(0) * 10 + digit).min(MAX_WIDTH));
    }
    number
}

fn formatted(verb: char, flags: &Flags, value: &Value) -> String {
    let signed = |text: String| match text.starts_with(['-', '+']) {
        false if flags.plus => format!("+{text}"),
        false if flags.space => format!(" {text}"),
        _ => text,
    };
    match (verb, value) {
        ('v', Value::Float(number)) => signed(go_general(*number, flags.precision)),
        ('v', Value::Int(number)) => signed(number.to_string()),
        ('v', value) => value.print(false),
        ('s', Value::Str(text)) => match flags.precision {
            Some(precision) => text.chars().take(precision).collect(),
            None => text.to_string(),
        },
        ('s', Value::Map(_) | Value::List(_) | Value::Time(_) | Value::Duration(_)) => value.print(false),
        ('q', Value::Str(text)) => format!("{text:?}"),
        ('x', Value::Str(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ('X', Value::Str(text)) => text.bytes().map(|byte| format!("{byte:02X}")).collect(),
        ('t', Value::Bool(value)) => value.to_string(),
        ('d', Value::Int(number)) => signed(number.to_string()),
        ('x', Value::Int(number)) => format!("{number:x}"),
        ('X', Value::Int(number)) => format!("{number:X}"),
        ('o', Value::Int(number)) => format!("{number:o}"),
        ('b', Value::Int(number)) => format!("{number:b}"),
        ('c', Value::Int(number)) => {
            u32::try_from(*number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string()
        }
        ('f' | 'F', Value::Float(number)) => signed(match not_finite(*number) {
            Some(text) => text.to_owned(),
            None => format!("{number:.*}", flags.precision.unwrap_or(6)),
        }),
        ('e', Value::Float(number)) => signed(go_scientific(*number, Some(flags.precision.unwrap_or(6)))),
        ('E', Value::Float(number)) => {
            signed(go_scientific(*number, Some(flags.precision.unwrap_or(6))).to_uppercase())
        }
        ('g', Value::Float(number)) => signed(go_general(*number, flags.precision)),
        ('G', Value::Float(number)) => signed(go_general(*number, flags.precision).to_uppercase()),
        (verb, value) => format!("%!{verb}({}={})", value.kind(), value.print(false)),
    }
}

fn pad(out: &mut String, flags: &Flags, text: &str) {
    let missing = flags.width.saturating_sub(text.chars().count());
    if flags.minus {
        out.push_str(text);
        out.extend(std::iter::repeat_n(' ', missing));
    } else if flags.zero {
        let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+'])));
        out.push_str(sign);
        out.extend(std::iter::repeat_n('0', missing));
        out.push_str(digits);
    } else {
        out.extend(std::iter::repeat_n(' ', missing));
        out.push_str(text);
    }
}
