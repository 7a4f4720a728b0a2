//! Templates as rule files write them.

use super::*;

fn data<'a>(labels: &'a Labels, query: &'a Query<'a>) -> Data<'a> {
    Data {
        labels,
        external_labels: &[],
        external_url: "http://binnacle.example/path",
        value: 1_234_567.0,
        at_ms: 1_500,
        query,
    }
}

fn expand(text: &str) -> Result<String, String> {
    let labels = Labels::from_pairs([("instance", "a.example:9100"), ("job", "node")]).unwrap();
    let query = |query: &str| match query {
        "up" => Ok(vec![
            (Labels::from_pairs([("instance", "b")]).unwrap(), 1.0),
            (Labels::from_pairs([("instance", "a")]).unwrap(), 0.5),
        ]),
        "none" => Ok(Vec::new()),
        other => Err(format!("unknown query {other:?}")),
    };
    let template = Template::parse(text).map_err(|error| error.to_string())?;
    template.expand(&data(&labels, &query)).map_err(|error| error.to_string())
}

#[test]
fn templates_give_what_prometheus_gives() {
    for (text, want) in [
        ("plain", "plain"),
        ("{{ $labels.instance }} is {{$value}}", "a.example:9100 is 1.234567e+06"),
        ("{{ .Labels.job }}/{{ $labels.absent }}/{{ .Value }}", "node//1.234567e+06"),
        ("{{ $value | humanize }}", "1.235M"),
        ("{{ 1536.0 | humanize1024 }} {{ humanize 0.0021 }} {{ humanize 0.0 }}", "1.5ki 2.1m 0"),
        (
            "{{ humanizeDuration 3661.5 }} {{ humanizeDuration 0.0123 }} {{ humanizeDuration 90061.0 }}",
            "1h 1m 1s 12.3ms 1d 1h 1m 1s",
        ),
        ("{{ 0.1234567 | humanizePercentage }}", "12.35%"),
        ("{{ 1435065584.128 | humanizeTimestamp }}", "2015-06-23 13:19:44.128 +0000 UTC"),
        (
            "{{ printf \"%.2f|%5d|%-4s|%q|%v|%e|%%\" 1.005 42 \"ab\" \"x\" true 12345.678 }}",
            "1.00|   42|ab  |\"x\"|true|1.234568e+04|%",
        ),
        ("{{ printf \"%s %d\" 1.5 }}", "%!s(float64=1.5) %!d(MISSING)"),
        (
            "{{ \"the quick\" | title }} {{ \"ab\" | toUpper }} {{ reReplaceAll \"(.*):.*\" \"$1\" $labels.instance }}",
            "The Quick AB a.example",
        ),
        ("{{ with query \"up\" }}{{ . | first | value }}{{ end }}", "1"),
        ("{{ with query \"none\" }}x{{ else }}nothing{{ end }}", "nothing"),
        (
            "{{ range query \"up\" | sortByLabel \"instance\" }}{{ .Labels.instance }}={{ .Value }};{{ end }}",
            "a=0.5;b=1;",
        ),
        ("{{ range $i, $s := query \"up\" }}{{ $i }}{{ label \"instance\" $s }}{{ end }}", "0b1a"),
        ("{{ if gt $value 5.0 }}high{{ else if eq $labels.job \"x\" }}x{{ else }}low{{ end }}", "high"),
        ("{{ if and (eq $labels.job \"node\") (not false) }}yes{{ end }}", "yes"),
        ("a  {{- /* comment */ -}}  b {{- \" c\" }}", "ab c"),
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
        ("{{ define \"t\" }}<{{ .arg0 }}>{{ end }}{{ template \"t\" (args \"a\" 1) }}", "<a>"),
        (
            "{{ stripPort $labels.instance }} {{ stripDomain $labels.instance }} {{ pathPrefix }}",
            "a.example a:9100 /path",
        ),
        ("{{ range $k, $v := $labels }}{{ $k }}={{ $v }},{{ end }}", "instance=a.example:9100,job=node,"),
        ("{{ $labels }}", "map[instance:a.example:9100 job:node]"),
        ("{{ (query \"up\" | first).Value }} {{ index (query \"up\") 1 | value }}", "1 0.5"),
        ("{{ range query \"up\" }}{{ if eq .Value 0.5 }}{{ break }}{{ end }}{{ .Value }}{{ end }}", "1"),
        ("{{ `raw \\n` }}{{ \"\\t\" | len }}{{ 'a' }}", "raw \\n197"),
        ("{{ parseDuration \"1h30m\" }} {{ toDuration 90.5 }} {{ now }}", "5400 1m30.5s 1.5"),
        ("{{ printf \"%.4g %.3g %g\" 1234567.0 1.5 100000.0 }}", "1.235e+06 1.5 100000"),
    ] {
        assert_eq!(expand(text).as_deref(), Ok(want), "{text}");
    }
}

#[test]
fn mistakes_name_line_and_column() {
    for (text, part) in [
        ("{{ $labels.a", "line 1, column 1: unclosed action"),
        ("a\nb {{ nope }}", "line 2, column 6: function \"nope\" not defined"),
        ("{{ $nope }}", "undefined variable \"$nope\""),
        ("{{ if true }}x", "without {{end}}"),
        ("{{ end }}", "unexpected {{end}}"),
        ("{{ break }}", "outside {{range}}"),
        ("{{ 1 2 }}", "can't give argument to non-function"),
        ("{{ \"x }}", "unterminated quoted string"),
        ("{{ }}", "missing value"),
        ("{{ gt $value 5 }}", "incompatible types for comparison: float64 and int"),
        ("{{ query \"bad\" }}", "error calling query: unknown query"),
        ("{{ query \"none\" | first }}", "no elements"),
        ("{{ $value.x }}", "can't evaluate field x"),
        ("{{ template \"t\" }}", "not defined"),
        ("{{ define \"t\" }}{{ template \"t\" }}{{ end }}{{ template \"t\" }}", "more than 50 templates"),
        ("{{ range 1000000 }}x{{ end }}", "can't iterate"),
        ("{{ range 400 }}{{ range 400 }}x{{ end }}{{ end }}", "steps"),
    ] {
        let error = expand(text).expect_err(text);
        assert!(error.contains(part), "{text}: {error}");
    }
    let deep = "{{ if true }}".repeat(100);
    assert!(expand(&deep).unwrap_err().contains("blocks within one another"));
    let parens = format!("{{{{ {}1{} }}}}", "(".repeat(100), ")".repeat(100));
    assert!(expand(&parens).unwrap_err().contains("parentheses"));
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_template_or_refused(text in "[ -~\n]{0,40}(\\{\\{[ -~]{0,30}\\}\\}[a-z ]{0,5}){0,4}") {
        let _ = expand(&text);
    }
}
