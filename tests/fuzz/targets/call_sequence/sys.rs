// SPDX-License-Identifier: BSD-2-Clause
//! Calls as C makes them, with buffers of exactly the needed size, so that the address sanitizer detects an access
//! beyond them.

use super::{Command, Context, Fake, Handles, Returned, Room, Shared};
use std::ptr::{null, null_mut};
use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_CONTEXT_COMMON_V2};
use tcti_core::testing::is_ready;
use tcti_core::{PollHandle, ReturnCode};
use tcti_ffi::{CONTEXT_SIZE, init_with};
use tss2_fuzz::message::command;

/// The initial content of a caller's memory.
const GARBAGE: u64 = 0xa5a5_a5a5_a5a5_a5a5;

/// A C program with one context, and a context of another module.
pub(super) struct Caller<const FULL: bool> {
    world: Shared,
    memory: Box<[u64; CONTEXT_SIZE.div_ceil(8)]>,
    foreign: Box<[u64; CONTEXT_SIZE.div_ceil(8)]>,
    /// The head that Init wrote: its functions are called with any context, and after Finalize.
    head: Option<TSS2_TCTI_CONTEXT_COMMON_V2>,
}

/// Converts a return code.
fn answer(rc: TSS2_RC) -> Returned<()> {
    ReturnCode::from_c(rc).map_err(|error| error.code())
}

impl<const FULL: bool> Caller<FULL> {
    pub(super) fn new(world: Shared) -> Caller<FULL> {
        Caller { world, memory: Box::new([GARBAGE; _]), foreign: Box::new([GARBAGE; _]), head: None }
    }

    fn context(&mut self, context: Context) -> *mut TSS2_TCTI_CONTEXT {
        match context {
            Context::Ours => self.memory.as_mut_ptr().cast(),
            Context::Null => null_mut(),
            Context::Foreign => self.foreign.as_mut_ptr().cast(),
        }
    }

    fn head(&self) -> TSS2_TCTI_CONTEXT_COMMON_V2 {
        self.head.expect("Init was called")
    }

    /// Asks for the size, and then makes a context in memory of `size` bytes, as the call says.
    pub(super) fn init(&mut self, size: Option<u8>, aligned: bool) -> Returned<()> {
        let world = self.world.clone();
        let open = || {
            world.lock().unwrap().alive += 1;
            Ok(Fake::<FULL> { world, half: false })
        };
        let mut wanted = 0;
        let world = self.world.clone();
        // SAFETY: NULL asks for the size.
        let asked =
            unsafe { init_with::<Fake<FULL>, ()>(null_mut(), &mut wanted, null(), |_| unreachable!("with no memory")) };
        assert_eq!((asked, wanted), (0, CONTEXT_SIZE));
        let mut size = size.map_or(CONTEXT_SIZE, usize::from);
        let ctx = self.context(Context::Ours).wrapping_byte_add(usize::from(!aligned));
        let before = *self.memory;
        // SAFETY: the memory has CONTEXT_SIZE bytes, and Init does not write to misaligned memory.
        let made = answer(unsafe { init_with(ctx, &mut size, null::<()>(), |_| open()) });
        match made {
            // SAFETY: Init has made a context there.
            Ok(()) => self.head = Some(unsafe { ctx.cast::<TSS2_TCTI_CONTEXT_COMMON_V2>().read() }),
            Err(_) => assert_eq!(*self.memory, before, "memory that was refused"),
        }
        drop(world);
        made
    }

    pub(super) fn transmit(&mut self, context: Context, what: Command, number: u32) -> Returned<()> {
        let mut bytes = command(number);
        match what {
            Command::Right | Command::Refused | Command::Null | Command::Huge => {}
            Command::Short(len) => bytes.truncate(usize::from(len) % bytes.len()),
            Command::Long => bytes.push(0),
        }
        let bytes = bytes.into_boxed_slice();
        let (size, bytes) = match what {
            Command::Null => (bytes.len(), std::ptr::null()),
            Command::Huge => (usize::MAX, bytes.as_ptr()),
            _ => (bytes.len(), bytes.as_ptr()),
        };
        let (transmit, ctx) = (self.head().v1.transmit.expect("a function"), self.context(context));
        // SAFETY: the pointers are NULL or to live memory; transmit rejects a wrong size.
        answer(unsafe { transmit(ctx, size, bytes) })
    }

