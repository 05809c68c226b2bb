//! The subcommands that ask a running service.

use super::super::arguments::{ClientArgs, Question, ServiceArgs};
use super::super::value::{API_KEY, api_key};
use super::super::{ClientSettings, ConfigError, ServiceSettings, Stop};
use super::BuildContext;
use super::secrets::SecretSetting;
use system::tls::ClientCertificate;

impl BuildContext {
    pub(super) fn ask(&self, question: Question) -> Result<ClientSettings, Stop> {
        let client: ClientArgs = self.origins.parse()?;
        let setting = SecretSetting {
            text: "api-key",
            file: "api-key-file",
            what: API_KEY.to_owned(),
            parse: api_key,
            why: "give the key or the file it is in, not both",
        };
        let key = self.origins.secret(&setting, client.api_key, client.api_key_file.as_deref())?;
        let service = ServiceSettings { key, ..self.service(client.service)? };
        Ok(ClientSettings { service, question, json: client.json })
    }

    /// The service to ask, without a key.
    pub(super) fn service(&self, args: ServiceArgs) -> Result<ServiceSettings, ConfigError> {
        let files = self
            .origins
            .together(("tls-client-cert", args.tls_client_cert), ("tls-client-key", args.tls_client_key))?;
        let certificate = files.map(|(certificate, key)| {
            let certificate = self.origins.readable("tls-client-cert", certificate)?;
            Ok(ClientCertificate { certificate, key: self.origins.readable("tls-client-key", key)? })
        });
        let ca_file = self.origins.certificates("ca-file", args.ca.ca_file)?;
        Ok(ServiceSettings { url: args.url, key: None, ca_file, certificate: certificate.transpose()? })
    }
}
