// SPDX-License-Identifier: BSD-2-Clause
//! Tests the boundary as a C program uses it: every invalid pointer, and every stage in the life of a context.

#![expect(clippy::multiple_unsafe_ops_per_block, reason = "many calls with one justification")]

use super::*;
use core::ffi::CStr;
use core::mem::offset_of;
use core::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_CONTEXT_COMMON_V1, TSS2_TCTI_CONTEXT_COMMON_V2};
use tcti_core::testing::{GET_RANDOM, OK, Scripted};
use tcti_core::{Inheritance, Module, Progress, Result, ReturnCode, RxBuf, Transport, Wait};

const GARBAGE: u64 = 0xa5a5_a5a5_a5a5_a5a5;

/// The memory of a caller, initially filled with garbage.
struct Caller(Box<[u64; CONTEXT_SIZE.div_ceil(8)]>);

impl Caller {
    fn memory() -> Caller {
        Caller(Box::new([GARBAGE; CONTEXT_SIZE.div_ceil(8)]))
    }

    fn open(conf: Option<&CStr>) -> (Caller, TSS2_RC) {
        let mut caller = Caller::memory();
        let mut size = CONTEXT_SIZE;
        // SAFETY: `caller` has CONTEXT_SIZE bytes.
        let rc = unsafe { init::<Scripted>(caller.ctx(), &mut size, conf.map_or(null(), CStr::as_ptr)) };
        (caller, rc)
    }

    fn ctx(&mut self) -> *mut TSS2_TCTI_CONTEXT {
        self.0.as_mut_ptr().cast()
    }

    fn head(&mut self) -> TSS2_TCTI_CONTEXT_COMMON_V2 {
        // SAFETY: Init has written a head at the start of the memory, or has zeroed it, which is a valid head, too.
        unsafe { self.ctx().cast::<TSS2_TCTI_CONTEXT_COMMON_V2>().read() }
    }

    fn transmit(&mut self, size: usize, command: *const u8) -> TSS2_RC {
        let transmit = self.head().v1.transmit.unwrap();
        // SAFETY: the test passes a context that Init has filled, and valid pointers or NULL.
        unsafe { transmit(self.ctx(), size, command) }
    }

    fn receive(&mut self, size: *mut usize, response: *mut u8, timeout: i32) -> TSS2_RC {
        let receive = self.head().v1.receive.unwrap();
        // SAFETY: the test passes a context that Init has filled, and valid pointers or NULL.
        unsafe { receive(self.ctx(), size, response, timeout) }
    }

    fn finalize(&mut self) {
        let finalize = self.head().v1.finalize.unwrap();
        // SAFETY: the test passes a context that Init has filled, and valid pointers or NULL.
        unsafe { finalize(self.ctx()) }
    }
}

fn code(rc: ReturnCode) -> TSS2_RC {
    rc.to_c()
}

#[test]
fn init_without_a_context_returns_the_size() {
    let mut size = 0;
    // SAFETY: the test passes no memory.
    assert_eq!(unsafe { init::<Scripted>(null_mut(), &mut size, null()) }, 0);
    let expected = match (size_of::<usize>(), align_of::<u64>()) {
        (8, _) => 96,
        (_, 8) => 64,
        _ => 52,
    };
    assert_eq!(size, expected);
    // SAFETY: the test passes no memory.
    assert_eq!(unsafe { init::<Scripted>(null_mut(), null_mut(), null()) }, code(ReturnCode::BAD_VALUE));
}

