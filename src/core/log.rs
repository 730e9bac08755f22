// SPDX-License-Identifier: BSD-2-Clause
//! Writes the records of the `log` crate in the line format of tpm2-tss, controlled by its environment variables `TSS2_LOG`
//! and `TSS2_LOGFILE`. [`init`] connects it; [`line`] formats every line and escapes control characters, so that no message
//! can be two lines.

use crate::deadline::Deadline;
use crate::io::Outlet;
use crate::own_file::{self, Accepts};
use log::{Level, LevelFilter, Log, Metadata, Record};
use once_cell::race::OnceBox;
use std::env;
use std::ffi::{CString, OsStr};
use std::fmt::{self, Write};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Formats bytes as hexadecimal digits. Only for records of level debug, because commands and responses can hold secrets.
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Connects the `log` crate, once in the lifetime of the library.
pub fn init() {
    // Never waits for the thread that came first: in a forked process it may not exist.
    static CONNECTED: AtomicBool = AtomicBool::new(false);
    if !CONNECTED.load(Ordering::Relaxed) && !CONNECTED.swap(true, Ordering::Relaxed) {
        let level = env::var_os("TSS2_LOG").map_or(DEFAULT_LEVEL, |spec| level(spec.as_bytes()));
        // Whoever starts such a program must not see the commands that it sends.
        let level = if crate::io::runs_with_foreign_rights() { level.min(DEFAULT_LEVEL) } else { level };
        if log::set_logger(&SINK).is_ok() {
            log::set_max_level(level);
        }
    }
}

/// Warns once about the first invalid part of `TSS2_LOG`. Only the loader calls this; otherwise each module would print the
/// same warning.
pub fn warn_of_invalid_level() {
    static CHECKED: AtomicBool = AtomicBool::new(false);
    if CHECKED.swap(true, Ordering::Relaxed) {
        return;
    }
    if let Some(part) = env::var_os("TSS2_LOG").and_then(|spec| invalid_part(spec.as_bytes()).map(OsStr::to_owned)) {
        log::warn!(
            "TSS2_LOG: \"{}\" is ignored: expected module+level, such as tcti+debug or all+none. Levels are none, error, \
             warning, info, debug and trace",
            crate::visible::visible(part)
        );
    }
}

/// Returns the first part that lacks a module or a valid level. The module may be any library of the stack.
fn invalid_part(spec: &[u8]) -> Option<&OsStr> {
    let is_level = |level: &[u8]| LEVELS.iter().any(|(name, _)| level.eq_ignore_ascii_case(name));
    let is_valid = |part: &&[u8]| match part.iter().position(|&byte| byte == b'+') {
        Some(at @ 1..) => part.get(at + 1..).is_some_and(is_level),
        _ => part.is_empty(),
    };
    spec.split(|&byte| byte == b',').find(|part| !is_valid(part)).map(OsStr::from_bytes)
}

/// The mode of a new file, less the umask.
const MODE: u32 = 0o666;
/// How long a write may block on a reader that does not read; then the line is dropped.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

const DEFAULT_LEVEL: LevelFilter = LevelFilter::Warn;

/// Returns the level that `TSS2_LOG` sets for TCTIs: `module+LEVEL` parts separated by commas, of which the last one that
/// names `tcti` or `all` applies.
fn level(spec: &[u8]) -> LevelFilter {
    let ours = |part: &[u8]| {
        let (module, level) = part.split_at(part.iter().position(|&byte| byte == b'+')?);
        if !module.eq_ignore_ascii_case(b"all") && !module.eq_ignore_ascii_case(b"tcti") {
            return None;
        }
        LEVELS.iter().find(|(name, _)| level.get(1..).is_some_and(|level| level.eq_ignore_ascii_case(name)))
    };
    spec.split(|&byte| byte == b',').rev().find_map(ours).map_or(DEFAULT_LEVEL, |&(_, level)| level)
}

