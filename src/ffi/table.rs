// SPDX-License-Identifier: BSD-2-Clause
//! Makes C calls in random order and compares each with a table: its code, the next state, and the calls to the transport. The
//! transport behaves as each step of the test says, so it may fail or panic at any point.

#![expect(clippy::multiple_unsafe_ops_per_block, reason = "one justification covers many calls")]

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
use tcti_core::testing::{GET_RANDOM, OK, polled};
use tcti_core::transport::{Cancel, GetPollHandles, Inheritance, Module, PollHandle, Progress, SetLocality, Transport};
use tcti_core::{Result, ReturnCode};

/// How the transport behaves when it is called.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Behaviour {
    /// Every function succeeds. The whole response has arrived.
    Succeed,
    Fail(ReturnCode),
    Panic,
    /// At most half of the response has arrived. Other functions succeed.
    Pend,
    /// More bytes have arrived than the response has.
    Overflow,
    /// The transport reports half of the response as complete.
    Truncate,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Context {
    Ours,
    Null,
    /// A context of another module.
    Foreign,
}

#[derive(Clone, Debug)]
enum Call {
    /// `None` for NULL, otherwise the size that is passed and the size in the header.
    Send(Option<(usize, usize)>),
    /// Whether a pointer to the size is passed, the size of the buffer if one is passed, and the time-out.
    Receive(bool, Option<usize>, i32),
    Cancel,
    /// The length of the array if one is passed, and whether a pointer to the count is passed.
    GetPollHandles(Option<usize>, bool),
    SetLocality(u8),
    MakeSticky,
    Finalize,
    /// A function that only this module has, and that abandons the exchange in progress.
    Preempt,
    /// A function that only this module has, during which the exchange continues.
    Alongside,
}

fn calls() -> impl Strategy<Value = Vec<(Context, Call, Behaviour)>> {
    let behaviour = prop_oneof![
        8 => Just(Behaviour::Succeed),
        4 => Just(Behaviour::Pend),
        2 => select(vec![ReturnCode::IO_ERROR, ReturnCode::NO_CONNECTION, ReturnCode::NOT_PERMITTED, ReturnCode::MEMORY]).prop_map(Behaviour::Fail),
        1 => select(vec![Behaviour::Overflow, Behaviour::Truncate]),
    ];
    let behaviour = prop_oneof![30 => behaviour, 1 => Just(Behaviour::Panic)];
    let context = prop_oneof![20 => Just(Context::Ours), 1 => Just(Context::Null), 1 => Just(Context::Foreign)];
    let size = prop_oneof![0..20_usize, Just(MAX_COMMAND + 1), Just(usize::MAX)];
    let command = prop_oneof![
        8 => Just(Some((GET_RANDOM.len(), GET_RANDOM.len()))),
        1 => (size, 0..20_usize).prop_map(Some),
        1 => Just(None),
    ];
    let size = prop_oneof![12 => Just(true), 1 => Just(false)];
    let capacity = prop_oneof![Just(None), (0..40_usize).prop_map(Some), Just(Some(OK.len()))];
    let timeout = prop_oneof![8 => Just(0), 1 => Just(5), 1 => Just(-1), 1 => Just(-2), 1 => Just(i32::MIN)];
    let handles = prop_oneof![Just(None), (0..3_usize).prop_map(Some)];
    let call = prop_oneof![
        24 => command.prop_map(Call::Send),
        48 => (size.clone(), capacity, timeout).prop_map(|(size, capacity, timeout)| Call::Receive(size, capacity, timeout)),
        8 => Just(Call::Cancel),
        8 => (handles, size).prop_map(|(capacity, count)| Call::GetPollHandles(capacity, count)),
        8 => prop_oneof![0..40_u8, any::<u8>()].prop_map(Call::SetLocality),
        2 => Just(Call::MakeSticky),
        1 => Just(Call::Finalize),
        4 => Just(Call::Preempt),
        4 => Just(Call::Alongside),
    ];
    vec((context, call, behaviour), 0..60)
}

/// The expected result of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Row {
    code: TSS2_RC,
    /// The next state; `None` after the end of the context.
    next: Option<State>,
    /// Whether `abandon` is called.
    abandons: bool,
    /// Whether the caller gets the response.
    delivers: bool,
}