    /// Returns the reported size. Checks that the bytes, if there are any, are those of `whole`.
    pub(super) fn receive(&mut self, context: Context, room: Room, timeout: i32, whole: &[u8]) -> Returned<usize> {
        let (receive, ctx) = (self.head().v1.receive.expect("a function"), self.context(context));
        let mut memory = match room {
            Room::Null | Room::None => Vec::new(),
            Room::Bytes(room) => vec![0xa5; (room % 64).into()],
            Room::Plenty => vec![0xa5; 4096],
        }
        .into_boxed_slice();
        let mut size = memory.len();
        let (place, buffer): (*mut usize, *mut u8) = match room {
            Room::Null => (null_mut(), memory.as_mut_ptr()),
            Room::None => (&mut size, null_mut()),
            Room::Bytes(_) | Room::Plenty => (&mut size, memory.as_mut_ptr()),
        };
        // SAFETY: the pointers are NULL or to live memory, as C passes them.
        let received = answer(unsafe { receive(ctx, place, buffer, timeout) });
        let filled = match (received, room) {
            (Ok(()), Room::Bytes(_) | Room::Plenty) => size,
            _ => 0,
        };
        assert_eq!(memory[..filled], whole[..filled]);
        assert!(memory[filled..].iter().all(|byte| *byte == 0xa5), "nothing behind the response is written");
        match received {
            Err(ReturnCode::INSUFFICIENT_BUFFER) => assert_eq!(size, whole.len()),
            Err(_) => assert_eq!(size, memory.len(), "an error leaves the size"),
            Ok(()) => {}
        }
        received.map(|()| size)
    }

    pub(super) fn cancel(&mut self, context: Context) -> Returned<()> {
        let (cancel, ctx) = (self.head().v1.cancel.expect("a function"), self.context(context));
        // SAFETY: the pointers are NULL or to live memory, as C passes them.
        answer(unsafe { cancel(ctx) })
    }

    pub(super) fn set_locality(&mut self, context: Context, locality: u8) -> Returned<()> {
        let (set_locality, ctx) = (self.head().v1.setLocality.expect("a function"), self.context(context));
        // SAFETY: the pointers are NULL or to live memory, as C passes them.
        answer(unsafe { set_locality(ctx, locality) })
    }

    pub(super) fn get_poll_handles(&mut self, context: Context, handles: Handles, is_due: bool) -> Returned<()> {
        let (get, ctx) = (self.head().v1.getPollHandles.expect("a function"), self.context(context));
        let room = match handles {
            Handles::NullCount | Handles::Count => 0,
            Handles::Room(room) => usize::from(room % 5),
        };
        let mut memory = vec![PollHandle { fd: -7, events: -7, revents: -7 }; room].into_boxed_slice();
        let mut count = room;
        let (array, place): (*mut PollHandle, *mut usize) = match handles {
            Handles::NullCount => (memory.as_mut_ptr(), null_mut()),
            Handles::Count => (null_mut(), &mut count),
            Handles::Room(_) => (memory.as_mut_ptr(), &mut count),
        };
        // SAFETY: the pointers are NULL or to live memory, as C passes them.
        let got = answer(unsafe { get(ctx, array, place) });
        if got.is_ok() {
            assert_eq!(count, 1);
            let right = |it: &PollHandle| it.fd > 2 && (it.events, it.revents) == (libc::POLLIN, 0);
            let filled = memory.iter().take(count).all(right);
            assert!(
                filled && memory.iter().skip(count).all(|it| it.fd == -7),
                "exactly the reported number of handles is written"
            );
            assert!(memory.get_mut(..1).is_none_or(|handle| is_ready(handle) != is_due), "poll waits for a response");
        }
        got
    }

    pub(super) fn make_sticky(&mut self, context: Context) -> Returned<()> {
        let (make_sticky, ctx) = (self.head().makeSticky.expect("a function"), self.context(context));
        // SAFETY: the pointers are NULL or to live memory, as C passes them.
        answer(unsafe { make_sticky(ctx, null_mut(), 1) })
    }

    pub(super) fn finalize(&mut self, context: Context) {
        let (finalize, ctx) = (self.head().v1.finalize.expect("a function"), self.context(context));
        // SAFETY: the pointers are NULL or to live memory, as C passes them.
        unsafe { finalize(ctx) };
        assert!(self.foreign.iter().all(|word| *word == GARBAGE), "another's context is not touched");
    }
}
