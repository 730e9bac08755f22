// SPDX-License-Identifier: BSD-2-Clause
//! Up to 64 calls in any order, by one thread, on one context: through the functions of the C interface, over a fake
//! transport. A small independent model of the state table predicts the result of each call. The address sanitizer
//! detects accesses beyond the caller's memory, and `sys` checks every buffer that a call fills.
#![no_main]

mod sys;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use sys::Caller;
use tcti_core::testing::polled;
use tcti_core::{
    Cancel, GetPollHandles, Inheritance, Module, Progress, Result, ReturnCode, RxBuf, SetLocality, Transport, Wait,
};
use tcti_ffi::CONTEXT_SIZE;
use tss2_fuzz::message::{command, response};

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Arrival {
    Response,
    HalfAResponse,
    Nothing,
    TooMuch,
    NoResponse,
    Failure,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Command {
    Right,
    Null,
    Short(u8),
    Long,
    Huge,
    Refused,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Room {
    Null,
    None,
    Bytes(u8),
    Plenty,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Handles {
    NullCount,
    Count,
    Room(u8),
}

/// The context of a call.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
enum Context {
    Ours,
    Null,
    Foreign,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Call {
    Transmit(Command),
    Receive { room: Room, timeout: i32, arrives: Arrival },
    Cancel,
    SetLocality(u8),
    GetPollHandles(Handles),
    MakeSticky,
    Finalize,
    Init { size: Option<u8>, aligned: bool },
}

/// The behaviour and the counters of the transport.
#[derive(Default)]
struct World {
    arrivals: VecDeque<Arrival>,
    refuses: bool,
    number: u32,
    /// The arguments of the caller, which the transport has to get.
    timeout: i32,
    locality: u8,
    alive: u32,
}

type Shared = Arc<Mutex<World>>;

/// A fake transport; with `FULL`, it has all optional functions.
struct Fake<const FULL: bool> {
    world: Shared,
    half: bool,
}

impl<const FULL: bool> Drop for Fake<FULL> {
    fn drop(&mut self) {
        self.world.lock().unwrap().alive -= 1;
    }
}

/// Bytes of a response, more than the short buffers have.
const SIZE: u16 = 20;

impl<const FULL: bool> Transport for Fake<FULL> {
    fn send(&mut self, sent: &[u8]) -> Result<()> {
        let world = self.world.lock().unwrap();
        assert_eq!(sent, command(world.number));
        if world.refuses { Err(ReturnCode::IO_ERROR.into()) } else { Ok(()) }
    }

    fn recv(&mut self, rx: &mut RxBuf, wait: Wait) -> Result<Progress> {
        let mut world = self.world.lock().unwrap();
        let millis = u32::try_from(world.timeout);
        assert_eq!(wait, millis.map_or(Wait::Forever, Wait::Millis));
        let whole = response(world.number, SIZE);
        let rest = if self.half { &whole[5..] } else { &whole[..] };
        match world.arrivals.pop_front().expect("each receive brings one") {
            Arrival::Response => rx.extend(rest)?,
            Arrival::HalfAResponse if self.half => return Ok(Progress::Pending),
            Arrival::HalfAResponse => {
                self.half = true;
                rx.extend(&whole[..5])?;
                return Ok(Progress::Pending);
            }
            Arrival::Nothing => return Ok(Progress::Pending),
            Arrival::TooMuch => {
                rx.extend(rest)?;
                rx.extend(&[0])?;
            }
            Arrival::NoResponse => return Ok(Progress::Complete),
            Arrival::Failure => return Err(ReturnCode::NO_CONNECTION.into()),
        }
        self.half = false;
        Ok(Progress::Complete)
    }

    fn abandon(&mut self) {
        self.half = false;
    }

    fn after_fork(&mut self, _inheritance: Inheritance) {}

    const CANCEL: Option<Cancel<Self>> = match FULL {
        true => Some(|fake| {
            fake.half = false;
            Ok(())
        }),
        false => None,
    };
    const SET_LOCALITY: Option<SetLocality<Self>> = match FULL {
        true => Some(|fake, locality| {
            assert_eq!(locality, fake.world.lock().unwrap().locality);
            Ok(())
        }),
        false => None,
    };
    const POLL_HANDLES: Option<GetPollHandles<Self>> = match FULL {
        true => Some(|_, watch| {
            watch(polled());
            Ok(())
        }),
        false => None,
    };
}

impl<const FULL: bool> Module for Fake<FULL> {
    const MAGIC: u64 = 0x0123_4567_89ab_cdef;
}

/// The states of a context, as the specification has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Init has not succeeded; the memory is not a context.
    None,
    Transmit,
    Receive,
    /// Receive, and the whole response has arrived.
    Ready,
    Finalized,
}

/// The result of a call from C.
type Returned<T> = std::result::Result<T, ReturnCode>;

/// The state table: the result of each call, and the next state.
struct Model {
    state: State,
    half: bool,
    full: bool,
}

impl Model {
    /// The checks of the context, before those of the call.
    fn enter(&self, context: Context) -> Returned<()> {
        match context {
            Context::Null => Err(ReturnCode::BAD_REFERENCE),
            Context::Foreign => Err(ReturnCode::BAD_CONTEXT),
            Context::Ours if self.state == State::Finalized => Err(ReturnCode::BAD_SEQUENCE),
            Context::Ours => Ok(()),
        }
    }

    fn has(&self, states: &[State]) -> Returned<()> {
        if states.contains(&self.state) { Ok(()) } else { Err(ReturnCode::BAD_SEQUENCE) }
    }

    fn optional(&self) -> Returned<()> {
        if self.full { Ok(()) } else { Err(ReturnCode::NOT_IMPLEMENTED) }
    }

    fn transmit(&mut self, context: Context, command: Command) -> Returned<()> {
        if matches!(command, Command::Null) {
            return Err(ReturnCode::BAD_REFERENCE);
        }
        self.enter(context)?;
        if matches!(command, Command::Huge) {
            return Err(ReturnCode::BAD_VALUE);
        }
        self.has(&[State::Transmit])?;
        match command {
            Command::Right => {
                (self.state, self.half) = (State::Receive, false);
                Ok(())
            }
            Command::Refused => Err(ReturnCode::IO_ERROR),
            Command::Null | Command::Short(_) | Command::Long | Command::Huge => Err(ReturnCode::BAD_VALUE),
        }
    }

    /// Returns the size that the call reports, and whether it returns the bytes.
    fn receive(&mut self, context: Context, room: Room, timeout: i32, arrives: Arrival) -> Returned<usize> {
        if matches!(room, Room::Null) {
            return Err(ReturnCode::BAD_REFERENCE);
        }
        self.enter(context)?;
        if timeout < -1 {
            return Err(ReturnCode::BAD_VALUE);
        }
        self.has(&[State::Receive, State::Ready])?;
        if self.state == State::Receive {
            self.arrive(arrives)?;
        }
        let size = response(0, SIZE).len();
        match room {
            Room::Null | Room::None => {}
            Room::Bytes(room) if usize::from(room % 64) < size => return Err(ReturnCode::INSUFFICIENT_BUFFER),
            Room::Bytes(_) | Room::Plenty => self.state = State::Transmit,
        }
        Ok(size)
    }

    fn arrive(&mut self, arrives: Arrival) -> Returned<()> {
        let error = match arrives {
            Arrival::Response => {
                self.state = State::Ready;
                return Ok(());
            }
            Arrival::HalfAResponse | Arrival::Nothing => {
                self.half |= matches!(arrives, Arrival::HalfAResponse);
                return Err(ReturnCode::TRY_AGAIN);
            }
            Arrival::TooMuch | Arrival::NoResponse => ReturnCode::MALFORMED_RESPONSE,
            Arrival::Failure => ReturnCode::NO_CONNECTION,
        };
        self.state = State::Transmit;
        Err(error)
    }

    fn cancel(&mut self, context: Context) -> Returned<()> {
        self.enter(context)?;
        self.optional()?;
        self.has(&[State::Receive, State::Ready])?;
        self.state = State::Transmit;
        Ok(())
    }

    fn set_locality(&mut self, context: Context, locality: u8) -> Returned<()> {
        self.enter(context)?;
        self.optional()?;
        self.has(&[State::Transmit])?;
        if (5..=31).contains(&locality) { Err(ReturnCode::BAD_VALUE) } else { Ok(()) }
    }

    fn get_poll_handles(&mut self, context: Context, handles: Handles) -> Returned<()> {
        if matches!(handles, Handles::NullCount) {
            return Err(ReturnCode::BAD_REFERENCE);
        }
        self.enter(context)?;
        self.optional()?;
        match handles {
            Handles::Room(room) if room % 5 == 0 => Err(ReturnCode::INSUFFICIENT_BUFFER),
            _ => Ok(()),
        }
    }
}

fn play<const FULL: bool>(calls: &[(Context, Call)]) {
    let world = Shared::default();
    let mut caller = Caller::<FULL>::new(Arc::clone(&world));
    let mut model = Model { state: State::None, half: false, full: FULL };
    for (context, call) in calls.iter().take(64).copied() {
        // Without a context there are no functions to call.
        if model.state == State::None && !matches!(call, Call::Init { .. }) {
            assert_eq!(caller.init(None, true), Ok(()));
            model.state = State::Transmit;
        }
        match call {
            Call::Init { size, aligned } => {
                // A context that was not finalized would leak.
                if [State::None, State::Finalized].contains(&model.state) {
                    let right = aligned && size.is_none_or(|size| usize::from(size) >= CONTEXT_SIZE);
                    assert_eq!(caller.init(size, aligned), if right { Ok(()) } else { Err(ReturnCode::BAD_VALUE) });
                    model.state = if right { State::Transmit } else { model.state };
                }
            }
            Call::Transmit(what) => {
                if model.state == State::Transmit {
                    let mut world = world.lock().unwrap();
                    world.number = world.number.wrapping_add(1);
                    world.refuses = matches!(what, Command::Refused);
                }
                let number = world.lock().unwrap().number;
                assert_eq!(caller.transmit(context, what, number), model.transmit(context, what), "{what:?}");
            }
            Call::Receive { room, timeout, arrives } => {
                {
                    let mut world = world.lock().unwrap();
                    (world.arrivals, world.timeout) = ([arrives].into(), timeout);
                }
                let before = model.state;
                let expected = model.receive(context, room, timeout, arrives);
                let number = world.lock().unwrap().number;
                let bytes = caller.receive(context, room, timeout, &response(number, SIZE));
                assert_eq!(bytes, expected, "{before:?} {room:?} {timeout} {arrives:?}");
            }
            Call::Cancel => assert_eq!(caller.cancel(context), model.cancel(context)),
            Call::SetLocality(locality) => {
                world.lock().unwrap().locality = locality;
                assert_eq!(caller.set_locality(context, locality), model.set_locality(context, locality));
            }
            Call::GetPollHandles(handles) => {
                let expected = model.get_poll_handles(context, handles);
                let is_due = model.state == State::Receive;
                assert_eq!(caller.get_poll_handles(context, handles, is_due), expected);
            }
            Call::MakeSticky => {
                let expected = model.enter(context).and(Err(ReturnCode::NOT_IMPLEMENTED));
                assert_eq!(caller.make_sticky(context), expected);
            }
            Call::Finalize => {
                caller.finalize(context);
                if context == Context::Ours {
                    model.state = State::Finalized;
                }
            }
        }
        let alive = u32::from(![State::None, State::Finalized].contains(&model.state));
        assert_eq!(world.lock().unwrap().alive, alive, "a transport is dropped once, and by Finalize");
    }
    if model.state != State::None {
        caller.finalize(Context::Ours);
    }
    assert_eq!(world.lock().unwrap().alive, 0);
}

fuzz_target!(|input: (bool, Vec<(Context, Call)>)| {
    tss2_fuzz::listen_to_log();
    match input {
        (true, calls) => play::<true>(&calls),
        (false, calls) => play::<false>(&calls),
    }
});
