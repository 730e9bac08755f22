// SPDX-License-Identifier: BSD-2-Clause
//! A key that a TPM made, its certificate, and how OpenSSL finds both: [`Site`].

use crate::server::free_port;
use crate::{output, program, stage};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Whose TCTI modules a server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Libraries {
    /// The staged ones.
    Ours,
    /// Those in C of the distribution.
    Distribution,
}

/// Where a server keeps its files, all of which its workers may read.
pub struct Site {
    directory: TempDir,
    libraries: Libraries,
    tcti: String,
    port: u16,
}

impl Site {
    /// Makes a key with this TCTI, and a certificate that names the loopback.
    pub fn new(libraries: Libraries, tcti: &str) -> Site {
        let site = Site { directory: program::readable_dir(), libraries, tcti: tcti.to_owned(), port: free_port() };
        let (key, certificate) = (site.file("key.pem"), site.file("certificate.pem"));
        let mut make = site.command("openssl");
        make.args("genpkey -provider tpm2 -algorithm EC -pkeyopt group:P-256 -out".split(' ')).arg(&key);
        output::succeed(&mut make);
        let mut sign = site.command("openssl");
        sign.args("req -provider tpm2 -provider default -propquery ?provider=tpm2 -x509 -new -days 1".split(' '));
        sign.args("-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -key".split(' ')).arg(&key);
        output::succeed(sign.arg("-out").arg(&certificate));
        // haproxy looks for the key behind the certificate, in a file that has its name.
        fs::copy(&key, site.file("certificate.pem.key")).unwrap();
        fs::write(site.file("openssl.cnf"), include_str!("openssl.cnf")).unwrap();
        site
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    /// What is in a file; nothing as long as there is none.
    pub fn read(&self, name: &str) -> String {
        fs::read(self.file(name)).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    /// The port of the loopback for the server.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A program that reaches the TPM.
    fn command(&self, program: &str) -> Command {
        let mut command = match self.libraries {
            Libraries::Ours => stage::command(program),
            Libraries::Distribution => stage::distribution_command(program),
        };
        command.env("TPM2OPENSSL_TCTI", &self.tcti);
        command
    }

    /// A program that loads the key by its name.
    pub fn server(&self, program: &str) -> Command {
        let mut command = self.command(program);
        command.env("OPENSSL_CONF", self.file("openssl.cnf"));
        command
    }
}
