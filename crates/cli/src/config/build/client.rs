//! The subcommands that ask a running service.

use std::path::Path;

use super::super::arguments::{AskArgs, ServiceArgs};
use super::super::value::{API_KEY, api_key};
use super::super::{ClientSettings, ConfigError, ServiceSettings};
use super::BuildContext;
use super::secrets::{SecretNames, together};
use system::tls::ClientCertificate;

impl BuildContext {
    pub(super) fn ask(&self, AskArgs { question, client }: AskArgs) -> Result<ClientSettings, ConfigError> {
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
        let key = self.secret(&key, client.api_key, client.api_key_file.as_deref(), read)?;
        let service = ServiceSettings { key, ..self.service(client.service)? };
        Ok(ClientSettings { service, question, json: client.output.json })
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
