// SPDX-License-Identifier: BSD-2-Clause
//! The guest's second process of all: a shell script that runs the command and hands back how it ended.

use std::path::Path;

/// Where the guest has the directory that it shares with the host.
pub(crate) const SHARE: &str = "/run/vm";
/// The file in it that has the exit status.
pub(crate) const STATUS: &str = "status";
/// The port of QEMU's isa-debug-exit.
pub(crate) const EXIT_PORT: u16 = 0x501;

/// The script. One word is a command line for the shell, several are a program and its arguments.
pub(crate) fn start(words: &[String], directory: &Path, environment: &[(String, String)]) -> String {
    let command = match words {
        [line] => format!("sh -c {}", quoted(line)),
        words => words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
    };
    let exports: String =
        environment.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value))).collect();
    // The status goes through a file, for QEMU has 7 bits of its own for it. stty waits until all is printed.
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

/// A word as the shell takes it literally.
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
    fn one_word_is_a_line_for_the_shell() {
        assert_eq!(command(&["ls | wc"]), "sh -c 'ls | wc'");
    }

    #[test]
    fn several_words_are_taken_literally() {
        assert_eq!(command(&["echo", "it's", "a | b"]), r"'echo' 'it'\''s' 'a | b'");
    }
}
