// SPDX-License-Identifier: BSD-2-Clause
//! The file descriptor that a program polls, the same for the life of a context: [`PollSet`], an epoll instance that becomes
//! readable when receive would not wait. The session points it at the current connection.

use crate::deadline::Deadline;
use crate::io::{above_stdio, wait_for};
use crate::sys::epoll_ctl;
use crate::transport::PollHandle;
use crate::{Result, ReturnCode};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc::{EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, POLLIN};
use nix::poll::PollFlags;
use nix::sys::epoll::{Epoll, EpollCreateFlags};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::dup3;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_gettime,
    timerfd_settime,
};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// The event that is watched for.
const EPOLLIN: u32 = libc::EPOLLIN as u32;
/// How many descriptors one response may have. Our transports have one; pcap watches those of any other TCTI.
const MAX_WATCHED: usize = 8;

/// An epoll instance with the descriptors that become readable when the response arrives, or, while no response is due, with
/// one that is always readable.
pub(crate) struct PollSet {
    epoll: OwnedFd,
    always: AlwaysReadable,
    watched: [Option<RawFd>; MAX_WATCHED],
}

impl PollSet {
    /// Creates a set that is readable. Fails with `IO_ERROR` if the process cannot open two more file descriptors.
    pub(crate) fn new() -> Result<PollSet> {
        let new = || {
            let epoll = above_stdio(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?.0)?;
            let set = PollSet { epoll, always: AlwaysReadable::new()?, watched: [None; MAX_WATCHED] };
            epoll_ctl(&set.epoll, EPOLL_CTL_ADD, set.always.number(), EPOLLIN)?;
            Ok(set)
        };
        new().map_err(|error: io::Error| {
            crate::fail!(ReturnCode::IO_ERROR, "cannot create a file descriptor to poll: {error}")
        })
    }

    /// Returns the entry for `poll(2)`.
    pub(crate) fn handle(&self) -> PollHandle {
        PollHandle { fd: self.epoll.as_raw_fd(), events: POLLIN, revents: 0 }
    }

    /// Returns the set unless the host has closed its file descriptors, whose numbers may belong to other files by now: then
    /// it forgets the set.
    pub(crate) fn checked(set: &mut Option<PollSet>) -> Option<&mut PollSet> {
        mem::forget(set.take_if(|set| !set.is_ours()));
        set.as_mut()
    }

    /// Watches the file descriptors that `list` passes to its argument. If one of them cannot be watched, or it passes nothing,
    /// the set is readable at once.
    pub(crate) fn watch(&mut self, list: impl FnOnce(&mut dyn FnMut(RawFd)) -> Result<()>) {
        let mut all = true;
        let listed = list(&mut |fd| all &= self.add(fd));
        if listed.is_err() || !all {
            self.unwatch();
        }
        let _ = self.update();
    }

    /// Removes the watched file descriptors, before they may be closed: a copy in a forked process would keep a closed one in
    /// the set. A thread that polls meanwhile waits for the next [`watch`](PollSet::watch) or [`checked`](PollSet::checked).
    pub(crate) fn unwatch(&mut self) {
        for fd in self.watched.iter_mut().filter_map(Option::take) {
            let _ = epoll_ctl(&self.epoll, EPOLL_CTL_DEL, fd, 0);
        }
    }

    /// Replaces the epoll instance in a forked process, where it is still that of the parent process, under the same number.
    /// Forgets the set if the host has closed it or the system denies a new one.
    pub(crate) fn after_fork(set: &mut Option<PollSet>) {
        mem::forget(set.take_if(|set| !set.separate()));
    }

    fn separate(&mut self) -> bool {
        // To add what is in the set already changes nothing, in particular not for the parent.
        let added = epoll_ctl(&self.epoll, EPOLL_CTL_ADD, self.always.number(), 0);
        if added.is_ok() {
            let _ = epoll_ctl(&self.epoll, EPOLL_CTL_DEL, self.always.number(), 0);
        }
        if added != Err(Errno::EEXIST) || !self.always.is_ours() {
            return false;
        }
        let Ok(new) = PollSet::new() else { return false };
        let is_replaced = dup3(&new.epoll, &mut self.epoll, OFlag::O_CLOEXEC).is_ok();
        (self.always, self.watched) = (new.always, new.watched);
        is_replaced
    }

    /// Gives the number of a file descriptor of the set to another file, as after the host has closed it. Returns the number.
    #[cfg(test)]
    pub(crate) fn lose(&mut self, other: impl Into<OwnedFd>) -> RawFd {
        self.always.timer = other.into();
        self.always.number()
    }

    fn add(&mut self, fd: RawFd) -> bool {
        let Some(free) = self.watched.iter_mut().find(|watched| watched.is_none()) else { return false };
        let added = epoll_ctl(&self.epoll, EPOLL_CTL_ADD, fd, EPOLLIN).is_ok();
        if added {
            *free = Some(fd);
        }
        added
    }

