//! The way between the service and its broker, which a test can stop, slow down and break.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::listener::Listener;

/// Bytes carried at once.
const CHUNK_BYTES: usize = 16 * 1024;

pub struct Link {
    listener: Listener,
    way: Arc<Way>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToBroker,
    ToService,
}

#[derive(Default)]
struct Way {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    to_broker_stopped: bool,
    to_service_stopped: bool,
    delay: Duration,
    /// How many bytes still go from the broker to the service; `None`: as many as there are.
    to_service_left: Option<usize>,
    /// Grows with every cut; a chunk read before one is not carried after it.
    cuts: u64,
}

impl Link {
    /// Carries every connection on to a port of loopback.
    pub fn to(broker_port: u16) -> Self {
        let way = Arc::new(Way::default());
        let listener = Listener::start({
            let way = Arc::clone(&way);
            move |near| {
                // Nobody listens at the far end: the near one is closed as well.
                let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, broker_port)) else { return };
                way.carry_both(near, far);
            }
        });
        Self { listener, way }
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.listener.port())
    }

    pub fn port(&self) -> u16 {
        self.listener.port()
    }

    /// How many connections came so far.
    pub fn connections(&self) -> usize {
        self.listener.accepted()
    }

    /// Carries nothing in either direction; connections stay open.
    pub fn pause(&self) {
        self.set(|state| (state.to_broker_stopped, state.to_service_stopped) = (true, true));
    }

    /// Carries nothing from the broker to the service; the other direction goes on.
    pub fn stall(&self) {
        self.set(|state| state.to_service_stopped = true);
    }

    /// Carries only about so many bytes more from the broker to the service, over whichever connections.
    pub fn stall_after(&self, bytes: usize) {
        self.set(|state| state.to_service_left = Some(bytes));
    }

    pub fn resume(&self) {
        self.set(|state| {
            (state.to_broker_stopped, state.to_service_stopped) = (false, false);
            state.to_service_left = None;
        });
    }

    /// Carries every chunk this much later.
    pub fn delay(&self, delay: Duration) {
        self.set(|state| state.delay = delay);
    }

    /// Breaks every connection; the next one is carried.
    pub fn cut(&self) {
        self.set(|state| state.cuts += 1);
        self.listener.cut();
    }

    /// Breaks every connection, and every new one at once, until [`Link::up`].
    pub fn down(&self) {
        self.listener.refuse(true);
        self.cut();
    }

    pub fn up(&self) {
        self.listener.refuse(false);
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.way.lock());
        self.way.changed.notify_all();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Threads that wait for a stopped direction see the cut and end.
        self.down();
    }
}

impl Way {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics with the lock")
    }

    fn carry_both(self: &Arc<Self>, near: TcpStream, far: TcpStream) {
        near.set_nodelay(true).expect("delay can be switched off");
        far.set_nodelay(true).expect("delay can be switched off");
        let (near_in, far_out) = (clone(&near), clone(&far));
        let way = Arc::clone(self);
        let upward = std::thread::spawn(move || way.carry(Direction::ToBroker, near_in, far_out));
        self.carry(Direction::ToService, far, near);
        upward.join().expect("carrying does not panic");
    }

    /// Carries bytes one way until either end closes; then closes both.
    fn carry(&self, direction: Direction, mut from: TcpStream, mut to: TcpStream) {
        let mut chunk = vec![0; CHUNK_BYTES];
        let cuts = self.lock().cuts;
        while let Ok(length @ 1..) = from.read(&mut chunk) {
            if !self.pass(direction, length, cuts) || to.write_all(&chunk[..length]).is_err() {
                break;
            }
        }
        for stream in [from, to] {
            // The other direction may have closed it before.
            stream.shutdown(Shutdown::Both).ok();
        }
    }

    /// Returns when a chunk may go on; `false` when its connection was cut meanwhile.
    fn pass(&self, direction: Direction, length: usize, cuts: u64) -> bool {
        let mut state = self.lock();
        while state.cuts == cuts && state.stopped(direction) {
            state = self.changed.wait(state).expect("no thread panics with the lock");
        }
        if let (Direction::ToService, Some(left)) = (direction, &mut state.to_service_left) {
            *left = left.saturating_sub(length);
        }
        let delay = state.delay;
        let passes = state.cuts == cuts;
        drop(state);
        // The delay is what this link does to its traffic, not a wait for something to happen.
        super::pause(delay);
        passes
    }
}

impl State {
    fn stopped(&self, direction: Direction) -> bool {
        match direction {
            Direction::ToBroker => self.to_broker_stopped,
            Direction::ToService => self.to_service_stopped || self.to_service_left == Some(0),
        }
    }
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a socket can be cloned")
}
