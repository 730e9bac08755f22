// SPDX-License-Identifier: BSD-2-Clause
//! The sticks of this process. Some programs free the memory of a context without Tss2_Tcti_Finalize, systemd's among
//! them, and then open the next one: the stick is still claimed, by nobody who could give it back. So a context takes a
//! stick over from another one of the same process, unless that has a command under way. One that is still alive takes
//! it back with its next command.
#![forbid(unsafe_code)]

use crate::bridge::Stick;
use rusb::{Error, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::Duration;
use tcti_core::Generation;

/// Numbers of the bus and of the device on it.
pub(crate) type Place = (u8, u8);

/// All that were not given back yet.
pub(crate) struct Leases<S>(Mutex<Vec<Entry<S>>>);

struct Entry<S> {
    place: Place,
    /// What a child inherits of a parent's contexts it neither takes over nor gives back.
    process: Generation,
    holder: Weak<Mutex<Holder<S>>>,
}

struct Holder<S> {
    /// Absent when another context took it over.
    stick: Option<S>,
    at_work: bool,
}

/// Of an attempt to take a stick over.
pub(crate) enum Takeover<S: Stick> {
    /// It is ours now.
    Taken(Lease<S>),
    /// A context of this process has a command under way on it.
    AtWork,
    /// A context has it that this process inherited, and cannot use: it is claimed by the process that opened it.
    Inherited,
    /// No context of this process has it.
    NotHere,
}

/// A stick, until it is given back or taken over.
pub struct Lease<S: Stick> {
    holder: Arc<Mutex<Holder<S>>>,
    serial: String,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere ended that context; what is in here is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Stick> Leases<S> {
    pub(crate) const fn new() -> Leases<S> {
        Leases(Mutex::new(Vec::new()))
    }

    /// Of a stick that was just claimed. It counts as at work until the TPM is claimed, too.
    pub(crate) fn lease(&self, stick: S, place: Place) -> Lease<S> {
        let (serial, process) = (stick.serial().to_owned(), Generation::current());
        let holder = Arc::new(Mutex::new(Holder { stick: Some(stick), at_work: true }));
        let mut entries = lock(&self.0);
        entries.retain(|entry| entry.holder.strong_count() > 0);
        entries.push(Entry { place, process, holder: Arc::downgrade(&holder) });
        Lease { holder, serial }
    }

    /// Takes over the stick that is at `place`.
    pub(crate) fn take_over(&self, place: Place) -> Takeover<S> {
        let process = Generation::current();
        let at_place =
            |entry: &Entry<S>| Some((entry.process, entry.holder.upgrade().filter(|_| entry.place == place)?));
        let found: Vec<_> = lock(&self.0).iter().filter_map(at_place).collect();
        let is_inherited = found.iter().any(|(owner, _)| *owner != process);
        for (_, holder) in found.into_iter().filter(|(owner, _)| *owner == process) {
            let mut holder = match holder.try_lock() {
                Ok(holder) => holder,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                // In the middle of a transfer.
                Err(TryLockError::WouldBlock) => return Takeover::AtWork,
            };
            match holder.stick.take() {
                None => {}
                stick if holder.at_work => {
                    holder.stick = stick;
                    return Takeover::AtWork;
                }
                Some(stick) => {
                    drop(holder);
                    return Takeover::Taken(self.lease(stick, place));
                }
            }
        }
        if is_inherited { Takeover::Inherited } else { Takeover::NotHere }
    }
}

impl<S: Stick> Lease<S> {
    fn with_stick<T>(&self, work: impl FnOnce(&mut S) -> Result<T>) -> Result<T> {
        lock(&self.holder).stick.as_mut().map_or(Err(Error::Busy), work)
    }
}

impl<S: Stick> Stick for Lease<S> {
    fn serial(&self) -> &str {
        &self.serial
    }

    fn announce(&mut self, count: u16) -> Result<()> {
        self.with_stick(|stick| stick.announce(count))
    }

    fn exchange(&mut self, out: &[u8], into: &mut [u8]) -> Result<usize> {
        self.with_stick(|stick| stick.exchange(out, into))
    }

    fn read(&mut self, into: &mut [u8], timeout: Duration) -> Result<usize> {
        self.with_stick(|stick| stick.read(into, timeout))
    }

    fn set_at_work(&mut self, at_work: bool) -> bool {
        let mut holder = lock(&self.holder);
        holder.at_work = at_work;
        holder.stick.is_some()
    }
}

#[cfg(test)]
mod tests;