    /// Makes the set readable if nothing is watched. Fails if the host has closed one of the two file descriptors.
    fn update(&self) -> nix::Result<()> {
        let is_idle = self.watched.iter().all(Option::is_none);
        epoll_ctl(&self.epoll, EPOLL_CTL_MOD, self.always.number(), if is_idle { EPOLLIN } else { 0 })
    }

    /// Returns whether the numbers still belong to the files of this set. An epoll instance of the host does not contain our
    /// timer.
    fn is_ours(&self) -> bool {
        self.always.is_ours() && self.update().is_ok()
    }
}

/// How long the timer may take to expire. It takes microseconds.
const EXPIRY_TIMEOUT: Duration = Duration::from_secs(1);
/// Longer than any timer that a program waits for.
const DECADES: Duration = Duration::from_secs(1 << 30);

/// An expired timer, which is readable until somebody reads it (timerfd_create(2)). Nobody does, and its interval, which
/// no other timer has, identifies it.
struct AlwaysReadable {
    timer: OwnedFd,
    interval: Timespec,
}

impl AlwaysReadable {
    fn new() -> io::Result<AlwaysReadable> {
        let timer = above_stdio(timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?)?;
        let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        let interval = Timespec::try_from(now + DECADES).map_err(|_| Errno::EOVERFLOW)?;
        let long_ago = Timespec { tv_sec: 0, tv_nsec: 1 };
        let expired = Itimerspec { it_interval: interval, it_value: long_ago };
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &expired)?;
        // The kernel expires it in an interrupt, which may come a little later.
        if !wait_for(timer.as_fd(), PollFlags::POLLIN, &Deadline::within(EXPIRY_TIMEOUT)).is_ok_and(|expired| expired) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(AlwaysReadable { timer, interval })
    }

    fn number(&self) -> RawFd {
        self.timer.as_raw_fd()
    }

    fn is_ours(&self) -> bool {
        timerfd_gettime(&self.timer).is_ok_and(|timer| timer.it_interval == self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{is_ready, polled};
    use nix::sys::eventfd::EventFd;
    use std::fs::read_link;

    #[test]
    fn what_cannot_be_watched_is_readable() {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let pipes: Vec<_> = (0..=MAX_WATCHED).map(|_| nix::unistd::pipe().unwrap()).collect();
        let many: Vec<RawFd> = pipes.iter().map(|(reader, _)| reader.as_raw_fd()).collect();
        let cases = [
            (vec![polled()], false),
            (many[1..].to_vec(), false),
            (many, true),
            (vec![], true),
            (vec![polled(), file.as_raw_fd()], true),
            (vec![polled(), -1], true),
        ];
        let mut set = PollSet::new().unwrap();
        let handle = set.handle();
        assert!(handle.fd > 2 && is_ready(&mut [handle]), "a new set is readable");
        for (fds, readable) in cases {
            set.watch(|watch| {
                fds.iter().copied().for_each(watch);
                Ok(())
            });
            assert_eq!(is_ready(&mut [handle]), readable, "{fds:?}");
            set.unwatch();
            assert_eq!(is_ready(&mut [handle]), readable, "{fds:?} during a call");
        }
        set.watch(|watch| {
            watch(polled());
            Err(ReturnCode::IO_ERROR.into())
        });
        assert!(is_ready(&mut [handle]));
    }

    #[test]
    fn numbers_that_belong_to_other_files_are_neither_used_nor_closed() {
        // As after the host has closed descriptors and their numbers were reused: for an event loop, for a set of another
        // context, or in part.
        let host = || {
            let set = PollSet::new().unwrap();
            let event: OwnedFd = EventFd::new().unwrap().into();
            epoll_ctl(&set.epoll, EPOLL_CTL_ADD, event.as_raw_fd(), EPOLLIN).unwrap();
            (set, event)
        };
        let (mut loops, mut events, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for forked in [false, true] {
            for case in 0..4 {
                let mut set = PollSet::new().unwrap();
                set.watch(|watch| {
                    watch(polled());
                    Ok(())
                });
                let (mut other, event) = host();
                if case != 1 {
                    mem::swap(&mut set.epoll, &mut other.epoll);
                }
                match case {
                    0 => {}
                    1 | 2 => mem::swap(&mut set.always.timer, &mut other.always.timer),
                    _ => set.always.timer = event.try_clone().unwrap(),
                }
                let numbers = [set.epoll.as_raw_fd(), set.always.number()];
                let open = || numbers.map(|fd| read_link(format!("/proc/self/fd/{fd}")).unwrap());
                let before = (open(), is_ready(&mut [set.handle()]));
                let (handle, mut set) = (set.handle(), Some(set));
                match forked {
                    true => PollSet::after_fork(&mut set),
                    false => assert!(PollSet::checked(&mut set).is_none(), "case {case}"),
                }
                assert!(set.is_none(), "case {case}");
                assert_eq!((open(), is_ready(&mut [handle])), before, "case {case}");
                loops.push(other.epoll);
                others.push(other.always.timer);
                events.push(event);
            }
        }
    }
}
