//! Prometheus' staleness marker.

/// The quiet NaN with payload 2 that says "this series has ended here". Compare bits, not values:
/// see [`is_stale`]. Source: Prometheus' `model/value`.
pub const STALE_NAN: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Whether `value` is the staleness marker, and not any other NaN.
#[inline]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN.to_bits()
}
