// SPDX-License-Identifier: BSD-2-Clause
//! Any order of calls, as C makes them, against a table of its own: what each call answers in each state, where it leads,
//! and what the transport hears of it. The transport does as the call says, so it may fail or panic at any point.

#![expect(clippy::multiple_unsafe_ops_per_block, reason = "many calls with one justification")]

use super::*;
use core::ptr::{null, null_mut};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::sync::{Arc, Mutex, MutexGuard};
use tcti_core::abi::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_CONTEXT_COMMON_V2};
use tcti_core::deadline::Wait;
use tcti_core::header::Header;
use tcti_core::rx::RxBuf;
use tcti_core::session::{MAX_COMMAND, State};
use tcti_core::testing::{GET_RANDOM, OK, POLLED};
use tcti_core::transport::{Cancel, GetPollHandles, Inheritance, Module, PollHandle, Progress, SetLocality, Transport};
use tcti_core::{Result, ReturnCode};

/// What the transport does when it is called.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    /// What it is asked for. The whole response has arrived.
    Succeed,
    Fail(ReturnCode),
    Panic,
    /// Half of the response has arrived; for a receive, as the next ones.
    Pend,
    /// More has arrived than a response has.
    Overflow,
    /// It takes what it has for whole.
    BreakOff,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Context {
    Ours,
    Null,
    /// Of another module.
    Foreign,
}

#[derive(Clone, Debug)]
enum Call {
    /// `None` for NULL; the size that is passed for it, and what its header says.
    Send(Option<(usize, usize)>),
    /// Whether there is a pointer to the size, the room if there is a buffer, and the time-out.
    Receive(bool, Option<usize>, i32),
    Cancel,
    /// The room if there is an array, and whether there is a pointer to the count.
    GetPollHandles(Option<usize>, bool),
    SetLocality(u8),
    MakeSticky,
    Finalize,
    /// A function of the module's own, which gives up what is under way, or does not.
    Preempt,
    Beside,
}

fn calls() -> impl Strategy<Value = Vec<(Context, Call, Does)>> {
    let does = prop_oneof![
        8 => Just(Does::Succeed),
        4 => Just(Does::Pend),
        2 => select(vec![ReturnCode::IO_ERROR, ReturnCode::NO_CONNECTION, ReturnCode::NOT_PERMITTED, ReturnCode::MEMORY]).prop_map(Does::Fail),
        1 => select(vec![Does::Overflow, Does::BreakOff]),
    ];
    let does = prop_oneof![30 => does, 1 => Just(Does::Panic)];
    let context = prop_oneof![20 => Just(Context::Ours), 1 => Just(Context::Null), 1 => Just(Context::Foreign)];
    let size = prop_oneof![0..20_usize, Just(MAX_COMMAND + 1), Just(usize::MAX)];
    let command = prop_oneof![
        8 => Just(Some((GET_RANDOM.len(), GET_RANDOM.len()))),
        1 => (size, 0..20_usize).prop_map(Some),
        1 => Just(None),
    ];
    let size = prop_oneof![12 => Just(true), 1 => Just(false)];
    let room = prop_oneof![Just(None), (0..40_usize).prop_map(Some), Just(Some(OK.len()))];
    let timeout = prop_oneof![8 => Just(0), 1 => Just(5), 1 => Just(-1), 1 => Just(-2), 1 => Just(i32::MIN)];
    let handles = prop_oneof![Just(None), (0..3_usize).prop_map(Some)];
    let call = prop_oneof![
        24 => command.prop_map(Call::Send),
        48 => (size.clone(), room, timeout).prop_map(|(size, room, timeout)| Call::Receive(size, room, timeout)),
        8 => Just(Call::Cancel),
        8 => (handles, size).prop_map(|(room, count)| Call::GetPollHandles(room, count)),
        8 => prop_oneof![0..40_u8, any::<u8>()].prop_map(Call::SetLocality),
        2 => Just(Call::MakeSticky),
        1 => Just(Call::Finalize),
        4 => Just(Call::Preempt),
        4 => Just(Call::Beside),
    ];
    vec((context, call, does), 0..60)
}

/// What the table says of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Row {
    code: TSS2_RC,
    /// `None` when the context has ended.
    next: Option<State>,
    abandons: bool,
    collects: bool,
}

