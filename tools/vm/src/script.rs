// SPDX-License-Identifier: BSD-2-Clause
//! The shell script that `init.sh` starts in the guest. It runs the command and reports its exit status to the host.

use std::path::Path;

/// Mount point in the guest of the directory that it shares with the host.
pub(crate) const SHARE: &str = "/run/vm";
/// Name of the file in that directory that contains the exit status.
pub(crate) const STATUS: &str = "status";
/// The port of QEMU's isa-debug-exit.
pub(crate) const EXIT_PORT: u16 = 0x501;

/// Returns the script. A single word is a shell command line; several words are a program and its arguments.
pub(crate) fn start(words: &[String], directory: &Path, environment: &[(String, String)]) -> String {
    let command = match words {
        [line] => format!("sh -c {}", quoted(line)),
        words => words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
    };
    let exports: String =
        environment.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value))).collect();
    // The exit status is passed in a file, because QEMU's exit status has only 7 bits for it. stty waits until all output is
    // transmitted.
    format!(
        "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run/home TERM=dumb\n\
         {exports}\
         cd {directory} && {command}\n\
         echo $? >{SHARE}/{STATUS}\n\
         stty -F /dev/ttyS0 raw\n\
         printf '\\0' | dd of=/dev/port bs=1 seek={EXIT_PORT} conv=notrunc status=none\n",
        directory = quoted(&directory.to_string_lossy()),
    )
}

/// Quotes a word for the shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let script = start(&words, Path::new("/a b"), &[("X".to_owned(), "$y".to_owned())]);
        assert!(script.contains("export X='$y'\n"), "{script}");
        script.lines().find_map(|line| line.strip_prefix("cd '/a b' && ")).unwrap().to_owned()
    }

    #[test]
    fn one_word_is_a_shell_command_line() {
        assert_eq!(command(&["ls | wc"]), "sh -c 'ls | wc'");
    }

    #[test]
    fn several_words_are_quoted() {
        assert_eq!(command(&["echo", "it's", "a | b"]), r"'echo' 'it'\''s' 'a | b'");
    }
}
