//! What an endpoint's worker does when somebody asks for it.

use presence::UnixSeconds;

use crate::desk::{EndpointState, Given, Order, Outcome};
use crate::message::Message;
use crate::reader::HistoryReader;
use crate::states::DeviceStates;
use crate::worker::Worker;
use system::clock;

/// How an order changes what the worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Not at all.
    GoOn,
    /// It tries at once what it waits for.
    Retry,
    /// It reads on from elsewhere, and drops what it has read.
    Reread(UnixSeconds),
}

impl<'a> Worker<'a> {
    /// Carries an order out.
    pub async fn obey(&mut self, given: Given) -> Then {
        let Given { order, outcome } = given;
        tracing::info!(endpoint = %self.endpoint.name, ?order, "somebody asks for this");
        let (done, then) = match order {
            Order::Test => {
                let message = Message::of_test(
                    self.all.envelope(self.endpoint),
                    &self.endpoint.name,
                    clock::now_millis(),
                );
                (self.send_beside(&message).await, Then::GoOn)
            }
            Order::Redeliver(id) => (self.redeliver(&id).await, Then::GoOn),
            Order::RedeliverSince(since) => (Outcome::Done, Then::Reread(since)),
            Order::Enable => (Outcome::Done, Then::Retry),
        };
        // Nobody may wait for it any more.
        let _ = outcome.send(done);
        then
    }

    /// Sends a dead letter once more; it is none any more once it was taken.
    async fn redeliver(&mut self, id: &str) -> Outcome {
        let Some(place) = self.dead_letters.get(id).and_then(|letter| letter.event.clone()) else {
            return Outcome::Unknown;
        };
        let change = loop {
            let (store, registry) = (&*self.all.store, &self.all.registry);
            match DeviceStates::change_at(place.device(), place.sequence, store, registry).await {
                Ok(change) => break change,
                Err(error) => self.all.wait_for_store(&error).await,
            }
        };
        let Some(change) = change else { return Outcome::Unknown };
        let done = self.send_beside(&self.all.message_of(self.endpoint, &change)).await;
        if done == Outcome::Done {
            self.dead_letters.remove(id);
            self.all.keep_dead_letters(&self.endpoint.name, &self.dead_letters).await;
            self.show_dead_letters();
        }
        done
    }

    async fn send_beside(&mut self, message: &Message) -> Outcome {
        match self.outbox.send_beside(message).await {
            Ok(()) => Outcome::Done,
            Err(failure) => Outcome::Failed(failure.to_string()),
        }
    }

    /// Waits, while the endpoint is disabled, until somebody enables it; says from where it then reads.
    pub async fn wait_until_enabled(&mut self) -> Option<UnixSeconds> {
        let mut since = None;
        loop {
            let given = self.orders.next().await;
            match self.obey(given).await {
                Then::GoOn => {}
                Then::Retry => return since,
                Then::Reread(from) => since = Some(from),
            }
        }
    }

    /// What a worker that waits for something else does with an order in between.
    pub async fn reread(&mut self, reader: &mut HistoryReader<'a>, since: UnixSeconds) {
        self.outbox.clear();
        reader.go_back_to(since.0).await;
        self.desk.set_state(EndpointState::Delivering);
    }
}