/// Returns the expected result: the first matching line of the table.
fn table(state: Option<State>, context: Context, call: &Call, behaviour: Behaviour) -> Row {
    use Call::*;
    use State::*;
    let row = |code: core::result::Result<(), ReturnCode>, next: Option<State>| Row {
        code: code.map_or_else(ReturnCode::to_c, |()| 0),
        next,
        abandons: false,
        delivers: false,
    };
    let reject = |rc| row(Err(rc), state);
    let fatal = |rc| Row { abandons: true, ..row(Err(rc), Some(Transmit)) };
    match (state, call, behaviour) {
        (_, Finalize, _) if context == Context::Ours => row(Ok(()), None),
        (_, Finalize, _) => row(Ok(()), state),
        (_, Call::Send(None) | Receive(false, ..) | GetPollHandles(_, false), _) => reject(ReturnCode::BAD_REFERENCE),
        _ if context == Context::Null => reject(ReturnCode::BAD_REFERENCE),
        _ if context == Context::Foreign => reject(ReturnCode::BAD_CONTEXT),
        (None, ..) => reject(ReturnCode::BAD_SEQUENCE),

        (_, Call::Send(Some((size, _))), _) if *size > MAX_COMMAND => reject(ReturnCode::BAD_VALUE),
        (Some(Awaiting | Ready), Call::Send(_), _) => reject(ReturnCode::BAD_SEQUENCE),
        (_, Call::Send(Some((size, says))), _) if *size < 10 || size != says => reject(ReturnCode::BAD_VALUE),
        (_, Call::Send(_), Behaviour::Fail(rc)) => fatal(rc),
        (_, Call::Send(_), Behaviour::Panic) => row(Err(ReturnCode::GENERAL_FAILURE), None),
        (_, Call::Send(_), _) => row(Ok(()), Some(Awaiting)),

        (_, Receive(_, _, ..-1), _) => reject(ReturnCode::BAD_VALUE),
        (Some(Transmit), Receive(..), _) => reject(ReturnCode::BAD_SEQUENCE),
        (Some(Awaiting), Receive(..), Behaviour::Pend) => reject(ReturnCode::TRY_AGAIN),
        (Some(Awaiting), Receive(..), Behaviour::Fail(rc)) => fatal(rc),
        (Some(Awaiting), Receive(..), Behaviour::Overflow | Behaviour::Truncate) => {
            fatal(ReturnCode::MALFORMED_RESPONSE)
        }
        (Some(Awaiting), Receive(..), Behaviour::Panic) => row(Err(ReturnCode::GENERAL_FAILURE), None),
        (_, Receive(_, None, _), _) => row(Ok(()), Some(Ready)),
        (_, Receive(_, Some(capacity), _), _) if *capacity < OK.len() => {
            row(Err(ReturnCode::INSUFFICIENT_BUFFER), Some(Ready))
        }
        (_, Receive(..), _) => Row { delivers: true, ..row(Ok(()), Some(Transmit)) },

        (Some(Transmit), Cancel, _) => reject(ReturnCode::BAD_SEQUENCE),
        (Some(Ready), Cancel, _) => row(Ok(()), Some(Transmit)),
        (_, Cancel, Behaviour::Fail(rc)) => reject(rc),
        (_, Cancel, Behaviour::Panic) => row(Err(ReturnCode::GENERAL_FAILURE), None),
        (_, Cancel, _) => row(Ok(()), Some(Transmit)),

        (Some(Awaiting | Ready), SetLocality(_), _) => reject(ReturnCode::BAD_SEQUENCE),
        (_, SetLocality(5..32), _) => reject(ReturnCode::BAD_VALUE),
        (_, SetLocality(_), Behaviour::Fail(rc)) => reject(rc),
        (_, SetLocality(_), Behaviour::Panic) => row(Err(ReturnCode::GENERAL_FAILURE), None),

        (_, GetPollHandles(Some(0), _), _) => reject(ReturnCode::INSUFFICIENT_BUFFER),
        (_, MakeSticky, _) => reject(ReturnCode::NOT_IMPLEMENTED),

        (Some(Awaiting), Preempt, Behaviour::Panic) => Row { next: None, ..fatal(ReturnCode::GENERAL_FAILURE) },
        (Some(Awaiting), Preempt, Behaviour::Fail(rc)) => fatal(rc),
        (Some(Awaiting), Preempt, _) => Row { abandons: true, ..row(Ok(()), Some(Transmit)) },
        (Some(Ready), Preempt, Behaviour::Panic) => row(Err(ReturnCode::GENERAL_FAILURE), None),
        (Some(Ready), Preempt, Behaviour::Fail(rc)) => row(Err(rc), Some(Transmit)),
        (Some(Ready), Preempt, _) => row(Ok(()), Some(Transmit)),
        (_, Preempt | Alongside, Behaviour::Panic) => row(Err(ReturnCode::GENERAL_FAILURE), None),
        (_, Preempt | Alongside, Behaviour::Fail(rc)) => reject(rc),
        (_, SetLocality(_) | GetPollHandles(..) | Preempt | Alongside, _) => row(Ok(()), state),
    }
}

