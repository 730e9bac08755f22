// SPDX-License-Identifier: BSD-2-Clause
//! System calls that no crate wraps.
#![expect(unsafe_code, reason = "an island of unsafe code, see src/README.md")]

use nix::errno::Errno;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU32;

/// Returns whether this process has more privileges than its user (set-user-ID, set-group-ID, file capabilities).
pub fn runs_with_foreign_rights() -> bool {
    // SAFETY: getauxval has no preconditions.
    let secure = unsafe { libc::getauxval(libc::AT_SECURE) };
    secure != 0
}

/// Maps a word that is 0 at first, and 0 again in each forked process (`MADV_WIPEONFORK`, madvise(2)). It is never unmapped.
pub(crate) fn cleared_in_child() -> io::Result<&'static AtomicU32> {
    let size = size_of::<AtomicU32>(); // the kernel maps whole pages
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: the kernel chooses an address range that is not in use.
    let page = unsafe { libc::mmap(ptr::null_mut(), size, access, kind, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: this function has just mapped the page, and nothing else refers to it.
    let advise = |advice| unsafe { libc::madvise(page, size, advice) };
    // An emulator that accepts invalid advice ignores all advice.
    let ignores_advice = advise(-1) == 0;
    if ignores_advice || advise(libc::MADV_WIPEONFORK) != 0 {
        let error = io::Error::last_os_error();
        // SAFETY: this function has mapped the page and no reference to it exists.
        unsafe { libc::munmap(page, size) };
        return Err(error);
    }
    // SAFETY: the kernel has mapped an aligned, zeroed page, which is a valid AtomicU32, and nobody unmaps it.
    Ok(unsafe { &*page.cast() })
}

/// State that is shared by the process that creates it and all that are forked from it. All words are 0 at first.
#[repr(C)]
pub(crate) struct SharedState {
    /// Not 0 once a second process has used the connection.
    pub(crate) shared: AtomicU32,
    /// The state of the last exchange; the values are in `turns::exchange`.
    pub(crate) exchange: AtomicU32,
    /// The ID of the process that had the last turn.
    pub(crate) last_id: AtomicU32,
    /// The highest ID that a process has taken.
    pub(crate) highest_id: AtomicU32,
    /// Not 0 while a process may wait on one of the futexes.
    pub(crate) waiting: AtomicU32,
    /// A futex that changes when the turn may be free. The next process waits on it.
    pub(crate) turn_futex: AtomicU32,
    /// A futex that changes when the lock of the next process may be free. All other processes wait on it.
    pub(crate) queue_futex: AtomicU32,
}

/// A shared mapping of [`SharedState`]. Other processes may write any value to it, and every value is valid.
pub(crate) struct SharedPage(NonNull<SharedState>);

// SAFETY: all fields are atomic, and `SharedPage` keeps the page mapped at the same address until it is dropped.
unsafe impl Send for SharedPage {}

impl SharedPage {
    pub(crate) fn new() -> io::Result<SharedPage> {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: the kernel chooses an address range that is not in use.
        let page = unsafe { libc::mmap(ptr::null_mut(), size_of::<SharedState>(), access, kind, -1, 0) };
        match NonNull::new(page.cast()) {
            Some(words) if page != libc::MAP_FAILED => Ok(SharedPage(words)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(any(test, feature = "testing"))]
impl SharedPage {
    /// Maps the same page a second time, as a forked process has it. For tests.
    pub(crate) fn map_again(&self) -> SharedPage {
        let (old, size) = (self.0.as_ptr().cast(), size_of::<SharedState>());
        // SAFETY: with an old size of 0 the kernel maps the pages a second time and keeps the first mapping (mremap(2)).
        let page = unsafe { libc::mremap(old, 0, size, libc::MREMAP_MAYMOVE) };
        assert!(page != libc::MAP_FAILED, "{}", io::Error::last_os_error());
        SharedPage(NonNull::new(page.cast()).unwrap_or(self.0))
    }
}

impl Deref for SharedPage {
    type Target = SharedState;

    fn deref(&self) -> &SharedState {
        // SAFETY: `SharedPage` keeps the aligned page mapped, and every bit pattern is a valid AtomicU32.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: `self` owns the mapping and no reference outlives it; other processes have mappings of their own.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<SharedState>()) };
    }
}

/// A forked process, which is killed when this is dropped. For tests.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug)]
pub struct Forked(libc::pid_t);

#[cfg(any(test, feature = "testing"))]
impl Forked {
    /// Forks a process that evaluates `question` and exits: with 0 for true, with 1 for false or a panic. It drops nothing
    /// that the closure borrows.
    pub fn asks(question: impl FnOnce() -> bool) -> Forked {
        // SAFETY: the tests that call this take no lock in the child that another thread of this process may hold.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let yes = std::panic::catch_unwind(std::panic::AssertUnwindSafe(question)).unwrap_or(false);
            // SAFETY: _exit has no preconditions.
            unsafe { libc::_exit(libc::c_int::from(!yes)) };
        }
        Forked(child)
    }

    /// Forks a process as [`asks`](Forked::asks) does, and returns its exit status.
    pub fn status_of(question: impl FnOnce() -> bool) -> Option<libc::c_int> {
        Forked::asks(question).status()
    }

    /// Returns the process ID.
    pub fn id(&self) -> libc::pid_t {
        self.0
    }

    /// Kills the process and waits for its end, as a drop does.
    pub fn kill(self) {}

    /// Waits for the process and returns its exit status; `None` if a signal ended it.
    pub fn status(mut self) -> Option<libc::c_int> {
        self.wait()
    }

    fn wait(&mut self) -> Option<libc::c_int> {
        let mut status = 0;
        // SAFETY: `status` is a local variable that the kernel may write.
        let ended = unsafe { libc::waitpid(self.0, &mut status, 0) };
        (ended == core::mem::take(&mut self.0) && libc::WIFEXITED(status)).then(|| libc::WEXITSTATUS(status))
    }
}

#[cfg(any(test, feature = "testing"))]
impl Drop for Forked {
    fn drop(&mut self) {
        if self.0 != 0 {
            // SAFETY: this process has not waited for its child yet, so the kernel has not reused the ID.
            unsafe { libc::kill(self.0, libc::SIGKILL) };
            self.wait();
        }
    }
}

/// Makes statx(2) and fstat(2) fail with EPERM in this process, as a sandbox may (seccomp(2)).
#[cfg(all(test, target_arch = "x86_64"))]
pub(crate) fn deny_calls_about_files() {
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let (is_equal, end) = ((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, (libc::BPF_RET | libc::BPF_K) as u16);
    let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let mut filter = vec![step(load, 0, 0, 0)]; // the number of the system call
    for call in [libc::SYS_statx, libc::SYS_fstat, libc::SYS_newfstatat] {
        filter.push(step(is_equal, call as u32, 0, 1));
        filter.push(step(end, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, 0, 0));
    }
    filter.push(step(end, libc::SECCOMP_RET_ALLOW, 0, 0));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: PR_SET_NO_NEW_PRIVS takes numbers only.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the kernel copies the filter, which outlives the call.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) }, 0);
}

/// Makes `number` another number of `file`. For tests.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn give_number(file: BorrowedFd<'_>, number: libc::c_int) {
    // SAFETY: the tests that call this check what happens to owners of the number.
    let result = unsafe { libc::dup2(file.as_raw_fd(), number) };
    assert_eq!(result, number, "{}", io::Error::last_os_error());
}

