// SPDX-License-Identifier: BSD-2-Clause
//! The claimed sticks of this process, [`Leases`]. Some programs, such as those of systemd, free the memory of a context
//! without Tss2_Tcti_Finalize and then open another one: the stick is still claimed, and nobody can release it. So a context
//! takes a stick over from another context of the same process, unless that has a command in progress. A context that is
//! still in use takes it back with its next command.
#![forbid(unsafe_code)]

use crate::bridge::Stick;
use rusb::{Error, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::Duration;
use tcti_core::Generation;

/// The number of the bus, and the address of the device on it.
pub(crate) type UsbAddress = (u8, u8);

/// All leases that have not ended.
pub(crate) struct Leases<S>(Mutex<Vec<Entry<S>>>);

struct Entry<S> {
    address: UsbAddress,
    /// A forked child neither takes over nor releases the sticks of its parent.
    process: Generation,
    holder: Weak<Mutex<Holder<S>>>,
}

struct Holder<S> {
    /// Absent when another context has taken it over.
    stick: Option<S>,
    at_work: bool,
}

/// The result of an attempt to take a stick over.
pub(crate) enum Takeover<S: Stick> {
    /// The stick belongs to this context now.
    Taken(Lease<S>),
    /// Another context of this process has a command in progress.
    InUse,
    /// Only a context that this process inherited has it. It is claimed by the process that opened that context.
    Inherited,
    /// No context of this process has it.
    NotLeased,
}

/// A stick, until it is released or taken over.
pub struct Lease<S: Stick> {
    holder: Arc<Mutex<Holder<S>>>,
    serial: String,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic has ended only the context in which it happened; the data is consistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Stick> Leases<S> {
    pub(crate) const fn new() -> Leases<S> {
        Leases(Mutex::new(Vec::new()))
    }

    /// Adds a stick that was just claimed. It counts as at work until the locality of the TPM is claimed.
    pub(crate) fn lease(&self, stick: S, address: UsbAddress) -> Lease<S> {
        let (serial, process) = (stick.serial().to_owned(), Generation::current());
        let holder = Arc::new(Mutex::new(Holder { stick: Some(stick), at_work: true }));
        let mut entries = lock(&self.0);
        entries.retain(|entry| entry.holder.strong_count() > 0);
        entries.push(Entry { address, process, holder: Arc::downgrade(&holder) });
        Lease { holder, serial }
    }

    /// Takes over the stick at `address`.
    pub(crate) fn take_over(&self, address: UsbAddress) -> Takeover<S> {
        let process = Generation::current();
        let at_address =
            |entry: &Entry<S>| Some((entry.process, entry.holder.upgrade().filter(|_| entry.address == address)?));
        let found: Vec<_> = lock(&self.0).iter().filter_map(at_address).collect();
        let is_inherited = found.iter().any(|(owner, _)| *owner != process);
        for (_, holder) in found.into_iter().filter(|(owner, _)| *owner == process) {
            let mut holder = match holder.try_lock() {
                Ok(holder) => holder,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                // During a transfer.
                Err(TryLockError::WouldBlock) => return Takeover::InUse,
            };
            match holder.stick.take() {
                None => {}
                stick if holder.at_work => {
                    holder.stick = stick;
                    return Takeover::InUse;
                }
                Some(stick) => {
                    drop(holder);
                    return Takeover::Taken(self.lease(stick, address));
                }
            }
        }
        if is_inherited { Takeover::Inherited } else { Takeover::NotLeased }
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
