//! A TCP server with one thread per connection whose connections a test can cut and refuse.

use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

pub struct Listener {
    port: u16,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    open: Mutex<Vec<TcpStream>>,
    accepted: AtomicUsize,
    refusing: AtomicBool,
    ending: AtomicBool,
}

impl Listener {
    /// Calls `serve` in a new thread for every connection; the connection is closed when it returns.
    pub fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the kernel gives a port");
        let port = socket.local_addr().expect("a bound socket has an address").port();
        let shared = Arc::new(Shared::default());
        let accepting = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept(&socket, Arc::new(serve))
        });
        Self { port, shared, accepting: Some(accepting) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections came so far, refused ones included.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Closes every open connection.
    pub fn cut(&self) {
        for stream in self.shared.open.lock().expect("no thread panics with the lock").drain(..) {
            // It may be closed already.
            stream.shutdown(Shutdown::Both).ok();
        }
    }

    /// From now on closes every new connection at once, or serves them again.
    pub fn refuse(&self, refusing: bool) {
        self.shared.refusing.store(refusing, Ordering::Relaxed);
    }
}

impl Shared {
    fn accept(&self, socket: &TcpListener, serve: Arc<impl Fn(TcpStream) + Send + Sync + 'static>) {
        for stream in socket.incoming() {
            if self.ending.load(Ordering::Relaxed) {
                return;
            }
            // A client that went away before it was accepted harms nobody.
            let Ok(stream) = stream else { continue };
            self.accepted.fetch_add(1, Ordering::Relaxed);
            if self.refusing.load(Ordering::Relaxed) {
                continue;
            }
            let serve = Arc::clone(&serve);
            let kept = stream.try_clone().expect("a socket can be cloned");
            self.open.lock().expect("no thread panics with the lock").push(kept);
            std::thread::spawn(move || {
                let closing = stream.try_clone().expect("a socket can be cloned");
                serve(stream);
                // The list of open connections holds a clone, so dropping the stream would not close it.
                closing.shutdown(Shutdown::Both).ok();
            });
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Relaxed);
        self.cut();
        // One more connection wakes the thread that accepts, so that it sees that it is to end.
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok();
        if let Some(accepting) = self.accepting.take() {
            accepting.join().ok();
        }
    }
}