/// The table, from the top: the first line that fits counts.
fn table(state: Option<State>, context: Context, call: &Call, does: Does) -> Row {
    use Call::*;
    use State::*;
    let row = |code: core::result::Result<(), ReturnCode>, next: Option<State>| Row {
        code: code.map_or_else(ReturnCode::to_c, |()| 0),
        next,
        abandons: false,
        collects: false,
    };
    let refuse = |rc| row(Err(rc), state);
    let fatal = |rc| Row { abandons: true, ..row(Err(rc), Some(Transmit)) };
    match (state, call, does) {
        (_, Finalize, _) if context == Context::Ours => row(Ok(()), None),
        (_, Finalize, _) => row(Ok(()), state),
        (_, Call::Send(None) | Receive(false, ..) | GetPollHandles(_, false), _) => refuse(ReturnCode::BAD_REFERENCE),
        _ if context == Context::Null => refuse(ReturnCode::BAD_REFERENCE),
        _ if context == Context::Foreign => refuse(ReturnCode::BAD_CONTEXT),
        (None, ..) => refuse(ReturnCode::BAD_SEQUENCE),

        (_, Call::Send(Some((size, _))), _) if *size > MAX_COMMAND => refuse(ReturnCode::BAD_VALUE),
        (Some(Awaiting | Ready), Call::Send(_), _) => refuse(ReturnCode::BAD_SEQUENCE),
        (_, Call::Send(Some((size, says))), _) if *size < 10 || size != says => refuse(ReturnCode::BAD_VALUE),
        (_, Call::Send(_), Does::Fail(rc)) => fatal(rc),
        (_, Call::Send(_), Does::Panic) => row(Err(ReturnCode::GENERAL_FAILURE), None),
        (_, Call::Send(_), _) => row(Ok(()), Some(Awaiting)),

        (_, Receive(_, _, ..-1), _) => refuse(ReturnCode::BAD_VALUE),
        (Some(Transmit), Receive(..), _) => refuse(ReturnCode::BAD_SEQUENCE),
        (Some(Awaiting), Receive(..), Does::Pend) => refuse(ReturnCode::TRY_AGAIN),
        (Some(Awaiting), Receive(..), Does::Fail(rc)) => fatal(rc),
        (Some(Awaiting), Receive(..), Does::Overflow | Does::BreakOff) => fatal(ReturnCode::MALFORMED_RESPONSE),
        (Some(Awaiting), Receive(..), Does::Panic) => row(Err(ReturnCode::GENERAL_FAILURE), None),
        (_, Receive(_, None, _), _) => row(Ok(()), Some(Ready)),
        (_, Receive(_, Some(room), _), _) if *room < OK.len() => row(Err(ReturnCode::INSUFFICIENT_BUFFER), Some(Ready)),
        (_, Receive(..), _) => Row { collects: true, ..row(Ok(()), Some(Transmit)) },

        (Some(Transmit), Cancel, _) => refuse(ReturnCode::BAD_SEQUENCE),
        (Some(Ready), Cancel, _) => Row { collects: true, ..row(Ok(()), Some(Transmit)) },
        (_, Cancel, Does::Fail(rc)) => refuse(rc),
        (_, Cancel, Does::Panic) => row(Err(ReturnCode::GENERAL_FAILURE), None),
        (_, Cancel, _) => row(Ok(()), Some(Transmit)),

        (Some(Awaiting | Ready), SetLocality(_), _) => refuse(ReturnCode::BAD_SEQUENCE),
        (_, SetLocality(5..32), _) => refuse(ReturnCode::BAD_VALUE),
        (_, SetLocality(_), Does::Fail(rc)) => refuse(rc),
        (_, SetLocality(_), Does::Panic) => row(Err(ReturnCode::GENERAL_FAILURE), None),

        (_, GetPollHandles(Some(0), _), _) => refuse(ReturnCode::INSUFFICIENT_BUFFER),
        (_, MakeSticky, _) => refuse(ReturnCode::NOT_IMPLEMENTED),

        (Some(Awaiting), Preempt, Does::Panic) => Row { next: None, ..fatal(ReturnCode::GENERAL_FAILURE) },
        (Some(Awaiting), Preempt, Does::Fail(rc)) => fatal(rc),
        (Some(Awaiting), Preempt, _) => Row { abandons: true, ..row(Ok(()), Some(Transmit)) },
        (Some(Ready), Preempt, Does::Panic) => Row { collects: true, ..row(Err(ReturnCode::GENERAL_FAILURE), None) },
        (Some(Ready), Preempt, Does::Fail(rc)) => Row { collects: true, ..row(Err(rc), Some(Transmit)) },
        (Some(Ready), Preempt, _) => Row { collects: true, ..row(Ok(()), Some(Transmit)) },
        (_, Preempt | Beside, Does::Panic) => row(Err(ReturnCode::GENERAL_FAILURE), None),
        (_, Preempt | Beside, Does::Fail(rc)) => refuse(rc),
        (_, SetLocality(_) | GetPollHandles(..) | Preempt | Beside, _) => row(Ok(()), state),
    }
}