#[test]
fn init_rejects_memory_that_cannot_hold_a_context() {
    let mut caller = Caller::memory();
    let mut size = CONTEXT_SIZE - 1;
    // SAFETY: `caller` has more bytes than `size` states.
    assert_eq!(unsafe { init::<Scripted>(caller.ctx(), &mut size, null()) }, code(ReturnCode::BAD_VALUE));
    // SAFETY: `caller` has CONTEXT_SIZE bytes.
    assert_eq!(unsafe { init::<Scripted>(caller.ctx(), null_mut(), null()) }, code(ReturnCode::BAD_VALUE));
    size = CONTEXT_SIZE;
    // SAFETY: Init does not write to misaligned memory.
    let rc = unsafe { init::<Scripted>(caller.ctx().byte_add(1), &mut size, null()) };
    assert_eq!(rc, code(ReturnCode::BAD_VALUE));
    assert!(caller.0.iter().all(|word| *word == GARBAGE), "unchanged");
}

#[test]
fn a_failed_init_leaves_zeroed_memory() {
    let (caller, rc) = Caller::open(Some(c"nonsense"));
    assert_eq!(rc, code(ReturnCode::BAD_VALUE));
    assert!(caller.0.iter().flat_map(|word| word.to_ne_bytes()).take(CONTEXT_SIZE).all(|byte| byte == 0));
}

#[test]
fn the_functions_in_the_context_exchange_a_command() {
    let (mut caller, rc) = Caller::open(None);
    assert_eq!(rc, 0);
    assert_eq!(caller.head().v1.version, 2);
    for _ in 0..2 {
        assert_eq!(caller.transmit(GET_RANDOM.len(), GET_RANDOM.as_ptr()), 0);
        let mut size = 0;
        assert_eq!(caller.receive(&mut size, null_mut(), -1), 0);
        assert_eq!(size, OK.len());
        let mut response = [0; 64];
        size = OK.len() - 1;
        assert_eq!(caller.receive(&mut size, response.as_mut_ptr(), -1), code(ReturnCode::INSUFFICIENT_BUFFER));
        assert_eq!((size, response), (OK.len(), [0; 64]));
        size = response.len();
        assert_eq!(caller.receive(&mut size, response.as_mut_ptr(), 0), 0);
        assert_eq!(&response[..size], OK);
    }
    caller.finalize();
}

#[test]
fn null_is_a_bad_reference_and_a_foreign_context_a_bad_context() {
    let (mut caller, _) = Caller::open(None);
    let head = caller.head();
    let mut size = 64;
    let mut response = [0; 64];
    assert_eq!(caller.transmit(12, null()), code(ReturnCode::BAD_REFERENCE));
    assert_eq!(caller.receive(null_mut(), response.as_mut_ptr(), 0), code(ReturnCode::BAD_REFERENCE));
    // SAFETY: the functions accept NULL.
    unsafe {
        assert_eq!(head.v1.transmit.unwrap()(null_mut(), 12, GET_RANDOM.as_ptr()), code(ReturnCode::BAD_REFERENCE));
        assert_eq!(head.v1.receive.unwrap()(null_mut(), &mut size, null_mut(), 0), code(ReturnCode::BAD_REFERENCE));
        assert_eq!(head.v1.cancel.unwrap()(null_mut()), code(ReturnCode::BAD_REFERENCE));
        assert_eq!(head.v1.setLocality.unwrap()(null_mut(), 0), code(ReturnCode::BAD_REFERENCE));
        assert_eq!(head.v1.getPollHandles.unwrap()(null_mut(), null_mut(), &mut size), code(ReturnCode::BAD_REFERENCE));
        assert_eq!(
            head.v1.getPollHandles.unwrap()(caller.ctx(), null_mut(), null_mut()),
            code(ReturnCode::BAD_REFERENCE)
        );
        assert_eq!(head.makeSticky.unwrap()(null_mut(), null_mut(), 0), code(ReturnCode::BAD_REFERENCE));
        head.v1.finalize.unwrap()(null_mut());
    }
    let mut foreign = Caller::memory();
    // SAFETY: the functions read only the magic, which is another one.
    unsafe {
        assert_eq!(head.v1.transmit.unwrap()(foreign.ctx(), 12, GET_RANDOM.as_ptr()), code(ReturnCode::BAD_CONTEXT));
        assert_eq!(head.v1.receive.unwrap()(foreign.ctx(), &mut size, null_mut(), 0), code(ReturnCode::BAD_CONTEXT));
        head.v1.finalize.unwrap()(foreign.ctx());
    }
    assert!(foreign.0.iter().all(|word| *word == GARBAGE), "unchanged");
    caller.finalize();
}

