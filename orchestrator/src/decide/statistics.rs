//! Robust statistics on short series: median, quantile, Theil–Sen slope, normal distribution.

/// The median; `None` of nothing. NaN must not be passed.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The `q`-quantile with linear interpolation; `None` of nothing. Sorts in place.
pub(super) fn quantile(values: &mut [f64], q: f64) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    values.sort_by(f64::total_cmp);
    let rank = q.clamp(0.0, 1.0) * (values.len() - 1) as f64;
    let (low, high) = (rank.floor() as usize, rank.ceil() as usize);
    let weight = rank - low as f64;
    Some(values[low] * (1.0 - weight) + values[high] * weight)
}

/// A line through points, by medians.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Line {
    /// Value units per second.
    pub slope: f64,
    /// Value at the time of the last point.
    pub level: f64,
    /// Standard error of the slope, estimated from the spread of pairwise slopes.
    pub slope_error: f64,
    /// Spread of the points around the line (scaled median absolute deviation).
    pub residual: f64,
}

/// Scales a median absolute deviation to a standard deviation of a normal distribution.
const MAD_TO_SIGMA: f64 = 1.4826;

/// Fits a line by Theil and Sen: the slope is the median of the slopes of all pairs, so up to 29% of
/// the points may be arbitrary without moving it. `None` with fewer than three points or no time
/// between them. Quadratic: the caller bounds the number of points.
pub(super) fn theil_sen(points: &[(i64, f64)]) -> Option<Line> {
    let &(last_ms, _) = points.last()?;
    if points.len() < 3 {
        return None;
    }
    let mut slopes = Vec::with_capacity(points.len() * (points.len() - 1) / 2);
    for (i, a) in points.iter().enumerate() {
        for b in &points[i + 1..] {
            let seconds = (b.0 - a.0) as f64 / 1000.0;
            if seconds > 0.0 {
                slopes.push((b.1 - a.1) / seconds);
            }
        }
    }
    let slope = median(&mut slopes)?;
    let at = |t_ms: i64| (t_ms - last_ms) as f64 / 1000.0;
    let mut levels: Vec<f64> = points.iter().map(|(t, v)| v - slope * at(*t)).collect();
    let level = median(&mut levels)?;
    let mut off: Vec<f64> = points.iter().map(|(t, v)| (v - level - slope * at(*t)).abs()).collect();
    let residual = median(&mut off)? * MAD_TO_SIGMA;
    let mut spread: Vec<f64> = slopes.iter().map(|s| (s - slope).abs()).collect();
    let slope_error = median(&mut spread)? * MAD_TO_SIGMA / (points.len() as f64).sqrt();
    Some(Line { slope, level, slope_error, residual })
}

/// Probability that a standard normal variable is below `z`. Abramowitz and Stegun 7.1.26 on the
/// error function: absolute error under 2e-7.
pub(super) fn normal_below(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let poly = t
        * (0.254_829_592
            + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let erf = 1.0 - poly * (-x * x).exp();
    let half = 0.5 * (1.0 + erf);
    if z >= 0.0 { half } else { 1.0 - half }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slope_survives_outliers() {
        let mut points: Vec<(i64, f64)> = (0..20).map(|i| (i * 1000, 100.0 + 7.0 * i as f64)).collect();
        points[5].1 = 1e9;
        points[11].1 = -1e9;
        points[19].1 = 0.0;
        let line = theil_sen(&points).unwrap();
        assert!((line.slope - 7.0).abs() < 1e-9, "{line:?}");
        assert!((line.level - 233.0).abs() < 1e-6, "{line:?}");
    }

    #[test]
    fn too_few_points_have_no_slope() {
        assert_eq!(theil_sen(&[(0, 1.0), (1000, 2.0)]), None);
        assert_eq!(theil_sen(&[]), None);
        assert_eq!(theil_sen(&[(5, 1.0), (5, 2.0), (5, 3.0)]), None);
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&mut [], 0.5), None);
        assert_eq!(quantile(&mut [4.0, 1.0, 3.0, 2.0], 0.5), Some(2.5));
        assert_eq!(quantile(&mut [1.0], 0.95), Some(1.0));
        assert_eq!(quantile(&mut [0.0, 10.0], 0.95), Some(9.5));
    }

    #[test]
    fn normal_distribution_matches_its_table() {
        for (z, p) in [(0.0, 0.5), (1.0, 0.841_344_7), (-1.0, 0.158_655_3), (1.96, 0.975_002_1), (-6.0, 0.0)]
        {
            assert!((normal_below(z) - p).abs() < 1e-6, "z={z}: {} is not {p}", normal_below(z));
        }
    }
}