/// What the transport shares with the test: how to behave, and how often it was called.
#[derive(Default)]
struct Control {
    behaviour: Option<Behaviour>,
    abandoned: usize,
    dropped: usize,
}

struct Controlled(Arc<Mutex<Control>>);

impl Controlled {
    fn control(&self) -> MutexGuard<'_, Control> {
        self.0.lock().unwrap()
    }

    fn behave(&mut self) -> Result<()> {
        let behaviour = self.control().behaviour;
        match behaviour {
            Some(Behaviour::Fail(rc)) => Err(rc.into()),
            Some(Behaviour::Panic) => panic!("the test asks for a panic"),
            _ => Ok(()),
        }
    }
}

impl Drop for Controlled {
    fn drop(&mut self) {
        self.control().dropped += 1;
    }
}

impl Transport for Controlled {
    fn send(&mut self, command: &[u8]) -> Result<()> {
        assert!(Header::parse(command).is_some_and(|header| header.says(command.len())));
        self.behave()
    }

    fn recv(&mut self, rx: &mut RxBuf, _wait: Wait) -> Result<Progress> {
        self.behave()?;
        let behaviour = self.control().behaviour;
        let half = OK.get(rx.len()..OK.len() / 2).unwrap_or_default();
        match behaviour {
            Some(Behaviour::Pend | Behaviour::Truncate) => rx.extend(half),
            Some(Behaviour::Overflow) => rx.extend(&[&OK[rx.len()..], &[0]].concat()),
            _ => rx.extend(&OK[rx.len()..]),
        }?;
        Ok(if behaviour == Some(Behaviour::Pend) { Progress::Pending } else { Progress::Complete })
    }

    fn abandon(&mut self) {
        self.control().abandoned += 1;
    }

    fn after_fork(&mut self, _inheritance: Inheritance) {}

    const CANCEL: Option<Cancel<Self>> = Some(Controlled::behave);
    const SET_LOCALITY: Option<SetLocality<Self>> = Some(|transport, _| transport.behave());
    const POLL_HANDLES: Option<GetPollHandles<Self>> = Some(|_, watch| {
        watch(polled());
        Ok(())
    });
}

impl Module for Controlled {
    const MAGIC: u64 = 0x6f62_6564_6965_6e74;
}

/// A C caller with one of our contexts and a context of another module.
struct Caller {
    ours: Box<[u64; CONTEXT_SIZE.div_ceil(8)]>,
    foreign: Box<[u64; CONTEXT_SIZE.div_ceil(8)]>,
    functions: TSS2_TCTI_CONTEXT_COMMON_V2,
    control: Arc<Mutex<Control>>,
    /// The file descriptor that the first poll handle had.
    polled: Option<i32>,
}

impl Caller {
    fn new() -> Caller {
        let (mut ours, control) = (Box::new([0; CONTEXT_SIZE.div_ceil(8)]), Arc::new(Mutex::new(Control::default())));
        let (mut size, transport) = (CONTEXT_SIZE, Controlled(Arc::clone(&control)));
        // SAFETY: `ours` has CONTEXT_SIZE bytes, at the start of which Init writes the head.
        let functions = unsafe {
            assert_eq!(init_with(ours.as_mut_ptr().cast(), &mut size, null::<()>(), |_| Ok(transport)), 0);
            ours.as_ptr().cast::<TSS2_TCTI_CONTEXT_COMMON_V2>().read()
        };
        Caller { ours, foreign: Box::new([1; CONTEXT_SIZE.div_ceil(8)]), functions, control, polled: None }
    }

    fn context(&mut self, context: Context) -> *mut TSS2_TCTI_CONTEXT {
        match context {
            Context::Ours => self.ours.as_mut_ptr().cast(),
            Context::Null => null_mut(),
            Context::Foreign => self.foreign.as_mut_ptr().cast(),
        }
    }

