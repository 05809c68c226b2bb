//! The orders of an administrator, as an endpoint's worker carries them out.

use std::time::Duration;

use presence::UnixSeconds;

use crate::desk::{CommandOutcome, EndpointState, NewSecret, PendingOrder, WorkerCommand};
use crate::message::WebhookMessage;
use crate::reader::LogReader;
use crate::rotation::{RotationRefusal, SecretRotation};
use crate::signature::SigningSecret;
use crate::states::DeviceStates;
use crate::worker::Worker;
use system::secret::Secret;

/// What the worker does after an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// What it did before.
    GoOn,
    /// The endpoint has just accepted a message, so the one that waits is tried at once.
    TryAgain,
    /// It enables the endpoint, if that is disabled, and makes the next attempt at once.
    Enable,
    /// It drops the messages in the outbox and reads the history from that time on.
    Reread(UnixSeconds),
}

/// What follows a message that was sent beside the others.
fn then_try_again(outcome: CommandOutcome) -> (CommandOutcome, NextStep) {
    let then = if outcome == CommandOutcome::Done { NextStep::TryAgain } else { NextStep::GoOn };
    (outcome, then)
}

impl<'a> Worker<'a> {
    /// Carries an order out.
    pub async fn carry_out(&mut self, pending: PendingOrder) -> NextStep {
        let PendingOrder { order, outcome } = pending;
        tracing::info!(endpoint = %self.endpoint.name, ?order, "an administrator gives an order to a webhook");
        let (done, then) = match order {
            WorkerCommand::Test => {
                let message = WebhookMessage::of_test(
                    self.all.envelope(self.endpoint),
                    &self.endpoint.name,
                    self.all.clock.now_ms(),
                );
                then_try_again(self.send_beside(&message).await)
            }
            WorkerCommand::Redeliver(id) => then_try_again(self.redeliver(&id).await),
            WorkerCommand::RedeliverSince(since) => (CommandOutcome::Done, NextStep::Reread(since)),
            WorkerCommand::Enable => (CommandOutcome::Done, NextStep::Enable),
            WorkerCommand::Rotate(overlap) => (self.rotate(overlap).await, NextStep::GoOn),
        };
        // The request may have timed out meanwhile.
        let _ = outcome.send(done);
        then
    }

    /// Makes a secret. It counts once the store has it.
    async fn rotate(&mut self, overlap: Duration) -> CommandOutcome {
        if !self.all.store_outlives {
            return CommandOutcome::NotRotated(RotationRefusal::NotKept);
        }
        let made = SigningSecret::make();
        let text = Secret::new(made.text());
        let (before, of_file) = (self.outbox.rotation(), &self.endpoint.secrets);
        let rotation = match SecretRotation::begin(before, of_file, made, overlap, self.all.clock.now_ms()) {
            Ok(rotation) => rotation,
            Err(refusal) => return CommandOutcome::NotRotated(refusal),
        };
        self.all.save_rotation(&self.endpoint.name, &rotation).await;
        let overlap_until_ms = rotation.overlap_until_ms();
        self.use_rotation(Some(rotation));
        CommandOutcome::Rotated(NewSecret { text, overlap_until_ms })
    }

    /// Sends a dead letter once more, and drops it once the endpoint has accepted it.
    async fn redeliver(&mut self, id: &str) -> CommandOutcome {
        let Some(place) = self.dead_letters.get(id).and_then(|letter| letter.event.clone()) else {
            return CommandOutcome::Unknown;
        };
        let change = loop {
            let (store, registry) = (&*self.all.store, &self.all.registry);
            match DeviceStates::change_at((place.device(), place.sequence), id, store, registry).await {
                Ok(change) => break change,
                Err(error) => self.all.wait_for_store(&error).await,
            }
        };
        let Some(change) = change else { return CommandOutcome::Unknown };
        let done = self.send_beside(&self.all.message_of(self.endpoint, &change)).await;
        if done == CommandOutcome::Done {
            self.dead_letters.remove(id);
            self.all.save_dead_letters(&self.endpoint.name, &self.dead_letters).await;
            self.show_dead_letters();
        }
        done
    }

    async fn send_beside(&mut self, message: &WebhookMessage) -> CommandOutcome {
        match self.outbox.send_beside(message).await {
            Ok(()) => CommandOutcome::Done,
            Err(failure) => CommandOutcome::Failed(failure.to_string()),
        }
    }

    /// Waits, while the endpoint is disabled, until an order enables it; returns the time to read from, if an order named one.
    pub async fn wait_until_enabled(&mut self) -> Option<UnixSeconds> {
        let mut since = None;
        loop {
            let pending = self.orders.next().await;
            match self.carry_out(pending).await {
                NextStep::GoOn | NextStep::TryAgain => {}
                NextStep::Enable => return since,
                NextStep::Reread(from) => since = Some(from),
            }
        }
    }

    /// Reads the history again from that time on, or from what was not sent yet, if that is earlier.
    pub async fn reread(&mut self, reader: &mut LogReader<'a>, since: UnixSeconds) {
        let sent = if self.outbox.is_empty() { u64::MAX } else { self.unsent_after };
        self.outbox.clear();
        reader.go_back_to(since.0, sent).await;
        if let Some(gap) = self.unsent_gap.take() {
            reader.note_gap(gap);
        }
        self.desk.set_state(EndpointState::Delivering);
    }
}
