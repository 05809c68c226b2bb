//! The least that can read what a broker retains: a socket whose PUBLISH packets are counted and not looked into.

use std::io::{Read, Write};
use std::time::Instant;

use mqtt::packet::{self, kind};
use mqtt::settings::MqttVersion;

use crate::Outcome;
use crate::broker::log_in;

/// What is read at once, as in the service.
const READ_BYTES: usize = 256 * 1024;

/// Messages a second, from connecting until so many have come.
pub fn drain(port: u16, filter: &str, messages: u32) -> Outcome<f64> {
    let started = Instant::now();
    let mut stream = log_in(port, "bench-socket")?;
    stream.write_all(&packet::subscribe(MqttVersion::V311, 1, &[filter], 0))?;
    let mut buffer = vec![0; READ_BYTES];
    let (mut filled, mut counted) = (0, 0);
    while counted < messages {
        let read = stream.read(&mut buffer[filled..])?;
        if read == 0 {
            return Err(format!("the broker closed the connection after {counted} messages").into());
        }
        filled += read;
        let mut taken = 0;
        while let Some(frame) = packet::frame(&buffer[taken..filled])? {
            counted += u32::from(frame.kind() == kind::PUBLISH);
            taken += frame.len;
        }
        buffer.copy_within(taken..filled, 0);
        filled -= taken;
    }
    Ok(f64::from(messages) / started.elapsed().as_secs_f64())
}