    /// Makes a call and checks what it has written.
    fn call(&mut self, context: Context, call: &Call, row: Row) -> TSS2_RC {
        let ctx = self.context(context);
        let functions = &self.functions.v1;
        // SAFETY: the test passes live contexts, and sizes that are correct or that the callee rejects before it uses them.
        unsafe {
            match call {
                Call::Send(None) => functions.transmit.unwrap()(ctx, GET_RANDOM.len(), null()),
                Call::Send(Some((size, says))) => {
                    let mut command = GET_RANDOM.to_vec();
                    command[2..6].copy_from_slice(&u32::try_from(*says).unwrap().to_be_bytes());
                    command.resize(40, 0);
                    functions.transmit.unwrap()(ctx, *size, command.as_ptr())
                }
                Call::Receive(has_size, capacity, timeout) => {
                    let (mut size, mut response) = (capacity.unwrap_or(77), [0xa5; 40]);
                    let pointer = if *has_size { &raw mut size } else { null_mut() };
                    let buffer = if capacity.is_some() { response.as_mut_ptr() } else { null_mut() };
                    let code = functions.receive.unwrap()(ctx, pointer, buffer, *timeout);
                    let tells = code == 0 || code == ReturnCode::INSUFFICIENT_BUFFER.to_c();
                    assert_eq!(size, if tells { OK.len() } else { capacity.unwrap_or(77) });
                    let written = if row.delivers { OK } else { &[] };
                    assert_eq!(response[..written.len()], *written);
                    assert!(response[written.len()..].iter().all(|byte| *byte == 0xa5), "written beyond the response");
                    code
                }
                Call::Cancel => functions.cancel.unwrap()(ctx),
                Call::GetPollHandles(capacity, has_count) => {
                    let (mut count, mut handle) =
                        (capacity.unwrap_or(77), PollHandle { fd: -1, events: 0, revents: 7 });
                    let pointer = if *has_count { &raw mut count } else { null_mut() };
                    let handles = if capacity.is_some() { &raw mut handle } else { null_mut() };
                    let code = functions.getPollHandles.unwrap()(ctx, handles, pointer);
                    if code == 0 && capacity.is_some() {
                        assert_eq!((handle.events, handle.revents, count), (libc::POLLIN, 0, 1));
                        assert_eq!(handle.fd, *self.polled.get_or_insert(handle.fd), "the handle must stay the same");
                        let is_due = row.next == Some(State::Awaiting);
                        assert_eq!(libc::poll(&mut handle, 1, 0), i32::from(!is_due));
                    }
                    code
                }
                Call::SetLocality(locality) => functions.setLocality.unwrap()(ctx, *locality),
                Call::MakeSticky => self.functions.makeSticky.unwrap()(ctx, null_mut(), 1),
                Call::Finalize => {
                    functions.finalize.unwrap()(ctx);
                    0
                }
                Call::Preempt => super::call::<Controlled>(ctx, |session| session.preempt(Controlled::behave)),
                Call::Alongside => super::call::<Controlled>(ctx, |session| session.alongside(Controlled::behave)),
            }
        }
    }

    /// Returns the state of our context; `None` after its end.
    fn state(&mut self) -> Option<State> {
        let mut state = None;
        let look = |session: tcti_core::session::Entered<'_, Controlled>| {
            state = Some(session.state());
            Ok(())
        };
        // SAFETY: `self` owns the memory of the context.
        unsafe { super::call::<Controlled>(self.context(Context::Ours), look) };
        state
    }
}

proptest! {
    #[test]
    fn calls_in_any_order_match_the_table(calls in calls()) {
        let mut caller = Caller::new();
        let (mut state, mut abandoned) = (Some(State::Transmit), 0);
        for (context, call, behaviour) in calls {
            caller.control.lock().unwrap().behaviour = Some(behaviour);
            let row = table(state, context, &call, behaviour);
            assert_eq!(caller.call(context, &call, row), row.code, "{call:?} of {context:?} in {state:?}, {behaviour:?}");
            assert_eq!(caller.state(), row.next, "after {call:?} of {context:?} in {state:?}, {behaviour:?}");
            state = row.next;
            abandoned += usize::from(row.abandons);
            let control = caller.control.lock().unwrap();
            assert_eq!(control.abandoned, abandoned, "{call:?}, {behaviour:?}");
            assert_eq!(control.dropped, usize::from(state.is_none()), "the transport must be dropped with the context, and not earlier");
        }
        caller.call(Context::Ours, &Call::Finalize, table(state, Context::Ours, &Call::Finalize, Behaviour::Succeed));
    }
}
