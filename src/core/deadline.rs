// SPDX-License-Identifier: BSD-2-Clause
//! How long a call may take: [`Wait`] is the time-out that the caller passed, [`Deadline`] the point on the monotonic clock
//! that limits all waiting in that call.

use crate::{Result, ReturnCode};
use nix::poll::PollTimeout;
use std::time::{Duration, Instant};

/// The time-out of a receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Waits until the response has arrived (`TSS2_TCTI_TIMEOUT_BLOCK`, -1).
    Forever,
    /// Waits for at most this many milliseconds; 0 returns at once.
    Millis(u32),
}

impl Wait {
    /// Converts the time-out of the C interface, in milliseconds. Fails with `BAD_VALUE` below -1.
    pub fn from_c(timeout: i32) -> Result<Wait> {
        match u32::try_from(timeout) {
            Ok(millis) => Ok(Wait::Millis(millis)),
            Err(_) if timeout == -1 => Ok(Wait::Forever),
            Err(_) => Err(crate::fail!(ReturnCode::BAD_VALUE, "the time-out of {timeout} ms is less than -1")),
        }
    }

    /// Returns the time-out for the C interface, in milliseconds; longer ones become `i32::MAX`.
    pub fn to_c(self) -> i32 {
        match self {
            Wait::Forever => -1,
            Wait::Millis(millis) => i32::try_from(millis).unwrap_or(i32::MAX),
        }
    }
}

/// When to stop waiting.
#[derive(Clone, Copy, Debug)]
pub enum Deadline {
    /// Never.
    Never,
    /// At once: check, but do not wait.
    Now,
    /// At this point of the monotonic clock.
    At(Instant),
}

impl Deadline {
    /// Returns the deadline of a call that starts now.
    pub fn after(wait: Wait) -> Deadline {
        match wait {
            Wait::Forever => Deadline::Never,
            Wait::Millis(0) => Deadline::Now,
            Wait::Millis(millis) => Deadline::within(Duration::from_millis(millis.into())),
        }
    }

    /// Returns the deadline that is `duration` from now.
    pub fn within(duration: Duration) -> Deadline {
        Instant::now().checked_add(duration).map_or(Deadline::Never, Deadline::At)
    }

    /// Returns the time left: `None` without a limit, zero once the deadline has passed.
    pub fn remaining(&self) -> Option<Duration> {
        match self {
            Deadline::Never => None,
            Deadline::Now => Some(Duration::ZERO),
            Deadline::At(when) => Some(when.saturating_duration_since(Instant::now())),
        }
    }

    /// Returns whether the deadline has passed.
    pub fn has_passed(&self) -> bool {
        self.remaining().is_some_and(|left| left.is_zero())
    }

    /// Returns the time left for `poll(2)`, in milliseconds, rounded up so that a wait never ends early.
    pub fn poll_timeout(&self) -> PollTimeout {
        match self.remaining() {
            None => PollTimeout::NONE,
            Some(left) => {
                let millis = millis(left.saturating_add(Duration::from_micros(999)));
                PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
            }
        }
    }
}

/// Returns the whole milliseconds of a duration, as 64 bits: the methods of [`Duration`] calculate and print 128.
pub fn millis(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1000).saturating_add(duration.subsec_millis().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_below_minus_one_are_bad_values() {
        assert_eq!(Wait::from_c(-1), Ok(Wait::Forever));
        assert_eq!(Wait::from_c(0), Ok(Wait::Millis(0)));
        assert_eq!(Wait::from_c(i32::MAX), Ok(Wait::Millis(0x7fff_ffff)));
        assert_eq!(Wait::from_c(-2), Err(ReturnCode::BAD_VALUE.into()));
        assert_eq!(Wait::from_c(i32::MIN), Err(ReturnCode::BAD_VALUE.into()));
    }

    #[test]
    fn poll_timeouts_are_rounded_up() {
        let deadline = Deadline::within(Duration::from_micros(1_500_900));
        assert!(deadline.poll_timeout().as_millis().unwrap() >= 1500);
        assert!(!deadline.has_passed());
        assert!(Deadline::after(Wait::Millis(0)).has_passed());
        assert_eq!(Deadline::after(Wait::Forever).poll_timeout(), PollTimeout::NONE);
    }
}