const LEVELS: [(&[u8], LevelFilter); 6] = [
    (b"NONE", LevelFilter::Off),
    (b"ERROR", LevelFilter::Error),
    (b"WARNING", LevelFilter::Warn),
    (b"INFO", LevelFilter::Info),
    (b"DEBUG", LevelFilter::Debug),
    (b"TRACE", LevelFilter::Trace),
];

/// The destination of the log.
enum Target {
    Stdout,
    Stderr,
    File(LogFile),
}

/// A file to which lines are appended.
struct LogFile {
    path: CString,
    outlet: Outlet,
    /// The destination after the program has closed the file descriptor.
    next: OnceBox<Target>,
}

impl Target {
    /// Chooses the destination that `TSS2_LOGFILE` names.
    fn new(name: Option<&OsStr>) -> Target {
        match name.map(OsStr::as_bytes) {
            None | Some(b"" | b"stderr" | b"/dev/stderr") => Target::Stderr,
            Some(b"-" | b"stdout" | b"/dev/stdout") => Target::Stdout,
            Some(path) => {
                // It stays the same file when the program changes its directory.
                let mut absolute = Vec::new();
                if let (false, Ok(dir)) = (path.starts_with(b"/"), env::current_dir()) {
                    absolute.extend_from_slice(dir.as_os_str().as_bytes());
                    absolute.push(b'/');
                }
                absolute.extend_from_slice(path);
                CString::new(absolute).map_or(Target::Stderr, Target::open)
            }
        }
    }

    /// Writes a line. Fails with EBADF if the program has closed the file descriptor of the file.
    fn write(&self, line: &str) -> io::Result<()> {
        match self {
            Target::Stdout => write(io::stdout().as_fd(), line),
            Target::Stderr => write(io::stderr().as_fd(), line),
            Target::File(file) => file.outlet.write_all(line.as_bytes(), WRITE_TIMEOUT),
        }
    }

    /// Opens a file; stderr, with a line that says why, if it cannot be opened.
    fn open(path: CString) -> Target {
        // A FIFO without a reader must not block the program: opening it fails, or lines are dropped.
        match own_file::append(&path, MODE, Accepts::Stream).and_then(Outlet::new) {
            Ok(outlet) => Target::File(LogFile { path, outlet, next: OnceBox::new() }),
            Err(error) => {
                let path = String::from_utf8_lossy(path.to_bytes());
                warn_on_stderr(format_args!("cannot write the log to {path}: {error}. It goes to stderr"));
                Target::Stderr
            }
        }
    }
}

/// Writes a warning, but not through the log, which is being opened.
fn warn_on_stderr(reason: fmt::Arguments<'_>) {
    let origin = concat!(file!(), ":", line!());
    let mut record = Record::builder();
    let record = record.level(Level::Warn).target(module_path!()).file_static(Some(origin)).args(reason).build();
    if SINK.enabled(record.metadata()) {
        let _ = line(&record).map(|line| write(io::stderr().as_fd(), &line));
    }
}

/// Returns whether malloc(3) has memory: the static reserve of a module has no block of this size.
fn has_memory() -> bool {
    Vec::<u8>::new().try_reserve_exact(64 << 10).is_ok()
}

/// Writes to the destination in `target`, which is chosen at the first line. Without memory it is chosen for this line only,
/// because what stays comes from malloc(3) alone.
fn write_to(mut target: &OnceBox<Target>, line: &str) -> io::Result<()> {
    let mut again = None;
    loop {
        let choose = || again.map_or_else(of_environment, Target::open);
        let chosen = match target.get() {
            Some(chosen) => chosen,
            None if has_memory() => target.get_or_init(|| Box::new(choose())),
            None => return choose().write(line),
        };
        match (chosen.write(line), chosen) {
            (Err(error), Target::File(file)) if error.raw_os_error() == Some(libc::EBADF) => {
                (target, again) = (&file.next, Some(file.path.clone()));
            }
            (written, _) => return written,
        }
    }
}

