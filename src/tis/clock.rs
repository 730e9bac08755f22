// SPDX-License-Identifier: BSD-2-Clause
//! Time, as a platform gives it: a sleep and one timer. [`Backoff`] makes loops of it that end.

use std::time::Duration;
use tcti_core::{Deadline, Result, Wait};

/// The clock of a bus. It has one timer; starting it again forgets the earlier start.
pub trait Clock {
    /// Sleeps so many milliseconds.
    fn sleep(&mut self, millis: u32) -> Result<()>;
    /// Starts the timer, which expires in so many milliseconds.
    fn start_timer(&mut self, millis: u32) -> Result<()>;
    /// Whether the timer has expired.
    fn timer_expired(&mut self) -> Result<bool>;
}

/// The clock of the system.
pub struct SystemClock {
    timer: Deadline,
}

impl SystemClock {
    /// A clock whose timer is not started.
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

/// Longest pause between two looks at a register, in milliseconds.
const MAX_PAUSE: u32 = 4;

/// How long a loop goes on, and how long it pauses between two looks: not at all, then longer and longer. It ends with
/// the timer, or when it has slept as long as it may, so that a clock that stands still holds nobody.
pub(crate) struct Backoff {
    wait: Wait,
    pause: u32,
    /// Milliseconds slept so far; `None` before the timer is started.
    slept: Option<u32>,
}

impl Backoff {
    /// For a loop that starts now. The timer is not touched before the first pause.
    pub(crate) const fn new(wait: Wait) -> Backoff {
        Backoff { wait, pause: 0, slept: None }
    }

    /// Pauses, and gives the milliseconds slept; `None` when the time is over.
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

    /// Something came: the next look may be soon.
    pub(crate) fn hurry(&mut self) {
        self.pause = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that notes what it is asked; its timer expires when it is told to.
    #[derive(Default)]
    struct Notes {
        sleeps: Vec<u32>,
        started: Vec<u32>,
        expired: bool,
    }

    impl Clock for Notes {
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
    fn pauses_grow_to_a_few_milliseconds_and_add_up_to_the_wait() {
        let mut clock = Notes::default();
        let mut patience = Backoff::new(Wait::Millis(20));
        while patience.pause(&mut clock).unwrap().is_some() {}
        assert_eq!(clock.sleeps, [1, 2, 4, 4, 4, 4, 1]);
        assert_eq!(clock.started, [20]);
    }

    #[test]
    fn the_timer_ends_the_wait() {
        let mut clock = Notes::default();
        let mut patience = Backoff::new(Wait::Millis(1000));
        assert_eq!(patience.pause(&mut clock), Ok(Some(0)));
        assert_eq!(patience.pause(&mut clock), Ok(Some(1)));
        clock.expired = true;
        assert_eq!(patience.pause(&mut clock), Ok(None));
    }

    #[test]
    fn no_wait_asks_no_clock() {
        let mut clock = Notes::default();
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
