//! The header `Accept`: how much a client wants a media type (RFC 9110, section 12.5.1).

use axum::http::{HeaderMap, HeaderValue, header};

/// The media ranges of a request.
pub struct Accept<'a>(Vec<MediaRange<'a>>);

/// One media range, such as `text/*;q=0.5`.
struct MediaRange<'a> {
    name: &'a str,
    version: Option<&'a str>,
    /// In thousandths.
    quality: u16,
}

impl<'a> Accept<'a> {
    /// `None`: the client takes anything.
    pub fn of(headers: &'a HeaderMap) -> Option<Self> {
        let values = headers.get_all(header::ACCEPT).iter().map(HeaderValue::to_str);
        let ranges: Vec<_> = values
            .flat_map(|value| value.unwrap_or_default().split(','))
            .filter(|range| !range.trim().is_empty())
            .map(MediaRange::read)
            .collect();
        let has_field = headers.contains_key(header::ACCEPT);
        has_field.then_some(Self(ranges))
    }

    /// How much the client wants a media type, in thousandths. The most exact range counts.
    pub fn quality(&self, name: &str) -> u16 {
        let exactness = |range: &MediaRange<'_>| match range.name.split_once('/') {
            _ if range.name.eq_ignore_ascii_case(name) => 3,
            Some((kind, "*")) if name.split('/').next().is_some_and(|own| own.eq_ignore_ascii_case(kind)) => {
                2
            }
            Some(("*", "*")) => 1,
            _ => 0,
        };
        let best = self.0.iter().map(|range| (exactness(range), range.quality)).max();
        best.filter(|(exactness, _)| *exactness > 0).map_or(0, |(_, quality)| quality)
    }

    /// How much the client wants a media type that it names in full, in this version or in any; `None`: it does not name it.
    pub fn quality_if_named(&self, name: &str, version: &str) -> Option<u16> {
        let ranges = self.0.iter().filter(|range| {
            range.name.eq_ignore_ascii_case(name) && range.version.is_none_or(|named| named == version)
        });
        ranges.map(|range| range.quality).max()
    }
}

impl<'a> MediaRange<'a> {
    fn read(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let mut range = Self { name: parts.next().unwrap_or_default(), version: None, quality: QUALITY_MAX };
        for (name, value) in parts.filter_map(|parameter| parameter.split_once('=')) {
            if name.eq_ignore_ascii_case("q") {
                range.quality = value
                    .parse::<f32>()
                    .map_or(QUALITY_MAX, |quality| (quality.clamp(0.0, 1.0) * f32::from(QUALITY_MAX)) as u16);
            } else if name.eq_ignore_ascii_case("version") {
                range.version = Some(value.trim_matches('"'));
            }
        }
        range
    }
}

const QUALITY_MAX: u16 = 1_000;
