//! Summation that does not lose small terms: Kahan's, as improved by Neumaier.

/// A running sum with its compensation.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum {
    /// The sum so far, without the compensation.
    pub(super) sum: f64,
    /// What was lost so far.
    pub(super) lost: f64,
}

impl Sum {
    /// A sum that begins with `first`.
    pub(super) fn of(first: f64) -> Self {
        Self { sum: first, lost: 0.0 }
    }

    /// Adds one term.
    #[inline]
    pub(super) fn add(&mut self, term: f64) {
        let total = self.sum + term;
        if total.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= term.abs() {
            self.lost += (self.sum - total) + term;
        } else {
            self.lost += (term - total) + self.sum;
        }
        self.sum = total;
    }

    /// The compensated sum.
    #[inline]
    pub(super) fn total(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.lost }
    }
}

/// A running mean: the sum divided by the count, as long as the sum does not overflow; from then on
/// the mean is carried along itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mean {
    sum: Sum,
    count: f64,
    incremental: bool,
}

impl Mean {
    /// A mean that begins with `first`.
    pub(super) fn of(first: f64) -> Self {
        Self { sum: Sum::of(first), count: 1.0, incremental: false }
    }

    /// Adds one value.
    #[inline]
    pub(super) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.incremental {
            let mut next = self.sum;
            next.add(value);
            if !next.sum.is_infinite() {
                self.sum = next;
                return;
            }
            self.incremental = true;
            self.sum.sum /= self.count - 1.0;
            self.sum.lost /= self.count - 1.0;
        }
        let kept = (self.count - 1.0) / self.count;
        self.sum = Sum { sum: kept * self.sum.sum, lost: kept * self.sum.lost };
        self.sum.add(value / self.count);
    }

    /// The mean so far.
    pub(super) fn mean(self) -> f64 {
        if self.incremental {
            self.sum.sum + self.sum.lost
        } else {
            self.sum.sum / self.count + self.sum.lost / self.count
        }
    }
}
