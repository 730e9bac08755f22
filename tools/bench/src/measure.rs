// SPDX-License-Identifier: BSD-2-Clause
//! Measures several contenders that take turns, so that changes in the speed of the machine affect all of them. Ratios are computed
//! turn by turn: [`Times::ratio`].

use std::fmt;
use std::time::{Duration, Instant};

/// Times of one contender in microseconds, grouped by turn.
#[derive(Default)]
pub(crate) struct Times(Vec<Vec<f64>>);

impl Times {
    /// Adds the times of a turn.
    pub(crate) fn add(&mut self, turn: impl IntoIterator<Item = Duration>) {
        self.0.push(turn.into_iter().map(|time| time.as_secs_f64() * 1e6).collect());
    }

    /// Returns the median of all times in microseconds.
    pub(crate) fn median(&self) -> f64 {
        quantile(self.0.concat(), 0.5)
    }

    /// Computes the ratio of the medians for each turn, and returns the median of these ratios.
    pub(crate) fn ratio(&self, other: &Times) -> f64 {
        let of_turn =
            |(ours, theirs): (&Vec<f64>, &Vec<f64>)| quantile(ours.clone(), 0.5) / quantile(theirs.clone(), 0.5);
        quantile(self.0.iter().zip(&other.0).map(of_turn).collect(), 0.5)
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} ({:.1})", self.median(), quantile(self.0.concat(), 0.99))
    }
}

fn quantile(mut numbers: Vec<f64>, part: f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let index = numbers.len().saturating_sub(1) as f64 * part;
    numbers.get(index as usize).copied().unwrap_or(f64::NAN)
}

/// Measures how long a closure takes.
pub(crate) fn timed<T, E>(run: impl FnOnce() -> Result<T, E>) -> Result<(Duration, T), E> {
    let start = Instant::now();
    let value = run()?;
    Ok((start.elapsed(), value))
}

/// Lets contenders take turns and returns the times of each. `turn` measures one turn of the contender with the given index. The
/// order alternates between forward and backward, because the position in a round affects the results.
pub(crate) fn alternate<E>(
    turns: usize,
    contenders: usize,
    mut turn: impl FnMut(usize) -> Result<Vec<Duration>, E>,
) -> Result<Vec<Times>, E> {
    let mut times: Vec<Times> = (0..contenders).map(|_| Times::default()).collect();
    for round in 0..turns {
        let forward: Vec<usize> = (0..contenders).collect();
        let order = if round % 2 == 0 { forward } else { forward.into_iter().rev().collect() };
        for contender in order {
            let taken = turn(contender)?;
            if let Some(times) = times.get_mut(contender) {
                times.add(taken);
            }
        }
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(turns: &[&[u64]]) -> Times {
        let mut times = Times::default();
        turns.iter().for_each(|turn| times.add(turn.iter().map(|millis| Duration::from_millis(*millis))));
        times
    }

    #[test]
    fn ratios_are_computed_turn_by_turn() {
        // The machine became ten times slower, but the ratio did not change.
        let (ours, theirs) = (times(&[&[1, 1, 9], &[10, 10], &[10]]), times(&[&[2], &[20, 20], &[20]]));
        assert!((ours.ratio(&theirs) - 0.5).abs() < 1e-9);
        assert!((times(&[&[1, 2, 3]]).median() - 2000.0).abs() < 1e-9);
    }

    #[test]
    fn the_order_alternates() {
        let mut order = Vec::new();
        alternate(2, 3, |contender| {
            order.push(contender);
            Ok::<_, ()>(Vec::new())
        })
        .unwrap();
        assert_eq!(order, [0, 1, 2, 2, 1, 0]);
    }
}