/// What the transport is told to do, and what it has heard.
#[derive(Default)]
struct World {
    does: Option<Does>,
    abandoned: usize,
    collected: usize,
    dropped: usize,
}

struct Obedient(Arc<Mutex<World>>);

impl Obedient {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    fn obey(&mut self) -> Result<()> {
        let does = self.world().does;
        match does {
            Some(Does::Fail(rc)) => Err(rc.into()),
            Some(Does::Panic) => panic!("as told"),
            _ => Ok(()),
        }
    }
}

impl Drop for Obedient {
    fn drop(&mut self) {
        self.world().dropped += 1;
    }
}

impl Transport for Obedient {
    fn send(&mut self, command: &[u8]) -> Result<()> {
        assert!(Header::parse(command).is_some_and(|header| header.says(command.len())));
        self.obey()
    }

    fn recv(&mut self, rx: &mut RxBuf, _wait: Wait) -> Result<Progress> {
        self.obey()?;
        let does = self.world().does;
        let half = OK.get(rx.len()..OK.len() / 2).unwrap_or_default();
        match does {
            Some(Does::Pend | Does::BreakOff) => rx.extend(half),
            Some(Does::Overflow) => rx.extend(&[&OK[rx.len()..], &[0]].concat()),
            _ => rx.extend(&OK[rx.len()..]),
        }?;
        Ok(if does == Some(Does::Pend) { Progress::Pending } else { Progress::Complete })
    }

    fn response_taken(&mut self) {
        self.world().collected += 1;
    }

    fn abandon(&mut self) {
        self.world().abandoned += 1;
    }

    fn after_fork(&mut self, _inheritance: Inheritance) {}

    const CANCEL: Option<Cancel<Self>> = Some(Obedient::obey);
    const SET_LOCALITY: Option<SetLocality<Self>> = Some(|obedient, _| obedient.obey());
    const POLL_HANDLES: Option<GetPollHandles<Self>> = Some(|_| Ok(vec![POLLED]));
}

impl Module for Obedient {
    const MAGIC: u64 = 0x6f62_6564_6965_6e74;
}

/// A caller of C, with a context of ours and one of another module.
struct Caller {
    ours: Box<[u64; CONTEXT_SIZE.div_ceil(8)]>,
    foreign: Box<[u64; CONTEXT_SIZE.div_ceil(8)]>,
    functions: TSS2_TCTI_CONTEXT_COMMON_V2,
    world: Arc<Mutex<World>>,
}

impl Caller {
    fn new() -> Caller {
        let (mut ours, world) = (Box::new([0; CONTEXT_SIZE.div_ceil(8)]), Arc::new(Mutex::new(World::default())));
        let (mut size, transport) = (CONTEXT_SIZE, Obedient(Arc::clone(&world)));
        // SAFETY: the memory has CONTEXT_SIZE bytes, and a context opens with its head.
        let functions = unsafe {
            assert_eq!(init_with(ours.as_mut_ptr().cast(), &mut size, null::<()>(), |_| Ok(transport)), 0);
            ours.as_ptr().cast::<TSS2_TCTI_CONTEXT_COMMON_V2>().read()
        };
        Caller { ours, foreign: Box::new([1; CONTEXT_SIZE.div_ceil(8)]), functions, world }
    }

    fn context(&mut self, context: Context) -> *mut TSS2_TCTI_CONTEXT {
        match context {
            Context::Ours => self.ours.as_mut_ptr().cast(),
            Context::Null => null_mut(),
            Context::Foreign => self.foreign.as_mut_ptr().cast(),
        }
    }

