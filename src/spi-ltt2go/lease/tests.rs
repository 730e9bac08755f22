// SPDX-License-Identifier: BSD-2-Clause
//! Who has a stick, with sticks that only know how many of them there are.

use super::*;
use std::sync::mpsc::channel;
use std::thread;

/// A stick that waits in the middle of a transfer until it may go on.
struct Counted {
    /// One for each that lives.
    alive: Arc<()>,
    transfer: Option<(std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<()>)>,
}

impl Counted {
    fn new(alive: &Arc<()>) -> Counted {
        Counted { alive: Arc::clone(alive), transfer: None }
    }
}

impl Stick for Counted {
    fn serial(&self) -> &str {
        "1"
    }

    fn announce(&mut self, _count: u16) -> Result<()> {
        if let Some((begun, go_on)) = &self.transfer {
            begun.send(()).unwrap();
            go_on.recv().unwrap();
        }
        assert!(Arc::strong_count(&self.alive) > 1);
        Ok(())
    }

    fn exchange(&mut self, _out: &[u8], _into: &mut [u8]) -> Result<usize> {
        Err(Error::NotSupported)
    }

    fn read(&mut self, _into: &mut [u8], _timeout: Duration) -> Result<usize> {
        Err(Error::NotSupported)
    }

    fn set_at_work(&mut self, _at_work: bool) -> bool {
        true
    }
}

const HERE: Place = (1, 2);

fn taken(takeover: Takeover<Counted>) -> Lease<Counted> {
    match takeover {
        Takeover::Taken(lease) => lease,
        Takeover::AtWork => panic!("at work"),
        Takeover::Inherited => panic!("inherited"),
        Takeover::NotHere => panic!("not here"),
    }
}

#[test]
fn a_stick_at_rest_is_taken_over_and_back() {
    let (leases, alive) = (Leases::new(), Arc::new(()));
    let mut first = leases.lease(Counted::new(&alive), HERE);
    assert!(matches!(leases.take_over(HERE), Takeover::AtWork), "until the TPM is claimed");
    assert!(first.set_at_work(false));
    assert!(matches!(leases.take_over((1, 3)), Takeover::NotHere));
    let mut second = taken(leases.take_over(HERE));
    assert_eq!((first.announce(8), second.announce(8)), (Err(Error::Busy), Ok(())));
    assert!(!first.set_at_work(true));
    assert!(matches!(leases.take_over(HERE), Takeover::AtWork));
    second.set_at_work(false);
    let mut first = taken(leases.take_over(HERE));
    assert_eq!((first.announce(8), second.announce(8)), (Ok(()), Err(Error::Busy)));
    assert_eq!(Arc::strong_count(&alive), 2);
    drop((first, second));
    assert_eq!(Arc::strong_count(&alive), 1);
    assert!(matches!(leases.take_over(HERE), Takeover::NotHere));
}

#[test]
fn what_was_forgotten_is_found() {
    let (leases, alive) = (Leases::new(), Arc::new(()));
    let mut lease = leases.lease(Counted::new(&alive), HERE);
    lease.set_at_work(false);
    core::mem::forget(lease);
    drop(taken(leases.take_over(HERE)));
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn nobody_waits_for_a_transfer_of_another_thread() {
    let (leases, alive) = (Leases::new(), Arc::new(()));
    let (begun, has_begun) = channel();
    let (go_on, may_go_on) = channel();
    let mut lease = leases.lease(Counted { transfer: Some((begun, may_go_on)), ..Counted::new(&alive) }, HERE);
    lease.set_at_work(false);
    thread::scope(|scope| {
        scope.spawn(|| lease.announce(8).unwrap());
        has_begun.recv().unwrap();
        assert!(matches!(leases.take_over(HERE), Takeover::AtWork));
        go_on.send(()).unwrap();
    });
    drop(taken(leases.take_over(HERE)));
}

#[test]
fn a_child_process_leaves_alone_what_it_inherited() {
    let (leases, alive) = (Leases::new(), Arc::new(()));
    let mut lease = leases.lease(Counted::new(&alive), HERE);
    lease.set_at_work(false);
    // As a child sees it.
    lock(&leases.0)[0].process = Generation::parent();
    assert!(matches!(leases.take_over(HERE), Takeover::Inherited));
    assert!(matches!(leases.take_over((HERE.0, HERE.1 + 1)), Takeover::NotHere), "another stick");
    assert_eq!(Arc::strong_count(&alive), 2, "it is not given back");
}
