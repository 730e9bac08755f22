// SPDX-License-Identifier: BSD-2-Clause
//! The sticks of this process. Some programs free the memory of a context without Tss2_Tcti_Finalize, systemd's among
//! them, and then open the next one: the stick is still claimed, by nobody who could give it back. So a context takes a
//! stick over from another one of the same process, unless that has a command under way. One that is still alive takes
//! it back with its next command.
#![forbid(unsafe_code)]

use crate::bridge::Stick;
use crate::stick::UsbStick;
use rusb::{Error, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// All that were not given back yet.
static LEASES: Mutex<Vec<Weak<Mutex<Holder>>>> = Mutex::new(Vec::new());

/// Numbers of the bus and of the device on it.
pub(crate) type Place = (u8, u8);

struct Holder {
    /// Absent when another context took it over.
    stick: Option<UsbStick>,
    place: Place,
    at_work: bool,
}

/// A stick, until it is given back or taken over.
pub(crate) struct Lease {
    holder: Arc<Mutex<Holder>>,
    serial: String,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere ended that context; what is in here is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lease {
    /// Of a stick that was just claimed. It counts as at work until the TPM is claimed, too.
    pub(crate) fn new(stick: UsbStick, place: Place) -> Lease {
        let serial = stick.serial().to_owned();
        let holder = Arc::new(Mutex::new(Holder { stick: Some(stick), place, at_work: true }));
        let mut leases = lock(&LEASES);
        leases.retain(|lease| lease.strong_count() > 0);
        leases.push(Arc::downgrade(&holder));
        Lease { holder, serial }
    }

    /// Takes the stick at `place` over; `None` when no context of this process has it without a command under way.
    pub(crate) fn take_over(place: Place) -> Option<Lease> {
        let holders: Vec<_> = lock(&LEASES).iter().filter_map(Weak::upgrade).collect();
        let stick = holders.iter().find_map(|holder| {
            let mut holder = lock(holder);
            if holder.place == place && !holder.at_work { holder.stick.take() } else { None }
        });
        stick.map(|stick| Lease::new(stick, place))
    }

    fn with_stick<T>(&self, work: impl FnOnce(&mut UsbStick) -> Result<T>) -> Result<T> {
        lock(&self.holder).stick.as_mut().map_or(Err(Error::Busy), work)
    }
}

impl Stick for Lease {
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

    fn is_ours(&self) -> bool {
        lock(&self.holder).stick.is_some()
    }

    fn at_work(&mut self, at_work: bool) {
        lock(&self.holder).at_work = at_work;
    }
}
