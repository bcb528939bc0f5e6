//! How time is taken: in interleaved rounds, so that whatever else the machine does meets everything that is compared.

use std::time::Instant;

/// What one kind of work took in each round, in nanoseconds an operation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    pub(crate) fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    pub(crate) fn median(&self) -> f64 {
        median(self.0.clone())
    }

    /// The median of the rounds' ratios. A round's works run right behind each other, so that a slow moment of the
    /// machine cancels out of its ratio.
    pub(crate) fn ratio_to(&self, other: &Self) -> f64 {
        median(self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect())
    }
}

pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    if figures.is_empty() {
        return f64::NAN;
    }
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Runs each work once a round, in an order that turns from round to round; each does `operations` of its own.
pub(crate) fn interleaved<const N: usize>(
    rounds: usize,
    operations: usize,
    mut works: [&mut dyn FnMut(); N],
) -> [Series; N] {
    let mut series: [Series; N] = std::array::from_fn(|_| Series::default());
    // A round that is not counted: caches, branch predictors and lazily made buffers are those of a program at work.
    for work in &mut works {
        work();
    }
    for round in 0..rounds {
        for turn in 0..N {
            let which = (round + turn) % N;
            series[which].push(nanos(operations, &mut works[which]));
        }
    }
    series
}

/// What `work`, which does `operations` of them, took for each, in nanoseconds.
pub(crate) fn nanos(operations: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / operations as f64
}

/// What reading the clock twice takes, in nanoseconds: taken off operations that are timed one by one.
pub(crate) fn clock_nanos() -> f64 {
    median((0..10_001).map(|_| nanos(1, || ())).collect())
}

/// Times each operation by itself, the clock's own cost taken off.
pub(crate) fn timed(count: usize, clock: f64, mut operation: impl FnMut()) -> Vec<f64> {
    (0..count).map(|_| (nanos(1, &mut operation) - clock).max(1.0)).collect()
}

/// The 99th percentile and the mean.
pub(crate) fn tail(figures: &[f64]) -> (f64, f64) {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let p99 = sorted[(sorted.len() * 99 / 100).min(sorted.len() - 1)];
    (p99, sorted.iter().sum::<f64>() / sorted.len() as f64)
}

/// p99 and mean of every tenth of the samples: the median of the tenths' figures is not moved by one bad moment.
pub(crate) fn tails(figures: &[f64]) -> (Series, Series) {
    let (mut p99s, mut means) = (Series::default(), Series::default());
    for chunk in figures.chunks((figures.len() / 10).max(1)) {
        let (p99, mean) = tail(chunk);
        p99s.push(p99);
        means.push(mean);
    }
    (p99s, means)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_work_runs_once_a_round_and_once_to_warm_up() {
        let (mut a, mut b) = (0, 0);
        let series = interleaved(5, 1, [&mut || a += 1, &mut || b += 1]);
        assert_eq!(series.map(|s| s.0.len()), [5, 5]);
        assert_eq!((a, b), (6, 6));
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let (slow, fast) = (Series(vec![2.0, 20.0, 200.0]), Series(vec![1.0, 10.0, 100.0]));
        assert_eq!((slow.ratio_to(&fast), slow.median()), (2.0, 20.0));
    }

    #[test]
    fn the_tail_is_that_of_one_in_a_hundred() {
        let mut figures = vec![1.0; 985];
        figures.extend([100.0; 15]);
        assert_eq!(tail(&figures).0, 100.0);
    }
}