struct Sink {
    target: OnceBox<Target>,
}

static SINK: Sink = Sink { target: OnceBox::new() };

/// Returns the destination of this process. Ignores `TSS2_LOGFILE` in a program with elevated privileges.
fn of_environment() -> Target {
    let name = env::var_os("TSS2_LOGFILE").filter(|_| !crate::io::runs_with_foreign_rights());
    Target::new(name.as_deref())
}

impl Log for Sink {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // An error of the log itself is ignored, and a line for which there is no memory is dropped.
        let Ok(line) = line(record) else { return };
        let _ = write_to(&self.target, &line);
    }

    fn flush(&self) {}
}

/// Formats `LEVEL:tcti:file:line:func() text`. Rust does not know the name of the function; the innermost module takes its
/// place.
#[inline(never)]
fn line(record: &Record<'_>) -> core::result::Result<String, fmt::Error> {
    let level = match record.level() {
        Level::Error => "ERROR",
        Level::Warn => "WARNING",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    let module = record.target().rsplit("::").next().unwrap_or_default();
    let module = module.strip_prefix("tcti_").unwrap_or(module); // the root of a crate
    let file = record.file().unwrap_or_default();
    let mut line = Line(String::new());
    write!(line, "{level}:tcti:{file}")?;
    // The file of an error already includes the line number.
    if let Some(number) = record.line() {
        write!(line, ":{number}")?;
    }
    write!(line, ":{module}() {}", record.args())?;
    escape_controls(&mut line)?;
    line.write_str("\n")?;
    Ok(line.0)
}

/// Escapes the characters that a peer, a file or a configuration string may have put into a message, so that a record stays
/// one line and neither controls a terminal nor changes the order of what is shown.
fn escape_controls(line: &mut Line) -> fmt::Result {
    if !line.0.contains(is_control) {
        return Ok(());
    }
    let mut escaped = Line(String::new());
    for letter in line.0.chars() {
        match (is_control(letter), u32::from(letter)) {
            (false, _) => escaped.write_char(letter)?,
            (true, code @ ..=0xff) => write!(escaped, "\\x{code:02x}")?,
            (true, code) => write!(escaped, "\\u{{{code:x}}}")?,
        }
    }
    *line = escaped;
    Ok(())
}

/// Returns whether this is a control character, a line or paragraph separator, or a control of the writing direction
/// (Unicode Standard Annex 9, section 2).
pub(crate) fn is_control(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A string that reports an error if it cannot grow: a command in a record of level debug has up to 2 MiB of digits.
pub(crate) struct Line(String);

impl Line {
    /// Formats `text`; fails if there is no memory for it.
    pub(crate) fn of(text: fmt::Arguments<'_>) -> core::result::Result<String, fmt::Error> {
        let mut line = Line(String::new());
        line.write_fmt(text)?;
        Ok(line.0)
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.try_reserve(text.len()).map_err(|_| fmt::Error)?;
        self.0.push_str(text);
        Ok(())
    }
}

fn write(stream: BorrowedFd<'_>, line: &str) -> io::Result<()> {
    crate::io::write_all(stream, line.as_bytes(), &Deadline::within(WRITE_TIMEOUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_matching_part_sets_the_level() {
        assert_eq!(level(b"all+ERROR"), LevelFilter::Error);
        assert_eq!(level(b"all+error,tcti+Debug"), LevelFilter::Debug);
        assert_eq!(level(b"tcti+debug,ALL+none"), LevelFilter::Off);
        assert_eq!(level(b"esys+trace"), DEFAULT_LEVEL);
        assert_eq!(level(b"tcti+trace,esys+none"), LevelFilter::Trace);
    }

    #[test]
    fn invalid_parts_are_ignored() {
        for spec in [&b""[..], b"debug", b"tcti", b"tcti+", b"+debug", b"tcti+loud", b",,", b"\xff+debug"] {
            assert_eq!(level(spec), DEFAULT_LEVEL);
        }
        assert_eq!(level(b"tcti+info,tcti+loud"), LevelFilter::Info);
    }

    #[test]
    fn the_first_invalid_part_is_found() {
        for valid in [&b""[..], b"tcti+debug", b"all+NONE,esys+Trace", b",tcti+info,"] {
            assert_eq!(invalid_part(valid), None);
        }
        for (spec, part) in [
            (&b"debug"[..], "debug"),
            (b"tcti+", "tcti+"),
            (b"+debug", "+debug"),
            (b"tcti+info,tcti+loud", "tcti+loud"),
        ] {
            assert_eq!(invalid_part(spec), Some(OsStr::new(part)));
        }
    }

    #[test]
    fn lines_have_the_format_of_tpm2_tss() {
        let make = |level| {
            line(
                &Record::builder()
                    .level(level)
                    .target("tcti_net::stream")
                    .file(Some("src/x.rs"))
                    .line(Some(7))
                    .args(format_args!("text"))
                    .build(),
            )
            .unwrap()
        };
        assert_eq!(make(Level::Warn), "WARNING:tcti:src/x.rs:7:stream() text\n");
        assert_eq!(make(Level::Debug), "debug:tcti:src/x.rs:7:stream() text\n");
    }

    #[test]
    fn control_characters_are_escaped() {
        let mut text = Line("grün\r\n\u{1b}[2J\u{9b}\u{7f}\u{2028}\u{202e}".to_owned());
        escape_controls(&mut text).unwrap();
        assert_eq!(text.0, r"grün\x0d\x0a\x1b[2J\x9b\x7f\u{2028}\u{202e}");
        for code in (0..0x20).chain(0x7f..0xa0).chain([0x2028, 0x2029]).chain(0x202a..0x202f).chain(0x2066..0x206a) {
            let mut text = Line(char::from_u32(code).unwrap().to_string());
            escape_controls(&mut text).unwrap();
            assert!(text.0.bytes().all(|byte| byte.is_ascii_graphic()), "{code:#x}");
        }
    }

    #[test]
    fn log_lines_are_appended_to_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "old\n").unwrap();
        let target = OnceBox::with_value(Box::new(Target::new(Some(path.as_os_str()))));
        write_to(&target, "new\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old\nnew\n");
    }

    /// As a daemon that closes all file descriptors and opens a file of its own, repeatedly.
    #[test]
    fn no_line_is_written_to_a_file_that_the_program_opened_under_the_same_number() {
        let dir = tempfile::tempdir().unwrap();
        let (path, theirs) = (dir.path().join("log"), dir.path().join("theirs"));
        let target = OnceBox::with_value(Box::new(Target::new(Some(path.as_os_str()))));
        let their_file = std::fs::File::create(&theirs).unwrap();
        let mut newest = &target;
        for round in 1..4 {
            write_to(&target, "line\n").unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "line\n".repeat(round));
            let Some(Target::File(file)) = newest.get() else { panic!("not a file") };
            file.outlet.reuse_for(&their_file);
            newest = &file.next;
        }
        assert_eq!(std::fs::read(&theirs).unwrap(), b"");
    }

    #[test]
    fn stdout_and_stderr_have_names() {
        let target = |name: &str| Target::new(Some(OsStr::new(name)));
        assert!(matches!(Target::new(None), Target::Stderr));
        assert!(matches!(target("stderr"), Target::Stderr));
        assert!(matches!(target("-"), Target::Stdout));
        assert!(matches!(target("stdout"), Target::Stdout));
        assert!(matches!(target("/dev/stderr"), Target::Stderr));
        assert!(matches!(target("/dev/stdout"), Target::Stdout));
        assert!(matches!(target("/nonexistent/log"), Target::Stderr));
    }
}
