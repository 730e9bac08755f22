// SPDX-License-Identifier: BSD-2-Clause
//! A key that a TPM created, its certificate, and the configuration with which OpenSSL finds both: [`Site`].

use crate::server::free_port;
use crate::{output, program, stage};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Which TCTI modules a server loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Libraries {
    /// The staged ones.
    Ours,
    /// The distribution's modules in C.
    Distribution,
}

/// The directory of a server, whose files its workers can read.
pub struct Site {
    directory: TempDir,
    libraries: Libraries,
    tcti: String,
    port: u16,
}

impl Site {
    /// Creates a key through this TCTI, and a certificate for the loopback address.
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
        // haproxy takes the key from the file with the name of the certificate and `.key`.
        fs::copy(&key, site.file("certificate.pem.key")).unwrap();
        fs::write(site.file("openssl.cnf"), include_str!("openssl.cnf")).unwrap();
        site
    }

    /// Returns the directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    /// Returns the contents of a file, or nothing while it does not exist.
    pub fn read(&self, name: &str) -> String {
        fs::read(self.file(name)).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    /// Returns the server's port on the loopback interface.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns a command that opens the TPM.
    fn command(&self, program: &str) -> Command {
        let mut command = match self.libraries {
            Libraries::Ours => stage::command(program),
            Libraries::Distribution => stage::distribution_command(program),
        };
        command.env("TPM2OPENSSL_TCTI", &self.tcti);
        command
    }

    /// Returns a command that loads the key through the site's `openssl.cnf`.
    pub fn server(&self, program: &str) -> Command {
        let mut command = self.command(program);
        command.env("OPENSSL_CONF", self.file("openssl.cnf"));
        command
    }
}
