use proptest::prelude::*;

use super::*;

fn points(samples: impl IntoIterator<Item = (i64, f64)>) -> Points {
    let mut points = Points::default();
    for (t_ms, value) in samples {
        points.push(t_ms, value);
    }
    points
}

fn bits(points: &Points) -> Vec<(i64, u64)> {
    points.timestamps.iter().copied().zip(points.values.iter().map(|v| v.to_bits())).collect()
}

fn round_trip(points: &Points) -> Points {
    let bytes = encode_chunk(points);
    let mut out = Points::default();
    decode_chunk(&bytes, points.timestamps[0], i64::MIN, i64::MAX, &mut out).unwrap();
    out
}

fn per_sample(points: &Points) -> f64 {
    encode_chunk(points).len() as f64 / points.len() as f64
}

/// Values as they come in practice: integers, decimals, noise, special ones.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        (-1000i64..1000).prop_map(|v| v as f64),
        any::<i64>().prop_map(|v| v as f64),
        (0i64..1_000_000_000_000).prop_map(|v| v as f64 / 1e9),
        (-100_000i64..100_000).prop_map(|v| v as f64 / 100.0),
        any::<u64>().prop_map(f64::from_bits),
        Just(f64::NAN),
        Just(binnacle_proto::STALE_NAN),
        Just(f64::INFINITY),
        Just(-0.0),
    ]
}

fn series() -> impl Strategy<Value = Points> {
    let steps = prop_oneof![Just(15_000i64), 14_990i64..15_010, 1i64..100_000_000];
    let kind = prop_oneof![value().boxed(), (0i64..50).prop_map(|v| v as f64).boxed()];
    (-1i64 << 50..1i64 << 50, prop::collection::vec((steps, kind), 1..300)).prop_map(|(start, samples)| {
        let mut t_ms = start;
        points(samples.into_iter().map(|(step, value)| {
            t_ms += step;
            (t_ms, value)
        }))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_chunk_gives_back_what_went_in(points in series()) {
        prop_assert_eq!(bits(&round_trip(&points)), bits(&points));
    }

    #[test]
    fn a_chunk_cut_by_time_gives_what_lies_within(points in series(), a in 0usize..300, b in 0usize..300) {
        let at = |i: usize| points.timestamps[i.min(points.len() - 1)];
        let (start, end) = (at(a.min(b)), at(a.max(b)));
        let mut out = super::tests::points([(0, 1.0)]);
        decode_chunk(&encode_chunk(&points), points.timestamps[0], start, end, &mut out).unwrap();
        let want: Vec<_> = bits(&points).into_iter().filter(|(t, _)| (start..=end).contains(t)).collect();
        prop_assert_eq!(&bits(&out)[1..], want.as_slice());
    }

    #[test]
    fn integer_columns_survive(values in prop::collection::vec(any::<i64>(), 1..200)) {
        let mut bytes = Vec::new();
        ints::encode(&values, &mut bytes);
        let mut out = Vec::new();
        ints::decode(&mut Reader::new(&bytes), values.len(), &mut out).unwrap();
        prop_assert_eq!(out, values);
    }

    #[test]
    fn an_open_chunk_gives_back_what_went_in(points in series()) {
        let mut stream = Stream::default();
        for (t_ms, value) in points.timestamps.iter().zip(&points.values) {
            stream.push(*t_ms, *value);
        }
        let mut out = Points::default();
        stream.read(i64::MIN, i64::MAX, &mut out).unwrap();
        prop_assert_eq!(bits(&out), bits(&points));
        let (start, end) = (points.timestamps[points.len() / 3], points.timestamps[points.len() / 2]);
        out.clear();
        stream.read(start, end, &mut out).unwrap();
        let want: Vec<_> = bits(&points).into_iter().filter(|(t, _)| (start..=end).contains(t)).collect();
        prop_assert_eq!(bits(&out), want);
    }

    #[test]
    fn bytes_of_any_kind_are_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut out = Points::default();
        let _ = decode_body(&bytes, 0, i64::MIN, i64::MAX, &mut out);
        prop_assert_eq!(out.timestamps.len(), out.values.len());
    }

    #[test]
    fn damaged_bytes_are_refused_without_panic(points in series(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = encode_chunk(&points);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let mut out = Points::default();
        prop_assert!(decode_chunk(&bytes, points.timestamps[0], i64::MIN, i64::MAX, &mut out).is_err());
        let body = &bytes[..bytes.len() - CHECKSUM_BYTES];
        let _ = decode_body(body, points.timestamps[0], i64::MIN, i64::MAX, &mut out);
        prop_assert_eq!(out.timestamps.len(), out.values.len());
    }
}

#[test]
fn constants_cost_next_to_nothing() {
    let points = points((0..1000).map(|i| (i * 15_000, 42.5)));
    assert!(encode_chunk(&points).len() < 32, "{}", encode_chunk(&points).len());
}

#[test]
fn counters_and_pages_cost_about_a_byte() {
    let counter = points((0..1000).map(|i| (i * 15_000, (i * 1000 + (i * 7919) % 97) as f64)));
    assert!(per_sample(&counter) < 1.2, "{}", per_sample(&counter));
    let pages = points((0..1000).map(|i| (i * 15_000, (((i * 7919) % 101) * 4096) as f64)));
    assert!(per_sample(&pages) < 1.2, "{}", per_sample(&pages));
}

#[test]
fn cpu_seconds_with_nanoseconds_are_scaled() {
    let mut ns = 0u64;
    let cpu = points((0..1000i64).map(|i| {
        ns += 4_500_000_000 + (i as u64 * 7_919_777) % 100_000_000;
        (i * 15_000, ns as f64 / 1e9)
    }));
    assert!(per_sample(&cpu) < 3.8, "{}", per_sample(&cpu));
}

#[test]
fn a_staleness_marker_does_not_spoil_a_counter() {
    let mut counter = points((0..1000).map(|i| (i * 15_000, (i * 10) as f64)));
    counter.values[999] = binnacle_proto::STALE_NAN;
    counter.values[0] = f64::NAN;
    assert!(per_sample(&counter) < 0.2, "{}", per_sample(&counter));
    assert_eq!(bits(&round_trip(&counter)), bits(&counter));
}
