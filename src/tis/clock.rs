// SPDX-License-Identifier: BSD-2-Clause
//! The clock of a platform, with a sleep and one timer, and [`Backoff`] for loops that poll a register.

use std::time::Duration;
use tcti_core::{Deadline, Result, Wait};

/// The clock of a bus. It has one timer; starting it again replaces the earlier start.
pub trait Clock {
    /// Sleeps for `millis` milliseconds.
    fn sleep(&mut self, millis: u32) -> Result<()>;
    /// Starts the timer, which expires after `millis` milliseconds.
    fn start_timer(&mut self, millis: u32) -> Result<()>;
    /// Returns whether the timer has expired.
    fn timer_expired(&mut self) -> Result<bool>;
}

/// The clock of the system.
pub struct SystemClock {
    timer: Deadline,
}

impl SystemClock {
    /// Returns a clock whose timer is not started.
    pub const fn new() -> SystemClock {
        SystemClock { timer: Deadline::Never }
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn sleep(&mut self, millis: u32) -> Result<()> {
        std::thread::sleep(Duration::from_millis(millis.into()));
        Ok(())
    }

    fn start_timer(&mut self, millis: u32) -> Result<()> {
        self.timer = Deadline::after(Wait::Millis(millis));
        Ok(())
    }

    fn timer_expired(&mut self) -> Result<bool> {
        Ok(self.timer.has_passed())
    }
}

/// The longest pause between two reads of a register, in milliseconds.
const MAX_PAUSE: u32 = 4;

/// The pauses of a polling loop: 0 ms, 1 ms, then twice as long each time, up to [`MAX_PAUSE`]. The loop ends when the timer
/// expires, or when it has slept for its time-out, so that it ends even if the timer never expires.
pub(crate) struct Backoff {
    wait: Wait,
    pause: u32,
    /// Milliseconds slept so far; `None` before the timer is started.
    slept: Option<u32>,
}

impl Backoff {
    /// Begins a loop. The timer is not started before the first pause.
    pub(crate) const fn new(wait: Wait) -> Backoff {
        Backoff { wait, pause: 0, slept: None }
    }

    /// Pauses, and returns the milliseconds slept; `None` when the time is over.
    pub(crate) fn pause(&mut self, clock: &mut dyn Clock) -> Result<Option<u32>> {
        let pause = match (self.wait, self.slept) {
            (Wait::Forever, _) => self.pause,
            (Wait::Millis(0), _) => return Ok(None),
            (Wait::Millis(millis), None) => {
                clock.start_timer(millis)?;
                self.pause
            }
            (Wait::Millis(millis), Some(slept)) => match millis.saturating_sub(slept) {
                0 => return Ok(None),
                _ if clock.timer_expired()? => return Ok(None),
                left => self.pause.min(left),
            },
        };
        if pause > 0 {
            clock.sleep(pause)?;
        }
        self.slept = Some(self.slept.unwrap_or_default().saturating_add(pause));
        self.pause = (self.pause * 2).clamp(1, MAX_PAUSE);
        Ok(Some(pause))
    }

    /// Restarts with the shortest pause, after progress.
    pub(crate) fn reset(&mut self) {
        self.pause = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that records its calls; the test expires its timer.
    #[derive(Default)]
    struct Recorder {
        sleeps: Vec<u32>,
        started: Vec<u32>,
        expired: bool,
    }

    impl Clock for Recorder {
        fn sleep(&mut self, millis: u32) -> Result<()> {
            self.sleeps.push(millis);
            Ok(())
        }

        fn start_timer(&mut self, millis: u32) -> Result<()> {
            self.started.push(millis);
            Ok(())
        }

        fn timer_expired(&mut self) -> Result<bool> {
            Ok(self.expired)
        }
    }

    #[test]
    fn pauses_grow_to_four_milliseconds_and_add_up_to_the_time_out() {
        let mut clock = Recorder::default();
        let mut backoff = Backoff::new(Wait::Millis(20));
        while backoff.pause(&mut clock).unwrap().is_some() {}
        assert_eq!(clock.sleeps, [1, 2, 4, 4, 4, 4, 1]);
        assert_eq!(clock.started, [20]);
    }

    #[test]
    fn the_timer_ends_the_loop() {
        let mut clock = Recorder::default();
        let mut backoff = Backoff::new(Wait::Millis(1000));
        assert_eq!(backoff.pause(&mut clock), Ok(Some(0)));
        assert_eq!(backoff.pause(&mut clock), Ok(Some(1)));
        clock.expired = true;
        assert_eq!(backoff.pause(&mut clock), Ok(None));
    }

    #[test]
    fn a_time_out_of_0_does_not_use_the_clock() {
        let mut clock = Recorder::default();
        assert_eq!(Backoff::new(Wait::Millis(0)).pause(&mut clock), Ok(None));
        assert!(clock.started.is_empty() && clock.sleeps.is_empty());
    }

    #[test]
    fn the_system_clock_has_a_timer() {
        let mut clock = SystemClock::default();
        assert_eq!(clock.timer_expired(), Ok(false));
        clock.start_timer(60_000).unwrap();
        assert_eq!(clock.timer_expired(), Ok(false));
        clock.start_timer(0).unwrap();
        assert_eq!(clock.timer_expired(), Ok(true));
    }
}
