//! The parameters that say which devices are meant, the same in every resource that shows many of them.

use std::sync::Arc;

use jiff::Timestamp;

use crate::context::Context;
use crate::parameters::Parameters;
use formats::Cause;
use presence::contact::{ContactPolicy, Expectation, ExpectationFilter};
use presence::query::Filter;
use presence::{Moment, Status};
use server::clock;
use serving::error::Error;

/// Values of one parameter that a request may give: as many as a URL of ordinary length holds.
const VALUES_MAX: usize = 100;

/// Reads the parameters `type`, `source`, `id`, `id_prefix`, `status`, `close_code`, `cause`, `address`, `expectation`, `since`
/// and `until`.
pub fn read(parameters: &Parameters, context: &Context) -> Result<Filter, Error> {
    let expectation = expectation(parameters, || context.alerts.contacts().unwrap_or_default())?;
    Ok(Filter { expectation, ..without_expectation(parameters)? })
}

/// By the contact policies as they are now.
fn expectation(
    parameters: &Parameters,
    policies: impl FnOnce() -> Arc<[ContactPolicy]>,
) -> Result<Option<ExpectationFilter>, Error> {
    // Of a device that is listed, some message was.
    let known = [Expectation::Met, Expectation::Overdue, Expectation::None];
    let wanted = all(parameters, "expectation", "met, overdue or none", |text| {
        known.into_iter().find(|known| known.word() == text)
    })?;
    if wanted.is_empty() {
        return Ok(None);
    }
    let now = Moment::from_nanos(i128::from(clock::now_millis()) * 1_000_000);
    Ok(Some(ExpectationFilter { wanted, policies: policies(), now }))
}

fn without_expectation(parameters: &Parameters) -> Result<Filter, Error> {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let statuses = all(parameters, "status", "connected or disconnected", |text| match text {
        "connected" => Some(Status::Connected),
        "disconnected" => Some(Status::Disconnected),
        _ => None,
    })?;
    Ok(Filter {
        types: all(parameters, "type", "a type of device", text)?,
        sources: all(parameters, "source", "a source", text)?,
        ids: all(parameters, "id", "an id", text)?,
        id_prefixes: all(parameters, "id_prefix", "the beginning of an id", |text| Some(text.to_owned()))?,
        // Both of them are any.
        status: statuses
            .split_first()
            .filter(|(one, others)| others.iter().all(|other| other == *one))
            .map(|(one, _)| *one),
        close_codes: all(parameters, "close_code", "a number from 0 to 65535", number)?,
        causes: all(parameters, "cause", "a cause class", |word| {
            Cause::words().find(|known| *known == word)
        })?,
        addresses: all(
            parameters,
            "address",
            "an IP address or a block of them, as in 192.0.2.0/24",
            |text| text.parse().ok(),
        )?,
        since: moment(parameters, "since")?,
        until: moment(parameters, "until")?,
        expectation: None,
    })
}

/// All values of a parameter, each as what it means.
fn all<T>(
    parameters: &Parameters,
    name: &'static str,
    expected: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, Error> {
    let values = parameters.all(name).map(parse).collect::<Option<Vec<_>>>();
    values
        .filter(|values| values.len() <= VALUES_MAX)
        .ok_or_else(|| Error::bad_parameter(name, format!("{expected}, given {VALUES_MAX} times at most")))
}

fn moment(parameters: &Parameters, name: &'static str) -> Result<Option<Moment>, Error> {
    let expected = "a time as in 2026-11-24T12:00:00Z (a + in it is written %2B)";
    parameters.parse(name, expected, |text| {
        let timestamp: Timestamp = text.parse().ok()?;
        Some(Moment::from_nanos(timestamp.as_nanosecond()))
    })
}

/// The parameters that select devices by what they are, in lists and streams alike.
const SELECTORS: [&str; 9] =
    ["type", "source", "id", "id_prefix", "status", "close_code", "cause", "address", "expectation"];

/// The parameters of a resource: those that select devices, and its own, which make it so many.
pub const fn selectors_and<const N: usize>(own: &[&'static str]) -> [&'static str; N] {
    assert!(N == SELECTORS.len() + own.len(), "N counts the selectors and the resource's own parameters");
    let mut all = [""; N];
    let mut at = 0;
    while at < N {
        all[at] = if at < SELECTORS.len() { SELECTORS[at] } else { own[at - SELECTORS.len()] };
        at += 1;
    }
    all
}

/// A whole number, written as nothing but digits.
pub fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &selectors_and::<11>(&["since", "until"]);

    fn filter(query: &str) -> Result<Filter, Error> {
        let parameters = Parameters::read(Some(query), KNOWN)?;
        expectation(&parameters, || [].into())?;
        without_expectation(&parameters)
    }

    #[test]
    fn every_parameter_becomes_its_filter() {
        let query = "type=pump&type=valve&source=tasmota&id=a&id=b&id_prefix=a%2Fb&id_prefix=c&status=disconnected&close_code=91&close_code=0&cause=timeout&cause=unknown\
                     &address=192.0.2.0/24&address=2001:db8::1\
                     &since=2026-11-24T12:00:00Z&until=2026-11-24T12:00:00.5%2B01:00";
        let noon = 1_795_521_600_000_000_000;
        let expected = Filter {
            types: vec!["pump".to_owned(), "valve".to_owned()],
            sources: vec!["tasmota".to_owned()],
            ids: vec!["a".to_owned(), "b".to_owned()],
            id_prefixes: vec!["a/b".to_owned(), "c".to_owned()],
            status: Some(Status::Disconnected),
            close_codes: vec![91, 0],
            causes: vec!["timeout", "unknown"],
            addresses: ["192.0.2.0/24", "2001:db8::1"].map(|text| text.parse().unwrap()).to_vec(),
            since: Some(Moment::from_nanos(noon)),
            until: Some(Moment::from_nanos(noon - 3_599_500_000_000)),
            expectation: None,
        };
        assert_eq!(filter(query), Ok(expected));
        assert_eq!(filter(""), Ok(Filter::default()));
        assert_eq!(filter("status=connected&status=disconnected"), Ok(Filter::default()));
        assert_eq!(filter("status=connected&status=connected"), filter("status=connected"));
    }

    #[test]
    fn a_value_that_a_filter_cannot_have_is_refused_by_name() {
        for (query, name) in [
            ("type=", "type"),
            ("id=", "id"),
            ("status=never_connected", "status"),
            ("status=Connected", "status"),
            ("close_code=-1", "close_code"),
            ("close_code=%2B1", "close_code"),
            ("close_code=65536", "close_code"),
            ("close_code=", "close_code"),
            ("cause=91", "cause"),
            ("cause=", "cause"),
            ("address=10.0.0.0/33", "address"),
            ("expectation=unseen", "expectation"),
            ("since=yesterday", "since"),
            ("since=2026-11-24", "since"),
            ("until=2026-11-24T12:00:00", "until"),
            ("until=2026-11-24T12:00:00+01:00", "until"),
        ] {
            match filter(query) {
                Err(Error::BadParameter { name: refused, .. }) => assert_eq!(refused, name, "{query}"),
                other => panic!("{query}: {other:?}"),
            }
        }
        for name in ["type", "source", "id", "id_prefix"] {
            let most = vec![format!("{name}=a"); VALUES_MAX].join("&");
            assert!(filter(&most).is_ok() && filter(&format!("{most}&{name}=a")).is_err(), "{name}");
        }
    }
}
