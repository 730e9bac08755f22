// SPDX-License-Identifier: BSD-2-Clause
//! Times of several subjects that had their turns one after the other, so that they share the machine's good and bad
//! moments. A ratio is formed turn by turn: [`Times::ratio`].

use std::fmt;
use std::time::{Duration, Instant};

/// Times of one subject, in microseconds, turn by turn.
#[derive(Default)]
pub(crate) struct Times(Vec<Vec<f64>>);

impl Times {
    pub(crate) fn add(&mut self, turn: impl IntoIterator<Item = Duration>) {
        self.0.push(turn.into_iter().map(|time| time.as_secs_f64() * 1e6).collect());
    }

    pub(crate) fn median(&self) -> f64 {
        quantile(self.0.concat(), 0.5)
    }

    /// The median of the turns' ratios of medians.
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

/// How long something takes.
pub(crate) fn timed<T, E>(what: impl FnOnce() -> Result<T, E>) -> Result<(Duration, T), E> {
    let start = Instant::now();
    let done = what()?;
    Ok((start.elapsed(), done))
}

/// Gives each subject its turn, so many times; who is first changes, because it matters. `turn` gets the number of the
/// subject.
pub(crate) fn alternate<E>(
    turns: usize,
    subjects: usize,
    mut turn: impl FnMut(usize) -> Result<Vec<Duration>, E>,
) -> Result<Vec<Times>, E> {
    let mut times: Vec<Times> = (0..subjects).map(|_| Times::default()).collect();
    for round in 0..turns {
        let forward: Vec<usize> = (0..subjects).collect();
        let order = if round % 2 == 0 { forward } else { forward.into_iter().rev().collect() };
        for subject in order {
            let taken = turn(subject)?;
            if let Some(times) = times.get_mut(subject) {
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
    fn a_ratio_is_that_of_neighbours() {
        // The machine became ten times as slow; what ours is to theirs stayed.
        let (ours, theirs) = (times(&[&[1, 1, 9], &[10, 10], &[10]]), times(&[&[2], &[20, 20], &[20]]));
        assert!((ours.ratio(&theirs) - 0.5).abs() < 1e-9);
        assert!((times(&[&[1, 2, 3]]).median() - 2000.0).abs() < 1e-9);
    }

    #[test]
    fn who_is_first_changes() {
        let mut order = Vec::new();
        alternate(2, 3, |subject| {
            order.push(subject);
            Ok::<_, ()>(Vec::new())
        })
        .unwrap();
        assert_eq!(order, [0, 1, 2, 2, 1, 0]);
    }
}
