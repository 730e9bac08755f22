// SPDX-License-Identifier: BSD-2-Clause
//! How long a call may take: [`Wait`] is what the caller asked for, [`Deadline`] the point on the
//! monotonic clock that all waiting of one call runs against.

use crate::{Result, ReturnCode};
use nix::poll::PollTimeout;
use std::time::{Duration, Instant};

/// The time-out of a receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until there is an answer (`TSS2_TCTI_TIMEOUT_BLOCK`, -1).
    Forever,
    /// At most so many milliseconds; 0 does not wait.
    Millis(u32),
}

impl Wait {
    /// From the time-out of the C interface, in milliseconds; below -1 is `BAD_VALUE`.
    pub fn from_c(timeout: i32) -> Result<Wait> {
        match u32::try_from(timeout) {
            Ok(millis) => Ok(Wait::Millis(millis)),
            Err(_) if timeout == -1 => Ok(Wait::Forever),
            Err(_) => Err(crate::fail!(ReturnCode::BAD_VALUE, "time-out of {timeout} ms: -1 blocks, 0 does not wait")),
        }
    }
}

impl Wait {
    /// For the C interface, in milliseconds.
    pub fn to_c(self) -> i32 {
        match self {
            Wait::Forever => -1,
            Wait::Millis(millis) => i32::try_from(millis).unwrap_or(i32::MAX),
        }
    }
}

/// When to give up waiting.
#[derive(Clone, Copy, Debug)]
pub enum Deadline {
    /// Never.
    Never,
    /// At once: look, but do not wait.
    Now,
    /// At this point of the monotonic clock.
    At(Instant),
}

impl Deadline {
    /// The deadline of a call that starts now.
    pub fn after(wait: Wait) -> Deadline {
        match wait {
            Wait::Forever => Deadline::Never,
            Wait::Millis(0) => Deadline::Now,
            Wait::Millis(millis) => Deadline::within(Duration::from_millis(millis.into())),
        }
    }

    /// So much time from now.
    pub fn within(duration: Duration) -> Deadline {
        Instant::now().checked_add(duration).map_or(Deadline::Never, Deadline::At)
    }

    /// Time left; `None` without a limit, zero when it has passed.
    pub fn remaining(&self) -> Option<Duration> {
        match self {
            Deadline::Never => None,
            Deadline::Now => Some(Duration::ZERO),
            Deadline::At(when) => Some(when.saturating_duration_since(Instant::now())),
        }
    }

    /// Whether the time is over.
    pub fn has_passed(&self) -> bool {
        self.remaining().is_some_and(|left| left.is_zero())
    }

    /// For `poll(2)`: milliseconds, rounded up so that a wait never ends early.
    pub fn poll_timeout(&self) -> PollTimeout {
        match self.remaining() {
            None => PollTimeout::NONE,
            Some(left) => {
                let millis = left.as_micros().div_ceil(1000);
                PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_minus_one_is_no_timeout() {
        assert_eq!(Wait::from_c(-1), Ok(Wait::Forever));
        assert_eq!(Wait::from_c(0), Ok(Wait::Millis(0)));
        assert_eq!(Wait::from_c(i32::MAX), Ok(Wait::Millis(0x7fff_ffff)));
        assert_eq!(Wait::from_c(-2), Err(ReturnCode::BAD_VALUE.into()));
        assert_eq!(Wait::from_c(i32::MIN), Err(ReturnCode::BAD_VALUE.into()));
    }

    #[test]
    fn a_started_wait_is_rounded_up() {
        let deadline = Deadline::within(Duration::from_micros(1_500_900));
        assert!(deadline.poll_timeout().as_millis().unwrap() >= 1500);
        assert!(!deadline.has_passed());
        assert!(Deadline::after(Wait::Millis(0)).has_passed());
        assert_eq!(Deadline::after(Wait::Forever).poll_timeout(), PollTimeout::NONE);
    }
}