/// Calls `epoll_ctl(2)`. `fd` is any number: the transports of other modules name their file descriptors by number.
pub(crate) fn epoll_ctl(epoll: &OwnedFd, operation: libc::c_int, fd: RawFd, events: u32) -> nix::Result<()> {
    let mut event = libc::epoll_event { events, u64: 0 };
    // SAFETY: the kernel reads `event`, which outlives the call, and rejects a number that is not an open file.
    let result = unsafe { libc::epoll_ctl(epoll.as_raw_fd(), operation, fd, &mut event) };
    Errno::result(result).map(drop)
}

/// Returns whether `poll(2)` reports one of these as ready now. For tests.
#[cfg(any(test, feature = "testing"))]
pub fn is_ready(handles: &mut [libc::pollfd]) -> bool {
    is_ready_within(handles, 0)
}

/// Returns whether `poll(2)` reports one of these as ready within a time in milliseconds; -1 is forever. For tests.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn is_ready_within(handles: &mut [libc::pollfd], timeout: libc::c_int) -> bool {
    let count = libc::nfds_t::try_from(handles.len()).unwrap_or_default();
    // SAFETY: the kernel reads and writes `count` handles, which the caller lends for the call. It reports closed descriptors.
    unsafe { libc::poll(handles.as_mut_ptr(), count, timeout) > 0 }
}