/// A module with the magic of [`Scripted`], as the C modules cmd and mssim have the same one.
struct Twin;

impl Transport for Twin {
    fn send(&mut self, _command: &[u8]) -> Result<()> {
        Ok(())
    }

    fn recv(&mut self, _rx: &mut RxBuf, _wait: Wait) -> Result<Progress> {
        Ok(Progress::Pending)
    }

    fn abandon(&mut self) {}

    fn after_fork(&mut self, _inheritance: Inheritance) {}
}

impl Module for Twin {
    const MAGIC: u64 = Scripted::MAGIC;
}

#[test]
fn a_context_of_a_module_with_the_same_magic_is_a_bad_context() {
    let (mut ours, mut theirs, mut size) = (Caller::open(None).0, Caller::memory(), CONTEXT_SIZE);
    // SAFETY: `theirs` has CONTEXT_SIZE bytes.
    assert_eq!(unsafe { init_with(theirs.ctx(), &mut size, null::<()>(), |_| Ok(Twin)) }, 0);
    // SAFETY: both contexts live, and the pointers are valid.
    unsafe {
        assert_eq!(call::<Scripted>(theirs.ctx(), |_| Ok(())), code(ReturnCode::BAD_CONTEXT));
        assert_eq!(call::<Twin>(ours.ctx(), |_| Ok(())), code(ReturnCode::BAD_CONTEXT));
        ours.head().v1.finalize.unwrap()(theirs.ctx());
        theirs.head().v1.finalize.unwrap()(ours.ctx());
        assert_eq!(call::<Scripted>(ours.ctx(), |_| Ok(())), 0);
        assert_eq!(call::<Twin>(theirs.ctx(), |_| Ok(())), 0);
    }
    ours.finalize();
    theirs.finalize();
}

#[test]
fn a_program_may_replace_functions_of_a_context_but_not_all() {
    let (mut caller, _) = Caller::open(None);
    let first = (offset_of!(TSS2_TCTI_CONTEXT_COMMON_V1, transmit)) / size_of::<usize>();
    let words: *mut usize = caller.ctx().cast();
    // SAFETY: `caller` has more than eight words, which are accessed only through this slice and by the calls.
    let functions = unsafe { core::slice::from_raw_parts_mut(words.add(first), 6) };
    let ours = functions.to_vec();
    for kept in 0..ours.len() {
        for (function, original) in functions.iter_mut().zip(&ours) {
            *function = !original;
        }
        // SAFETY: the context lives.
        assert_eq!(unsafe { call::<Scripted>(words.cast(), |_| Ok(())) }, code(ReturnCode::BAD_CONTEXT));
        functions[kept] = ours[kept];
        // SAFETY: the context lives.
        assert_eq!(unsafe { call::<Scripted>(words.cast(), |_| Ok(())) }, 0);
    }
    functions.copy_from_slice(&ours);
    caller.finalize();
}

