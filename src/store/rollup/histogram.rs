//! How often which figure occurred, to within one per cent, so that percentiles of any span come out
//! of sums of smaller ones. Linear: what was counted can be taken out again. Pure.

/// Steps of one decade: by 2 up to 200 hundredths, by 4 up to 500, by 10 up to 1,000.
const STEPS: usize = 175;
/// The smallest decade begins at a thousandth; what lies below counts as 0.
const LOWEST: i32 = -3;
const DECADES: usize = 13;
const HIGHEST: i32 = 9;

/// Counts by steps of decades; only decades in which something occurred take memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    zeros: i64,
    decades: Vec<Decade>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Decade {
    /// From [`LOWEST`].
    number: usize,
    counts: Box<[i32; STEPS]>,
}

impl Histogram {
    /// Counts a figure so many times; a negative number takes it out again.
    pub fn add(&mut self, figure: f64, times: i32) {
        match place(figure) {
            None => self.zeros += i64::from(times),
            Some((number, step)) => self.count(number, step, times),
        }
    }

    /// Adds what `other` holds, bucket by bucket.
    pub fn merge(&mut self, other: &Histogram) {
        self.zeros += other.zeros;
        for decade in &other.decades {
            let counts = self.decade(decade.number);
            for (count, more) in counts.iter_mut().zip(decade.counts.iter()) {
                *count = count.saturating_add(*more);
            }
        }
    }

    /// The nearest rank: a figure that occurred, rounded to its step.
    pub fn percentile(&self, percent: u64) -> Option<f64> {
        let all: i64 = self.counts().map(|(_, count)| count).sum();
        let rank = (all.max(0).unsigned_abs() * percent).div_ceil(100);
        let mut seen = 0_u64;
        self.counts().find_map(|(figure, count)| {
            seen += count.max(0).unsigned_abs();
            (rank > 0 && seen >= rank).then_some(figure)
        })
    }

    /// Figures in ascending order.
    fn counts(&self) -> impl Iterator<Item = (f64, i64)> {
        let steps = self.decades.iter().flat_map(|decade| {
            let counts = decade.counts.iter().enumerate().filter(|(_, count)| **count != 0);
            counts.map(|(step, count)| (figure(decade.number, step), i64::from(*count)))
        });
        std::iter::once((0.0, self.zeros)).chain(steps)
    }

    /// Writes it in few bytes at the end of `into`.
    pub fn encode(&self, into: &mut Vec<u8>) {
        super::varint::put(into, self.zeros);
        let counts = self.decades.iter().flat_map(|decade| {
            let counts = decade.counts.iter().enumerate().filter(|(_, count)| **count != 0);
            counts.map(|(step, count)| (decade.number * STEPS + step, i64::from(*count)))
        });
        super::varint::put_count(into, counts.clone().count());
        let mut before = 0;
        for (at, count) in counts {
            super::varint::put_count(into, at - before);
            super::varint::put(into, count);
            before = at;
        }
    }

    /// Adds what was encoded; `None`: that is not what it is.
    pub fn merge_encoded(&mut self, from: &mut &[u8]) -> Option<()> {
        self.zeros += super::varint::take(from)?;
        // Steps come in order, so that a decade is looked for once.
        let (mut number, mut step, mut left) = (0_usize, 0_usize, super::varint::take(from)?);
        while left > 0 {
            step = step.checked_add(usize::try_from(super::varint::take(from)?).ok()?)?;
            (number, step) = (number.checked_add(step / STEPS)?, step % STEPS);
            if number >= DECADES {
                return None;
            }
            let counts = self.decade(number);
            loop {
                let more = i32::try_from(super::varint::take(from)?).ok()?;
                counts[step] = counts[step].saturating_add(more);
                left -= 1;
                // One byte of less than 0x80 is a whole number; the next step is in this decade most often.
                let ahead = from.first().filter(|byte| left > 0 && **byte < 0x80 && **byte & 1 == 0);
                match ahead.map(|byte| step + usize::from(byte >> 1)).filter(|next| *next < STEPS) {
                    Some(next) => {
                        step = next;
                        *from = from.get(1..)?;
                    }
                    None => break,
                }
            }
        }
        Some(())
    }