    /// Makes a call and looks at what it wrote.
    fn call(&mut self, context: Context, call: &Call, row: Row) -> TSS2_RC {
        let ctx = self.context(context);
        let functions = &self.functions.v1;
        // SAFETY: as a C caller would; what sizes say is there, but for sizes that are refused before they are believed.
        unsafe {
            match call {
                Call::Send(None) => functions.transmit.unwrap()(ctx, GET_RANDOM.len(), null()),
                Call::Send(Some((size, says))) => {
                    let mut command = GET_RANDOM.to_vec();
                    command[2..6].copy_from_slice(&u32::try_from(*says).unwrap().to_be_bytes());
                    command.resize(40, 0);
                    functions.transmit.unwrap()(ctx, *size, command.as_ptr())
                }
                Call::Receive(has_size, room, timeout) => {
                    let (mut size, mut response) = (room.unwrap_or(77), [0xa5; 40]);
                    let pointer = if *has_size { &raw mut size } else { null_mut() };
                    let buffer = if room.is_some() { response.as_mut_ptr() } else { null_mut() };
                    let code = functions.receive.unwrap()(ctx, pointer, buffer, *timeout);
                    let tells = code == 0 || code == ReturnCode::INSUFFICIENT_BUFFER.to_c();
                    assert_eq!(size, if tells { OK.len() } else { room.unwrap_or(77) });
                    let written = if row.collects { OK } else { &[] };
                    assert_eq!(response[..written.len()], *written);
                    assert!(response[written.len()..].iter().all(|byte| *byte == 0xa5), "more than its room says");
                    code
                }
                Call::Cancel => functions.cancel.unwrap()(ctx),
                Call::GetPollHandles(room, has_count) => {
                    let (mut count, mut handle) = (room.unwrap_or(77), PollHandle { fd: -1, events: 0, revents: 7 });
                    let pointer = if *has_count { &raw mut count } else { null_mut() };
                    let handles = if room.is_some() { &raw mut handle } else { null_mut() };
                    let code = functions.getPollHandles.unwrap()(ctx, handles, pointer);
                    if code == 0 && room.is_some() {
                        let is_due = row.next == Some(State::Awaiting);
                        assert_eq!(handle.events, if is_due { libc::POLLIN } else { libc::POLLOUT });
                        assert_eq!((handle.fd == POLLED, handle.revents, count), (is_due, 0, 1));
                    }
                    code
                }
                Call::SetLocality(locality) => functions.setLocality.unwrap()(ctx, *locality),
                Call::MakeSticky => self.functions.makeSticky.unwrap()(ctx, null_mut(), 1),
                Call::Finalize => {
                    functions.finalize.unwrap()(ctx);
                    0
                }
                Call::Preempt => super::call::<Obedient>(ctx, |session| session.preempt(Obedient::obey)),
                Call::Beside => super::call::<Obedient>(ctx, |session| session.beside(Obedient::obey)),
            }
        }
    }

    /// The state of our context; `None` when it has ended.
    fn state(&mut self) -> Option<State> {
        let mut state = None;
        let look = |session: tcti_core::session::Entered<'_, Obedient>| {
            state = Some(session.state());
            Ok(())
        };
        // SAFETY: the context is ours.
        unsafe { super::call::<Obedient>(self.context(Context::Ours), look) };
        state
    }
}

proptest! {
    #[test]
    fn any_order_of_calls_is_as_the_table_has_it(calls in calls()) {
        let mut caller = Caller::new();
        let (mut state, mut abandoned, mut collected) = (Some(State::Transmit), 0, 0);
        for (context, call, does) in calls {
            caller.world.lock().unwrap().does = Some(does);
            let row = table(state, context, &call, does);
            assert_eq!(caller.call(context, &call, row), row.code, "{call:?} of {context:?} in {state:?}, {does:?}");
            assert_eq!(caller.state(), row.next, "after {call:?} of {context:?} in {state:?}, {does:?}");
            state = row.next;
            abandoned += usize::from(row.abandons);
            collected += usize::from(row.collects);
            let world = caller.world.lock().unwrap();
            assert_eq!((world.abandoned, world.collected), (abandoned, collected), "{call:?} in {does:?}");
            assert_eq!(world.dropped, usize::from(state.is_none()), "the transport goes with the context, and not before");
        }
        caller.call(Context::Ours, &Call::Finalize, table(state, Context::Ours, &Call::Finalize, Does::Succeed));
    }
}
