//! A TCP connection that acknowledges at once what it reads. A broker that gathers small messages (Nagle's algorithm), as mosquitto
//! does unless it is told not to, sends the next ones only after the last are acknowledged, and the kernel of a program that only
//! reads waits 40 ms before it does that.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Who reads more than this at once is behind, and nothing is gained by hearing of the rest sooner.
const PROMPT_MAX_BYTES: usize = 64 * 1024;

/// The connection.
pub struct PromptStream(pub TcpStream);

impl PromptStream {
    /// Must be asked for again and again: the kernel returns to its own ways after some packets.
    fn acknowledge(&self) {
        #[cfg(target_os = "linux")]
        // In vain on a connection that has ended, which the next read shows.
        let _ = rustix::net::sockopt::set_tcp_quickack(&self.0, true);
    }
}

impl AsyncRead for PromptStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.0).poll_read(cx, buffer);
        if (1..PROMPT_MAX_BYTES).contains(&(buffer.filled().len() - before)) {
            self.acknowledge();
        }
        outcome
    }
}

impl AsyncWrite for PromptStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
