//! What the OpenAPI document says of many resources alike: that each needs a key, how requests are refused whatever they ask
//! for, and the parameters and refusals that several have. It is compiled for tests alone, as `openapi` is.

use std::collections::BTreeMap;

use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, ParameterStyle};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Required, Response, ResponseBuilder, Schema};
use utoipa::{IntoParams, IntoResponses, PartialSchema};

use super::device_path::DevicePath;
use super::webhooks::WebhookPath;
use serving::middleware::platform_form as platform;
use serving::middleware::sessions;

/// Answered without a key.
const OPEN: [&str; 2] = ["/livez", "/readyz"];

/// Every way to bear a key.
const SCHEMES: [(&str, HttpAuthScheme); 2] =
    [("basic", HttpAuthScheme::Basic), ("bearer", HttpAuthScheme::Bearer)];

/// What a browser sends in place of a key once it is logged in.
const COOKIE_SCHEME: &str = "session";

/// What needs a key, is refused so as well.
const OF_KEYS: [(&str, &str); 3] = [
    ("401", "The request has no key, or none that is valid"),
    ("403", "The key lacks the scope"),
    ("429", "The key, or the address, asks too often; the header retry-after says when it may again"),
];

const OF_ALL: [(&str, &str); 8] = [
    ("400", "Path, parameter or body is refused; the problem says which, and why"),
    ("408", "Headers or body did not arrive in time"),
    ("413", "The body is too large"),
    ("414", "The URL is too long"),
    ("421", "Without keys: the request names another host than those of loopback and of --allowed-host"),
    ("431", "The headers are too large"),
    ("500", "An internal error"),
    ("503", "Too many connections are being answered, or too many large bodies are on their way"),
];

/// What follows all devices is to be had only where all are held.
const OF_ALL_DEVICES: [&str; 2] = ["/api/v1/events", "/api/v1/series"];

const NOT_ALL_HELD: (&str, &str) = ("501", "The instance was started with --map-limit");

/// What is read from the store where not all devices are held.
const FROM_THE_STORE: [&str; 4] =
    ["/api/v1/devices", "/api/v1/summary", "/api/v1/types", "/api/v0002/clientconnectionstates"];

const NOT_READ: (&str, &str) = ("503", "With --map-limit, if the store cannot be read at present");

/// Adds it to the document.
pub fn complete(mut document: OpenApi) -> OpenApi {
    let components = document.components.get_or_insert_default();
    for (name, scheme) in SCHEMES {
        components.add_security_scheme(name, SecurityScheme::Http(Http::new(scheme)));
    }
    let cookie = ApiKey::Cookie(ApiKeyValue::new(sessions::COOKIE));
    components.add_security_scheme(COOKIE_SCHEME, SecurityScheme::ApiKey(cookie));
    for (path, item) in &mut document.paths.paths {
        let is_open = OPEN.contains(&path.as_str());
        let methods = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete, &mut item.patch];
        for operation in methods.into_iter().flatten() {
            let form = if path.starts_with(platform::ROOT) { PLATFORM_FORM } else { PROBLEM_FORM };
            add_answers(operation, &OF_ALL, form);
            for (paths, answer) in [(&OF_ALL_DEVICES[..], NOT_ALL_HELD), (&FROM_THE_STORE[..], NOT_READ)] {
                if paths.contains(&path.as_str()) {
                    add_answers(operation, &[answer], form);
                }
            }
            if is_open {
                continue;
            }
            add_answers(operation, &OF_KEYS, form);
            let none: [&str; 0] = [];
            let names = SCHEMES.iter().map(|(name, _)| *name).chain([COOKIE_SCHEME]);
            operation.security = Some(names.map(|name| SecurityRequirement::new(name, none)).collect());
        }
    }
    document
}

/// Media type and schema of an error.
type ErrorForm = (&'static str, &'static str);

const PROBLEM_FORM: ErrorForm = ("application/problem+json", "Problem");
const PLATFORM_FORM: ErrorForm = ("application/json", "ClientError");

fn add_answers(operation: &mut Operation, answers: &[(&str, &str)], form: ErrorForm) {
    for (status, description) in answers {
        let answer = || refusal(description, form).into();
        operation.responses.responses.entry((*status).to_owned()).or_insert_with(answer);
    }
}

/// A problem with this status as an answer of some resources.
fn problem(status: &str, description: &str) -> BTreeMap<String, RefOr<Response>> {
    [(status.to_owned(), refusal(description, PROBLEM_FORM).into())].into()
}

fn refusal(description: &str, (media_type, schema): ErrorForm) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    ResponseBuilder::new().description(description).content(media_type, content).build()
}

/// How an invalid name is answered.
impl IntoResponses for DevicePath {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problem("404", "Type or id cannot be a device's")
    }
}

/// The answer to a name that no endpoint has.
impl IntoResponses for WebhookPath {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problem("404", "There is no such endpoint")
    }
}

/// The answer to an order that this instance cannot carry out now.
pub struct DeliveryUnavailable;

impl IntoResponses for DeliveryUnavailable {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problem("503", "Too many orders wait, or another instance delivers to the endpoint")
    }
}

/// The parameters of `devices::filter` that may be repeated.
pub struct FilterParameters;

impl IntoParams for FilterParameters {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let texts = Vec::<String>::schema;
        let of_type = "Of this type; of one of them, if given more than once, as with each of the parameters up to \
                       `expectation`, 100 times at most";
        let of_address = "Connected from this address, or from this block of addresses (CIDR)";
        vec![
            repeatable("type", of_type, texts()),
            repeatable("source", "From this source", texts()),
            repeatable("id", "With this id", texts()),
            repeatable("id_prefix", "Whose id begins so", texts()),
            repeatable("status", "`connected` or `disconnected`", texts()),
            repeatable("close_code", "Disconnected with this close code", Vec::<u16>::schema()),
            repeatable("cause", "Disconnected for a cause of this class", texts()),
            repeatable("address", of_address, texts()),
            repeatable(
                "expectation",
                "As its contact policy expects (`met`), `overdue`, or nothing is expected (`none`)",
                texts(),
            ),
        ]
    }
}

fn repeatable(name: &str, description: &str, values: RefOr<Schema>) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .description(Some(description))
        .required(Required::False)
        .schema(Some(values))
        .style(Some(ParameterStyle::Form))
        .explode(Some(true))
        .build()
}
