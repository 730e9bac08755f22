// SPDX-License-Identifier: BSD-2-Clause
//! Tests the boundary as a C program uses it: every invalid pointer, and every stage in the life of a context.

#![expect(clippy::multiple_unsafe_ops_per_block, reason = "many calls with one justification")]

use super::*;
use core::ffi::CStr;
use core::ptr::{null, null_mut};
use tcti_core::ReturnCode;
use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_CONTEXT_COMMON_V2};
use tcti_core::testing::{GET_RANDOM, OK, Scripted};

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
        (8, _) => 88,
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

/// Guards against contexts of C modules: two of those share a magic, and their layouts differ from ours.
#[test]
fn a_context_must_have_the_second_magic() {
    let (mut caller, _) = Caller::open(None);
    *caller.0.last_mut().unwrap() ^= 1;
    assert_eq!(caller.transmit(GET_RANDOM.len(), GET_RANDOM.as_ptr()), code(ReturnCode::BAD_CONTEXT));
    *caller.0.last_mut().unwrap() ^= 1;
    assert_eq!(caller.transmit(GET_RANDOM.len(), GET_RANDOM.as_ptr()), 0);
    caller.finalize();
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
