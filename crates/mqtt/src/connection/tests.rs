//! What a broker may not do to a connection.

use tokio::io::duplex;
use tokio::runtime::Builder;

use super::*;
use crate::settings::{Endpoint, Transport};

/// More than any test waits, and less than the runner does.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_broker_that_stops_reading_is_given_up() {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        // What the connection has written up to here waits on the way, and the broker takes none of it.
        let (ours, _theirs) = duplex(64);
        let settings = ConnectSettings::new(Endpoint {
            transport: Transport::Tcp,
            host: "localhost".to_owned(),
            port: 1883,
            path: String::new(),
        });
        let mut connection = Connection {
            link: Link::Stream(Box::new(ours)),
            receive_buffer: ReceiveBuffer::Adjusted(None),
            version: settings.mqtt_version,
            buffer: BytesMut::new(),
            deadlines: Deadlines::new(settings.keep_alive, Instant::now()),
            offer: Offer::new(&Properties::default(), &settings, "a:org:app"),
            last_packet_id: 0,
            write_timeout: Duration::from_millis(20),
            skip: 0,
        };
        connection.acknowledge(&[1, 2, 3]).await.unwrap();
        let packet_ids: Vec<u16> = (4..100).collect();
        let acknowledged = timeout(PATIENCE, connection.acknowledge(&packet_ids)).await.unwrap();
        assert!(matches!(acknowledged, Err(LinkError::NotReading { .. })), "{acknowledged:?}");
        // Nor does a PINGREQ that is due, or a goodbye, wait for ever.
        connection.deadlines = Deadlines::new(Duration::from_millis(20), Instant::now());
        let received = timeout(PATIENCE, connection.receive()).await.unwrap();
        assert!(matches!(received, Err(LinkError::NotReading { .. })), "{received:?}");
        timeout(PATIENCE, connection.close()).await.unwrap();
    });
}
