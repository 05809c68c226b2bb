//! What a broker may not do to a connection.

use std::cell::Cell;

use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::Builder;
use tokio::time::sleep;

use super::*;
use crate::settings::{Endpoint, Transport};
use crate::transport::Stream;

/// More than any test waits, and less than the runner does.
const PATIENCE: Duration = Duration::from_secs(20);

thread_local! {
    static ACKS_ASKED_FOR: Cell<u32> = const { Cell::new(0) };
}

impl Stream for DuplexStream {
    fn acknowledge_now(&self) {
        ACKS_ASKED_FOR.set(ACKS_ASKED_FOR.get() + 1);
    }
}

#[test]
fn what_has_come_is_acknowledged_once_nothing_comes_any_more() {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (ours, mut theirs) = duplex(64);
        let (mut link, mut buffer) = (Link::Stream(Box::new(ours)), BytesMut::new());
        for _ in 0..3 {
            theirs.write_all(b"a").await.unwrap();
            assert_eq!(link.read(&mut buffer).await.unwrap(), 1);
        }
        assert_eq!(ACKS_ASKED_FOR.get(), 0, "more may be on its way");
        let broker = async {
            while ACKS_ASKED_FOR.get() == 0 {
                sleep(Duration::from_millis(1)).await;
            }
            theirs.write_all(b"what it has held back").await.unwrap();
        };
        let (read, ()) =
            timeout(PATIENCE, async { tokio::join!(link.read(&mut buffer), broker) }).await.unwrap();
        assert_eq!((read.unwrap(), ACKS_ASKED_FOR.get()), (21, 1));
    });
}

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
