//! A redis-server on loopback with the payloads of all devices, saved in one RDB file: filled once, then started again and
//! again. It is asked in its own protocol; the commands say what is measured of it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Process, free_port, until};
use crate::{Outcome, messages};

/// How long it may take to start, and to load whatever it holds.
const START_BOUND: Duration = Duration::from_secs(600);
/// Keys that are written before their answers are read.
const PIPELINE: u32 = 10_000;

/// The file, and where the server keeps it.
pub struct Dump {
    directory: TempDir,
}

/// A running server.
pub struct Redis {
    pub process: Process,
    port: u16,
}

impl Dump {
    /// Fills a server with so many devices and has it save them.
    pub fn make(devices: u32) -> Outcome<Self> {
        let dump = Self { directory: tempfile::tempdir()? };
        let mut redis = dump.start()?;
        redis.wait_until_it_answers(0)?;
        let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", redis.port))?);
        for first in (0..devices).step_by(PIPELINE as usize) {
            let some = first..devices.min(first.saturating_add(PIPELINE));
            let mut request = Vec::new();
            for device in some.clone() {
                put(&mut request, &["SET", &messages::path(device), &messages::message(device).payload]);
            }
            stream.get_mut().write_all(&request)?;
            for _ in some {
                expect_ok(&mut stream)?;
            }
        }
        put_and_send(&mut stream, &["SAVE"])?;
        expect_ok(&mut stream)?;
        Ok(dump)
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> Outcome<u64> {
        Ok(fs::metadata(self.directory.path().join("dump.rdb"))?.len())
    }

    /// Starts a server that loads the file; it may not answer yet.
    pub fn start(&self) -> Outcome<Redis> {
        let port = free_port()?;
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.arg("--dir").arg(self.directory.path()).args(["--loglevel", "warning"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Redis { process: Process::start(&mut command)?, port })
    }
}

impl Redis {
    /// Waits until it gives this device's payload, which it does once it has loaded everything.
    pub fn wait_until_it_answers(&mut self, device: u32) -> Outcome<Option<String>> {
        let mut answer = None;
        until("redis-server to answer", START_BOUND, || {
            self.process.check_runs()?;
            let Ok(stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return Ok(false) };
            let mut stream = BufReader::new(stream);
            put_and_send(&mut stream, &["GET", &messages::path(device)])?;
            let mut line = String::new();
            stream.read_line(&mut line)?;
            match line.trim_end().split_at_checked(1) {
                Some(("-", error)) if error.starts_with("LOADING") => Ok(false),
                Some(("$", "-1")) => Ok(true),
                Some(("$", length)) => {
                    let mut text = vec![0; length.parse()?];
                    stream.read_exact(&mut text)?;
                    answer = Some(String::from_utf8(text)?);
                    Ok(true)
                }
                _ => Err(format!("redis-server answers {line:?}").into()),
            }
        })?;
        Ok(answer)
    }
}

fn put(request: &mut Vec<u8>, words: &[&str]) {
    request.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        request.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}

fn put_and_send(stream: &mut BufReader<TcpStream>, words: &[&str]) -> Outcome<()> {
    let mut request = Vec::new();
    put(&mut request, words);
    Ok(stream.get_mut().write_all(&request)?)
}

fn expect_ok(stream: &mut BufReader<TcpStream>) -> Outcome<()> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    if line == "+OK\r\n" { Ok(()) } else { Err(format!("redis-server answers {line:?}").into()) }
}
