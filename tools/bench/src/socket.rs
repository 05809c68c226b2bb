//! The least that can read what a broker retains: a socket whose PUBLISH packets are counted and not looked into.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mqtt::packet::{self, kind};
use mqtt::settings::MqttVersion;

use crate::Outcome;
use crate::broker::{expect, log_in};

/// What is read at once, as in the service.
const READ_BYTES: usize = 256 * 1024;

/// A reader that only counts.
pub struct Counter {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    pub messages: u64,
}

impl Counter {
    /// Connects and subscribes.
    pub fn subscribe(port: u16, filter: &str) -> Outcome<Self> {
        let mut stream = log_in(port, "bench-socket")?;
        stream.write_all(&packet::subscribe(MqttVersion::V311, 1, &[filter], 0))?;
        Ok(Self { stream, buffer: vec![0; READ_BYTES], filled: 0, messages: 0 })
    }

    /// Waits until the broker has answered the subscription: from then on it sends what is published.
    pub fn wait_for_answer(&mut self) -> Outcome<()> {
        expect(&mut self.stream, kind::SUBACK)
    }

    /// Reads what has come.
    fn read(&mut self) -> Outcome<()> {
        let read = self.stream.read(&mut self.buffer[self.filled..])?;
        if read == 0 {
            return Err(format!("the broker closed the connection after {} messages", self.messages).into());
        }
        self.filled += read;
        let mut taken = 0;
        while let Some(frame) = packet::frame(&self.buffer[taken..self.filled])? {
            self.messages += u64::from(frame.kind() == kind::PUBLISH);
            taken += frame.len;
        }
        self.buffer.copy_within(taken..self.filled, 0);
        self.filled -= taken;
        Ok(())
    }

    /// Reads until nothing has come for so long.
    pub fn read_until_silence(&mut self, silence: Duration) -> Outcome<()> {
        self.stream.set_read_timeout(Some(silence))?;
        loop {
            match self.read() {
                Ok(()) => {}
                Err(error) if is_timeout(error.as_ref()) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_timeout(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Messages a second, from connecting until so many have come.
pub fn drain(port: u16, filter: &str, messages: u32) -> Outcome<f64> {
    let started = Instant::now();
    let mut counter = Counter::subscribe(port, filter)?;
    while counter.messages < u64::from(messages) {
        counter.read()?;
    }
    Ok(f64::from(messages) / started.elapsed().as_secs_f64())
}
