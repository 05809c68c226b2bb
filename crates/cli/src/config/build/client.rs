//! The subcommands that ask a running service.

use std::path::Path;

use clap::Args;

use super::super::arguments::{
    AlertsVerb, AskArgs, ClientArgs, ServiceArgs, SilenceVerb, TellArgs, WebhooksVerb,
};
use super::super::value::{API_KEY, api_key};
use super::super::{
    AlertQuestion, ClientSettings, Command, ConfigError, Question, ServiceSettings, WebhookQuestion,
};
use super::BuildContext;
use super::secrets::{SecretNames, together};
use system::tls::ClientCertificate;

impl BuildContext {
    pub(super) fn about_webhooks(&self, verb: WebhooksVerb) -> Result<Command, ConfigError> {
        use WebhookQuestion::{Deliveries, Enable, List, Redeliver, Rotate, Test};
        let question = Question::Webhooks;
        match verb {
            WebhooksVerb::List(args) => self.ask(args, |()| question(List)),
            WebhooksVerb::Deliveries(args) => self.ask(args, |name| question(Deliveries(name))),
            WebhooksVerb::Test(args) => self.ask(args, |name| question(Test(name))),
            WebhooksVerb::Enable(args) => self.ask(args, |name| question(Enable(name))),
            WebhooksVerb::Redeliver(args) => self.ask(args, |what| question(Redeliver(what))),
            WebhooksVerb::Rotate(args) => self.ask(args, |what| question(Rotate(what))),
        }
    }

    pub(super) fn about_alerts(&self, verb: AlertsVerb) -> Result<Command, ConfigError> {
        use AlertQuestion::{Acknowledge, EndAcknowledgement, List};
        let question = Question::Alerts;
        match verb {
            AlertsVerb::List(args) => self.ask(args, |selection| question(List(selection))),
            AlertsVerb::Ack(args) => self.tell(args, |what| question(Acknowledge(what))),
            AlertsVerb::Unack(args) => self.tell(args, |group| question(EndAcknowledgement(group))),
        }
    }

    pub(super) fn about_silences(&self, verb: SilenceVerb) -> Result<Command, ConfigError> {
        use AlertQuestion::{EndSilence, Silence, Silences};
        let question = Question::Alerts;
        match verb {
            SilenceVerb::List(args) => self.ask(args, |()| question(Silences)),
            SilenceVerb::Add(args) => self.tell(*args, |silence| question(Silence(silence))),
            SilenceVerb::End(args) => self.tell(args, |id| question(EndSilence(id))),
        }
    }

    pub(super) fn ask<Q: Args>(
        &self,
        args: AskArgs<Q>,
        question: impl FnOnce(Q) -> Question,
    ) -> Result<Command, ConfigError> {
        self.client(args.client, question(args.question), args.output.json)
    }

    pub(super) fn tell<Q: Args>(
        &self,
        args: TellArgs<Q>,
        question: impl FnOnce(Q) -> Question,
    ) -> Result<Command, ConfigError> {
        self.client(args.client, question(args.question), false)
    }

    fn client(&self, args: ClientArgs, question: Question, json: bool) -> Result<Command, ConfigError> {
        let key = SecretNames {
            text: "api-key",
            file: "api-key-file",
            why: "give the key or the file it is in, not both",
        };
        let expected = format!("a file that holds {API_KEY}");
        let read = |path: &Path| {
            let line = self.secret_line("api-key-file", path)?;
            line.and_then(|line| api_key(line.expose()).ok())
                .ok_or_else(|| self.origins.expected("api-key-file", expected))
        };
        let key = self.secret(&key, args.api_key, args.api_key_file.as_deref(), read)?;
        let service = ServiceSettings { key, ..self.service(args.service)? };
        Ok(Command::Client(ClientSettings { service, question, json }))
    }

    /// The service to ask, without a key.
    pub(super) fn service(&self, args: ServiceArgs) -> Result<ServiceSettings, ConfigError> {
        let files =
            together(("tls-client-cert", args.tls_client_cert), ("tls-client-key", args.tls_client_key))?;
        let certificate = files.map(|(certificate, key)| {
            let certificate = self.readable("tls-client-cert", &certificate)?;
            Ok(ClientCertificate { certificate, key: self.readable("tls-client-key", &key)? })
        });
        let ca_file = self.certificates("ca-file", args.ca.ca_file)?;
        Ok(ServiceSettings { url: args.url, key: None, ca_file, certificate: certificate.transpose()? })
    }
}
