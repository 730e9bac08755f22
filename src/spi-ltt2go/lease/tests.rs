// SPDX-License-Identifier: BSD-2-Clause
//! Tests of leases, with sticks that only count how many of them exist.

use super::*;
use std::sync::mpsc::channel;
use std::thread;

/// A stick whose transfer blocks until the test lets it continue.
struct Counted {
    /// One reference per stick.
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

const ADDRESS: UsbAddress = (1, 2);

fn taken(takeover: Takeover<Counted>) -> Lease<Counted> {
    match takeover {
        Takeover::Taken(lease) => lease,
        Takeover::InUse => panic!("at work"),
        Takeover::Inherited => panic!("inherited"),
        Takeover::NotLeased => panic!("not here"),
    }
}

#[test]
fn an_idle_stick_is_taken_over_and_back() {
    let (leases, alive) = (Leases::new(), Arc::new(()));
    let mut first = leases.lease(Counted::new(&alive), ADDRESS);
    assert!(matches!(leases.take_over(ADDRESS), Takeover::InUse), "until the locality is claimed");
    assert!(first.set_at_work(false));
    assert!(matches!(leases.take_over((1, 3)), Takeover::NotLeased));
    let mut second = taken(leases.take_over(ADDRESS));
    assert_eq!((first.announce(8), second.announce(8)), (Err(Error::Busy), Ok(())));
    assert!(!first.set_at_work(true));
    assert!(matches!(leases.take_over(ADDRESS), Takeover::InUse));
    second.set_at_work(false);
    let mut first = taken(leases.take_over(ADDRESS));
    assert_eq!((first.announce(8), second.announce(8)), (Ok(()), Err(Error::Busy)));
    assert_eq!(Arc::strong_count(&alive), 2);
    drop((first, second));
    assert_eq!(Arc::strong_count(&alive), 1);
    assert!(matches!(leases.take_over(ADDRESS), Takeover::NotLeased));
}

#[test]
fn the_stick_of_a_leaked_context_is_taken_over() {
    let (leases, alive) = (Leases::new(), Arc::new(()));
    let mut lease = leases.lease(Counted::new(&alive), ADDRESS);
    lease.set_at_work(false);
    core::mem::forget(lease);
    drop(taken(leases.take_over(ADDRESS)));
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn a_takeover_does_not_wait_for_a_transfer_of_another_thread() {
    let (leases, alive) = (Leases::new(), Arc::new(()));
    let (begun, has_begun) = channel();
    let (go_on, may_go_on) = channel();
    let mut lease = leases.lease(Counted { transfer: Some((begun, may_go_on)), ..Counted::new(&alive) }, ADDRESS);
    lease.set_at_work(false);
    thread::scope(|scope| {
        scope.spawn(|| lease.announce(8).unwrap());
        has_begun.recv().unwrap();
        assert!(matches!(leases.take_over(ADDRESS), Takeover::InUse));
        go_on.send(()).unwrap();
    });
    drop(taken(leases.take_over(ADDRESS)));
}

#[test]
fn a_forked_child_does_not_release_an_inherited_stick() {
    let (leases, alive) = (Leases::new(), Arc::new(()));
    let mut lease = leases.lease(Counted::new(&alive), ADDRESS);
    lease.set_at_work(false);
    // As in a forked child.
    lock(&leases.0)[0].process = Generation::parent();
    assert!(matches!(leases.take_over(ADDRESS), Takeover::Inherited));
    assert!(matches!(leases.take_over((ADDRESS.0, ADDRESS.1 + 1)), Takeover::NotLeased), "another stick");
    assert_eq!(Arc::strong_count(&alive), 2, "it is not released");
}