/// The smallest context that there is, a head of version 1, ends where the memory ends.
#[test]
fn nothing_beyond_the_head_of_a_foreign_context_is_read() {
    const PAGE: usize = 65536; // at least as large as any page
    // SAFETY: a new anonymous mapping affects no other memory.
    let memory = unsafe {
        libc::mmap(
            null_mut(),
            2 * PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(memory, libc::MAP_FAILED);
    let mut head = Caller::open(None).0.head().v1;
    (head.transmit, head.receive, head.finalize) = (None, None, None);
    (head.cancel, head.getPollHandles, head.setLocality) = (None, None, None);
    // SAFETY: the mapping has two times PAGE bytes, and the head ends where the second half begins.
    unsafe {
        assert_eq!(libc::mprotect(memory.byte_add(PAGE), PAGE, libc::PROT_NONE), 0);
        let context = memory.byte_add(PAGE - size_of_val(&head));
        context.cast::<TSS2_TCTI_CONTEXT_COMMON_V1>().write(head);
        assert_eq!(call::<Scripted>(context.cast(), |_| Ok(())), code(ReturnCode::BAD_CONTEXT));
        assert_eq!(libc::munmap(memory, 2 * PAGE), 0);
    }
}

#[test]
fn sizes_and_timeouts_are_checked() {
    let (mut caller, _) = Caller::open(None);
    assert_eq!(caller.transmit(usize::MAX, GET_RANDOM.as_ptr()), code(ReturnCode::BAD_VALUE));
    assert_eq!(caller.transmit(0, GET_RANDOM.as_ptr()), code(ReturnCode::BAD_VALUE));
    assert_eq!(caller.transmit(GET_RANDOM.len(), GET_RANDOM.as_ptr()), 0);
    let mut size = 0;
    assert_eq!(caller.receive(&mut size, null_mut(), -2), code(ReturnCode::BAD_VALUE));
    assert_eq!(caller.receive(&mut size, null_mut(), -1), 0);
    caller.finalize();
}

#[test]
fn poll_handles_follow_the_count_protocol() {
    let (mut caller, _) = Caller::open(None);
    let get = caller.head().v1.getPollHandles.unwrap();
    let mut handle = libc::pollfd { fd: 7, events: 7, revents: 7 };
    let mut count = 0;
    // SAFETY: the test passes in `count` the number of handles that fit.
    unsafe {
        assert_eq!(get(caller.ctx(), null_mut(), &mut count), 0);
        assert_eq!(count, 1);
        count = 0;
        assert_eq!(get(caller.ctx(), &mut handle, &mut count), code(ReturnCode::INSUFFICIENT_BUFFER));
        assert_eq!((handle.fd, count), (7, 1));
        assert_eq!(get(caller.ctx(), &mut handle, &mut count), 0);
    }
    assert_eq!((handle.events, handle.revents), (libc::POLLIN, 0));
    assert!(handle.fd > 2);
    caller.finalize();
}

#[test]
fn calls_after_finalize_are_bad_sequences() {
    let (mut caller, _) = Caller::open(None);
    caller.finalize();
    caller.finalize();
    let mut size = 0;
    assert_eq!(caller.transmit(GET_RANDOM.len(), GET_RANDOM.as_ptr()), code(ReturnCode::BAD_SEQUENCE));
    assert_eq!(caller.receive(&mut size, null_mut(), -1), code(ReturnCode::BAD_SEQUENCE));
}

#[test]
fn a_panic_ends_the_context_and_not_the_process() {
    let (mut caller, rc) = Caller::open(Some(c"panic"));
    assert_eq!(rc, 0);
    assert_eq!(caller.transmit(GET_RANDOM.len(), GET_RANDOM.as_ptr()), 0);
    let mut size = 0;
    assert_eq!(caller.receive(&mut size, null_mut(), -1), code(ReturnCode::GENERAL_FAILURE));
    assert_eq!(caller.receive(&mut size, null_mut(), -1), code(ReturnCode::BAD_SEQUENCE));
    assert_eq!(caller.transmit(GET_RANDOM.len(), GET_RANDOM.as_ptr()), code(ReturnCode::BAD_SEQUENCE));
    caller.finalize();
}

#[test]
fn a_nested_call_is_a_bad_sequence() {
    let (mut caller, _) = Caller::open(None);
    let ctx = caller.ctx();
    // SAFETY: `caller` keeps the context alive during both calls.
    let outer = unsafe {
        call::<Scripted>(ctx, |_| {
            let inner = call::<Scripted>(ctx, |_| Ok(()));
            assert_eq!(inner, code(ReturnCode::BAD_SEQUENCE));
            Ok(())
        })
    };
    assert_eq!(outer, 0);
    assert_eq!(caller.transmit(GET_RANDOM.len(), GET_RANDOM.as_ptr()), 0);
    caller.finalize();
}

/// A transport that says when a call is inside, and then waits for the end of Finalize, in vain.
struct Slow {
    inside: Sender<()>,
    finalized: Receiver<()>,
    dropped: Arc<AtomicBool>,
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::Relaxed);
    }
}

