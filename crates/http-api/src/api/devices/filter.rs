//! The parameters that say which devices are meant, the same in every resource that shows many of them.

use jiff::Timestamp;

use crate::api::parameters::Parameters;
use crate::error::Error;
use formats::Cause;
use presence::query::Filter;
use presence::{Moment, Status};

/// Types, or sources, that one request may name: as many as a URL of ordinary length holds.
const TYPES_MAX: usize = 100;

/// Reads the parameters `type`, `source`, `id_prefix`, `status`, `close_code`, `cause`, `address`, `since` and `until`.
pub fn read(parameters: &Parameters) -> Result<Filter, Error> {
    let types: Vec<_> = parameters.all("type").map(str::to_owned).collect();
    if types.len() > TYPES_MAX || types.iter().any(String::is_empty) {
        return Err(Error::bad_parameter(
            "type",
            format!("a type of device, given {TYPES_MAX} times at most"),
        ));
    }
    let sources: Vec<_> = parameters.all("source").map(str::to_owned).collect();
    if sources.len() > TYPES_MAX || sources.iter().any(String::is_empty) {
        return Err(Error::bad_parameter("source", format!("a source, given {TYPES_MAX} times at most")));
    }
    let status = parameters.parse("status", "connected or disconnected", |text| match text {
        "connected" => Some(Status::Connected),
        "disconnected" => Some(Status::Disconnected),
        _ => None,
    })?;
    let close_code = parameters.parse("close_code", "a number from 0 to 65535", number)?;
    let cause = |word: &str| Cause::words().find(|known| *known == word);
    let causes: Option<Vec<_>> = parameters.all("cause").map(cause).collect();
    let causes = causes.ok_or_else(|| Error::bad_parameter("cause", "a cause class"))?;
    let address =
        parameters.parse("address", "an IP address or a block of them, as in 192.0.2.0/24", |text| {
            text.parse().ok()
        })?;
    Ok(Filter {
        types,
        sources,
        id_prefix: parameters.one("id_prefix")?.unwrap_or_default().to_owned(),
        status,
        close_code,
        causes,
        address,
        since: moment(parameters, "since")?,
        until: moment(parameters, "until")?,
    })
}

fn moment(parameters: &Parameters, name: &'static str) -> Result<Option<Moment>, Error> {
    let expected = "a time as in 2026-11-24T12:00:00Z (a + in it is written %2B)";
    parameters.parse(name, expected, |text| {
        let timestamp: Timestamp = text.parse().ok()?;
        Some(Moment::from_nanos(timestamp.as_nanosecond()))
    })
}

/// A whole number, written as nothing but digits.
pub fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] =
        &["type", "source", "id_prefix", "status", "close_code", "cause", "address", "since", "until"];

    fn filter(query: &str) -> Result<Filter, Error> {
        read(&Parameters::read(Some(query), KNOWN)?)
    }

    #[test]
    fn every_parameter_becomes_its_filter() {
        let query = "type=pump&type=valve&source=tasmota&id_prefix=a%2Fb&status=disconnected&close_code=91&cause=timeout&cause=unknown&address=192.0.2.0/24\
                     &since=2026-11-24T12:00:00Z&until=2026-11-24T12:00:00.5%2B01:00";
        let noon = 1_795_521_600_000_000_000;
        let expected = Filter {
            types: vec!["pump".to_owned(), "valve".to_owned()],
            sources: vec!["tasmota".to_owned()],
            id_prefix: "a/b".to_owned(),
            status: Some(Status::Disconnected),
            close_code: Some(91),
            causes: vec!["timeout", "unknown"],
            address: "192.0.2.0/24".parse().ok(),
            since: Some(Moment::from_nanos(noon)),
            until: Some(Moment::from_nanos(noon - 3_599_500_000_000)),
        };
        assert_eq!(filter(query), Ok(expected));
        assert_eq!(filter(""), Ok(Filter::default()));
    }

    #[test]
    fn a_value_that_a_filter_cannot_have_is_refused_by_name() {
        for (query, name) in [
            ("type=", "type"),
            ("status=never_connected", "status"),
            ("status=Connected", "status"),
            ("close_code=-1", "close_code"),
            ("close_code=%2B1", "close_code"),
            ("close_code=65536", "close_code"),
            ("close_code=", "close_code"),
            ("cause=91", "cause"),
            ("cause=", "cause"),
            ("address=10.0.0.0/33", "address"),
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
        assert_eq!(
            filter("status=connected&status=connected"),
            Err(Error::RepeatedParameter { name: "status" })
        );
        let many = vec!["type=a"; TYPES_MAX + 1].join("&");
        assert!(filter(&many).is_err());
    }
}
