//! The query of a request: every parameter is one that the resource has, given as often as it may be, and a value that it
//! can have. What is not is refused by name. Each resource says what its parameters mean.

use std::borrow::Cow;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use serving::error::Error;

/// The parameters of one request, decoded.
#[derive(Debug)]
pub struct Parameters(Vec<(&'static str, String)>);

impl Parameters {
    /// Reads a query as browsers write it (`application/x-www-form-urlencoded`); `known` are the parameters that the
    /// resource has.
    pub fn read(query: Option<&str>, known: &'static [&'static str]) -> Result<Self, Error> {
        let mut given = Vec::new();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match known.iter().find(|known| **known == name) {
                Some(name) => given.push((*name, value.into_owned())),
                None => return Err(Error::UnknownParameter { name: name.into_owned(), known }),
            }
        }
        Ok(Self(given))
    }

    /// All values of a parameter that may be given more than once.
    pub fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(given, _)| *given == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that may be given once.
    pub fn one(&self, name: &'static str) -> Result<Option<&str>, Error> {
        let mut values = self.all(name);
        let value = values.next();
        if values.next().is_some() { Err(Error::RepeatedParameter { name }) } else { Ok(value) }
    }

    /// The value of a parameter that may be given once, as what it means; `expected` says what it must be.
    pub fn parse<T>(
        &self,
        name: &'static str,
        expected: impl Into<Cow<'static, str>>,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.one(name)? else { return Ok(None) };
        parse(value).map(Some).ok_or_else(|| Error::bad_parameter(name, expected))
    }
}

/// Taken by a resource that has no parameters.
#[derive(Debug)]
pub struct NoParameters;

impl<S: Sync> FromRequestParts<S> for NoParameters {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Error> {
        Parameters::read(parts.uri.query(), &[]).map(|_none| Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["type", "limit"];

    #[test]
    fn values_are_decoded_and_in_their_order() {
        let parameters = Parameters::read(Some("type=a%20b&limit=+7&type=%C3%A4&type"), KNOWN).unwrap();
        assert_eq!(parameters.all("type").collect::<Vec<_>>(), ["a b", "ä", ""]);
        assert_eq!(parameters.one("limit"), Ok(Some(" 7")));
        assert_eq!(parameters.one("type"), Err(Error::RepeatedParameter { name: "type" }));
        assert_eq!(Parameters::read(None, KNOWN).unwrap().one("limit"), Ok(None));
    }

    #[test]
    fn an_unknown_parameter_is_refused_by_name() {
        for (query, name) in [("limt=7", "limt"), ("type=a&Limit=7", "Limit"), ("=1", ""), ("%6C=1", "l")] {
            let refused = Parameters::read(Some(query), KNOWN).unwrap_err();
            assert_eq!(refused, Error::UnknownParameter { name: name.to_owned(), known: KNOWN }, "{query}");
        }
    }

    #[test]
    fn an_invalid_value_is_refused_with_the_expected_form() {
        let parameters = Parameters::read(Some("limit=many"), KNOWN).unwrap();
        let refused = parameters.parse("limit", "a number", |text| text.parse::<u32>().ok());
        assert_eq!(refused, Err(Error::bad_parameter("limit", "a number")));
    }
}
