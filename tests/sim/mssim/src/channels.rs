// SPDX-License-Identifier: BSD-2-Clause
//! The protocol of the two channels (`TpmTcpProtocol.h` of the TPM 2.0 reference code). All numbers are big-endian.

use crate::tpm::PoweredTpm;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

const SIGNAL_POWER_ON: u32 = 1;
const SIGNAL_POWER_OFF: u32 = 2;
const SEND_COMMAND: u32 = 8;
const SIGNAL_CANCEL_ON: u32 = 9;
const SIGNAL_CANCEL_OFF: u32 = 10;
const SIGNAL_NV_ON: u32 = 11;
const SIGNAL_NV_OFF: u32 = 12;
const SIGNAL_RESET: u32 = 17;
const SESSION_END: u32 = 20;
const STOP: u32 = 21;

/// The listening socket of a channel.
pub(crate) enum Channel {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection of a client.
pub(crate) trait Connection: Read + Write {}
impl<T: Read + Write> Connection for T {}

impl Channel {
    /// Serves one connection after the other, for ever. A connection that fails is closed.
    pub(crate) fn serve(&self, serve: impl Fn(&mut dyn Connection) -> io::Result<()>) {
        loop {
            let _ = match self {
                Channel::Tcp(listener) => listener.accept().and_then(|(mut connection, _)| serve(&mut connection)),
                Channel::Unix(listener) => listener.accept().and_then(|(mut connection, _)| serve(&mut connection)),
            };
        }
    }
}

fn number(connection: &mut dyn Connection) -> io::Result<u32> {
    let mut bytes = [0; 4];
    connection.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

/// Serves the command channel until the session ends.
pub(crate) fn commands(connection: &mut dyn Connection, tpm: &PoweredTpm) -> io::Result<()> {
    loop {
        match number(connection)? {
            SEND_COMMAND => {
                let mut locality = [0; 1];
                connection.read_exact(&mut locality)?;
                let size = number(connection)?.min(1 << 20);
                let mut command = vec![0; usize::try_from(size).unwrap_or_default()];
                connection.read_exact(&mut command)?;
                let [locality] = locality;
                let response = tpm.execute(locality, &command);
                let size = u32::try_from(response.len()).unwrap_or_default();
                connection.write_all(&size.to_be_bytes())?;
                connection.write_all(&response)?;
                connection.write_all(&[0; 4])?;
            }
            SESSION_END => return Ok(()),
            STOP => std::process::exit(0),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Serves the platform channel until the session ends.
pub(crate) fn platform(connection: &mut dyn Connection, tpm: &PoweredTpm) -> io::Result<()> {
    loop {
        match number(connection)? {
            SIGNAL_POWER_ON => tpm.power_on(),
            SIGNAL_POWER_OFF => tpm.power_off(),
            SIGNAL_RESET => {
                tpm.power_off();
                tpm.power_on();
            }
            SIGNAL_CANCEL_ON => tpm.set_cancel(true),
            SIGNAL_CANCEL_OFF => tpm.set_cancel(false),
            SIGNAL_NV_ON | SIGNAL_NV_OFF => {} // the NV memory of libtpms is always available
            SESSION_END => return Ok(()),
            STOP => std::process::exit(0),
            _ => {
                connection.write_all(&1u32.to_be_bytes())?;
                continue;
            }
        }
        connection.write_all(&[0; 4])?;
    }
}