    fn count(&mut self, number: usize, step: usize, times: i32) {
        if let Some(count) = self.decade(number).get_mut(step) {
            *count = count.saturating_add(times);
        }
    }

    fn decade(&mut self, number: usize) -> &mut [i32; STEPS] {
        let found = self.decades.binary_search_by_key(&number, |decade| decade.number);
        let at = found.unwrap_or_else(|at| {
            self.decades.insert(at, Decade { number, counts: Box::new([0; STEPS]) });
            at
        });
        &mut self.decades[at].counts
    }
}

/// The decade and the step in it; `None`: as good as nothing.
fn place(figure: f64) -> Option<(usize, usize)> {
    if !figure.is_finite() || figure < 10_f64.powi(LOWEST) {
        return None;
    }
    let exponent = (figure.log10().floor() as i32).min(HIGHEST);
    let hundredths = scaled(figure, 2 - exponent).min(1_000.0);
    let step = if hundredths < 200.0 {
        (hundredths - 100.0) / 2.0
    } else if hundredths < 500.0 {
        50.0 + (hundredths - 200.0) / 4.0
    } else {
        125.0 + (hundredths - 500.0) / 10.0
    };
    let (number, step) = ((exponent - LOWEST) as usize, step.round().max(0.0) as usize);
    match step {
        STEPS if number + 1 < DECADES => Some((number + 1, 0)),
        step => Some((number, step.min(STEPS - 1))),
    }
}

fn figure(number: usize, step: usize) -> f64 {
    let hundredths = match step {
        0..50 => 100 + 2 * step,
        50..125 => 200 + 4 * (step - 50),
        _ => 500 + 10 * (step - 125),
    };
    let exponent = (LOWEST..=HIGHEST).nth(number).unwrap_or(HIGHEST);
    scaled(hundredths as f64, exponent - 2)
}

/// Divided where that is exact, so that 30 stays 30.
fn scaled(figure: f64, tens: i32) -> f64 {
    if tens < 0 { figure / 10_f64.powi(-tens) } else { figure * 10_f64.powi(tens) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(figures: impl IntoIterator<Item = f64>) -> Histogram {
        let mut histogram = Histogram::default();
        figures.into_iter().for_each(|figure| histogram.add(figure, 1));
        histogram
    }

    #[test]
    fn percentiles_are_figures_that_occurred() {
        let both = |histogram: &Histogram| (histogram.percentile(50), histogram.percentile(95));
        assert_eq!(both(&of([])), (None, None));
        assert_eq!(both(&of([7.0])), (Some(7.0), Some(7.0)));
        assert_eq!(both(&of([3.0, 1.0, 2.0])), (Some(2.0), Some(3.0)));
        assert_eq!(both(&of((1..=100).rev().map(f64::from))), (Some(50.0), Some(95.0)));
        assert_eq!(both(&of([0.0, 0.000_1, f64::NAN])), (Some(0.0), Some(0.0)));
    }

    proptest! {
        #[test]
        fn a_figure_comes_back_within_one_per_cent(figure in 0.001_f64..1e9) {
            let told = of([figure]).percentile(50).unwrap();
            prop_assert!((told - figure).abs() <= figure * 0.010_1, "{figure} became {told}");
        }

        #[test]
        fn sums_of_parts_are_the_whole_and_survive_being_written(
            one in prop::collection::vec(0.0_f64..1e6, 0..40), other in prop::collection::vec(0.0_f64..1e6, 0..40),
        ) {
            let whole = of(one.iter().chain(&other).copied());
            let mut parts = of(one.iter().copied());
            parts.merge(&of(other.iter().copied()));
            prop_assert_eq!(&parts, &whole);
            let mut bytes = Vec::new();
            whole.encode(&mut bytes);
            let mut read = Histogram::default();
            let mut rest = bytes.as_slice();
            prop_assert_eq!(read.merge_encoded(&mut rest), Some(()));
            prop_assert!(rest.is_empty() && read == whole);
            for figure in &other {
                parts.add(*figure, -1);
            }
            prop_assert_eq!(parts.percentile(95), of(one).percentile(95), "what was counted can be taken out");
        }

        #[test]
        fn bytes_of_anything_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _told: Option<()> = Histogram::default().merge_encoded(&mut bytes.as_slice());
        }
    }
}