/// Returns how many bytes can be read; 0 for a closed file descriptor. For tests.
#[cfg(any(test, feature = "property"))]
pub(crate) fn unread(fd: libc::c_int) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: the kernel writes an int to `count`, which outlives the call.
    let result = unsafe { libc::ioctl(fd, libc::FIONREAD, &mut count) };
    if result == 0 { usize::try_from(count).unwrap_or_default() } else { 0 }
}

/// Returns whether the size of files is unlimited (`RLIMIT_FSIZE`, getrlimit(2)). Called before each write to a file, so it
/// avoids the getrlimit of libc, which uses prlimit64(2): that takes the kernel twice as long, because it can also query other
/// processes.
#[cfg(target_arch = "x86_64")]
pub(crate) fn files_are_unlimited() -> bool {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the kernel writes to `limit`, which outlives the call and has the kernel's layout on x86-64.
    let result = unsafe { libc::syscall(libc::SYS_getrlimit, libc::RLIMIT_FSIZE, limit.as_mut_ptr()) };
    // SAFETY: the kernel has initialised `limit` if it reported success.
    result == 0 && unsafe { limit.assume_init() }.rlim_cur == libc::RLIM_INFINITY
}

/// Returns whether the size of files is unlimited. On 32-bit systems libc's getrlimit may truncate a limit to 32 bits.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn files_are_unlimited() -> bool {
    rustix::process::getrlimit(rustix::process::Resource::Fsize).current.is_none()
}

/// Calls `write(2)`, and fails with EPIPE or EFBIG instead of raising SIGPIPE or SIGXFSZ. Restores the signal mask, and keeps
/// a signal that was pending before.
pub(crate) fn write_without_signal(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let both = set_of(&[libc::SIGPIPE, libc::SIGXFSZ]);
    let mut pending = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the kernel writes to `pending`, which outlives the call.
    unsafe { libc::sigpending(pending.as_mut_ptr()) };
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets outlive the call. It changes only this thread's mask, which this function restores.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &both, before.as_mut_ptr()) };
    // SAFETY: the caller lends `bytes`, which the kernel reads for its length.
    let written = unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
    let result = usize::try_from(written).map_err(|_| io::Error::last_os_error());
    let raised = match result.as_ref().err().and_then(io::Error::raw_os_error) {
        Some(libc::EPIPE) => Some(libc::SIGPIPE),
        Some(libc::EFBIG) => Some(libc::SIGXFSZ),
        _ => None,
    };
    if let Some(signal) = raised {
        // SAFETY: sigpending has initialised `pending`; it fails only for a bad address.
        let was_pending = unsafe { libc::sigismember(pending.as_ptr(), signal) } == 1;
        if !was_pending {
            let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: the set and the time outlive the call; NULL discards the details of the signal.
            unsafe { libc::sigtimedwait(&set_of(&[signal]), ptr::null_mut(), &at_once) };
        }
    }
    // SAFETY: pthread_sigmask has initialised `before` above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    result
}

fn set_of(signals: &[libc::c_int]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises `set`, which outlives the call.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for signal in signals {
        // SAFETY: sigemptyset has initialised `set`.
        unsafe { libc::sigaddset(set.as_mut_ptr(), *signal) };
    }
    // SAFETY: sigemptyset has initialised `set`.
    unsafe { set.assume_init() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_broken_pipe_is_an_error_and_raises_no_signal() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        assert_eq!(write_without_signal(writer.as_fd(), b"abc").unwrap(), 3);
        drop(reader);
        let sigpipe = set_of(&[libc::SIGPIPE]);
        // SAFETY: SIG_DFL installs no handler. The default action of SIGPIPE would end this test.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let error = write_without_signal(writer.as_fd(), b"abc").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPIPE));
        let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the set and the time outlive the call; NULL discards the details of the signal.
        let left = unsafe { libc::sigtimedwait(&sigpipe, ptr::null_mut(), &at_once) };
        assert_eq!(left, -1, "no SIGPIPE may be pending");
    }
}
