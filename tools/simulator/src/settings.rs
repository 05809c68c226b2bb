//! How large a simulated organisation is and how its devices behave. Built and checked by `config`.

/// A simulated organisation.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetSettings {
    pub organization: String,
    pub devices: u32,
    /// Number of device types; the devices are spread over them unevenly.
    pub types: u32,
    /// Sessions that begin or end each second, over the whole fleet.
    pub events_per_second: f64,
    pub endings: Endings,
    /// The same seed gives the same fleet and the same history.
    pub seed: u64,
}

/// How sessions end: relative weights, at least one above zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Endings {
    /// The device says DISCONNECT (close code 0).
    pub clean: f64,
    /// The connection is lost (close code 91).
    pub dropped: f64,
    /// The keep-alive runs out (close code 160).
    pub timed_out: f64,
    /// The client id is taken over by a new connection (close code 288).
    pub takeover: f64,
    /// A second login of the same device is refused while the first goes on (close code 180).
    pub refused: f64,
}

/// As fleets in the field end their sessions: most say goodbye, and some trouble of each kind is there to be seen.
impl Default for Endings {
    fn default() -> Self {
        Self { clean: 5.0, dropped: 2.0, timed_out: 2.0, takeover: 1.0, refused: 1.0 }
    }
}