impl Transport for Slow {
    fn send(&mut self, _command: &[u8]) -> Result<()> {
        Ok(())
    }

    fn recv(&mut self, rx: &mut RxBuf, _wait: Wait) -> Result<Progress> {
        self.inside.send(()).unwrap();
        assert!(self.finalized.recv_timeout(Duration::from_millis(300)).is_err(), "Finalize returned during a call");
        rx.extend(OK)?;
        Ok(Progress::Complete)
    }

    fn abandon(&mut self) {}

    fn after_fork(&mut self, _inheritance: Inheritance) {}
}

impl Module for Slow {
    const MAGIC: u64 = 0x736c_6f77_736c_6f77;
}

#[test]
fn finalize_waits_for_the_call_of_another_thread_which_then_leaves_the_memory_alone() {
    let (inside, entered) = channel();
    let (end, finalized) = channel();
    let dropped = Arc::new(AtomicBool::new(false));
    let slow = Slow { inside, finalized, dropped: Arc::clone(&dropped) };
    let (mut caller, mut size) = (Caller::memory(), CONTEXT_SIZE);
    // SAFETY: `caller` has CONTEXT_SIZE bytes.
    assert_eq!(unsafe { init_with(caller.ctx(), &mut size, null::<()>(), |_| Ok(slow)) }, 0);
    assert_eq!(caller.transmit(GET_RANDOM.len(), GET_RANDOM.as_ptr()), 0);
    let (head, context) = (caller.head().v1, caller.ctx() as usize);
    let receive = std::thread::spawn(move || {
        let (mut response, mut size) = ([0; 64], 64);
        // SAFETY: the context lives during the call, as Finalize waits, and the buffer has `size` bytes.
        let rc = unsafe { head.receive.unwrap()(context as *mut _, &mut size, response.as_mut_ptr(), -1) };
        (rc, response[..size].to_vec())
    });
    entered.recv().unwrap();
    caller.finalize();
    caller.0.fill(GARBAGE);
    let _ = end.send(()); // fails because the transport was dropped
    assert_eq!(receive.join().unwrap(), (0, OK.to_vec()));
    assert!(dropped.load(Ordering::Relaxed));
    assert!(caller.0.iter().all(|word| *word == GARBAGE), "the memory was used after Finalize");
}

#[test]
fn finalize_inside_a_call_of_the_same_thread_takes_effect_when_the_call_ends() {
    let (mut caller, _) = Caller::open(None);
    let (ctx, finalize) = (caller.ctx(), caller.head().v1.finalize.unwrap());
    // SAFETY: `caller` keeps the context alive during both calls.
    let outer = unsafe {
        call::<Scripted>(ctx, |session| {
            finalize(ctx);
            session.transmit(GET_RANDOM)
        })
    };
    assert_eq!(outer, 0);
    assert_eq!(caller.transmit(GET_RANDOM.len(), GET_RANDOM.as_ptr()), code(ReturnCode::BAD_SEQUENCE));
    // The session follows the head.
    let session = ctx.wrapping_byte_add(size_of::<TSS2_TCTI_CONTEXT_COMMON_V2>()).cast::<*const ()>();
    // SAFETY: the context is larger than its head and this pointer.
    assert!(unsafe { session.read() }.is_null(), "the session is gone");
    caller.finalize();
}
