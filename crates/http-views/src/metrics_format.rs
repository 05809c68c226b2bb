//! The two text formats in which metrics are read: OpenMetrics 1.0, and the older text format 0.0.4, which readers
//! understand that know no OpenMetrics. Which one a client gets, and how the older one is made from the newer.

use axum::http::HeaderMap;

use crate::accept::Accept;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsFormat {
    OpenMetrics,
    Text,
}

const OPENMETRICS: &str = "application/openmetrics-text";

impl MetricsFormat {
    /// OpenMetrics for a client that names it and does not like the text format better; text for every other, whatever it
    /// accepts, as Prometheus's own exporters do.
    pub fn of(headers: &HeaderMap) -> Self {
        let Some(accept) = Accept::of(headers) else { return MetricsFormat::Text };
        let openmetrics = accept.quality_if_named(OPENMETRICS, "1.0.0").unwrap_or(0);
        let text = accept.quality_if_named("text/plain", "0.0.4").unwrap_or(0);
        if openmetrics > 0 && openmetrics >= text { MetricsFormat::OpenMetrics } else { MetricsFormat::Text }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            MetricsFormat::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            MetricsFormat::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// OpenMetrics as the text format 0.0.4. The samples are the same. There is no kind `info` and no unit, and a family has the
/// name of its samples: a counter's ends in `_total`, what was an info is a gauge of 1 that ends in `_info`.
pub fn text_format(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len() + openmetrics.len() / 16);
    // The name of a family depends on its kind, which follows its help.
    let mut help = "";
    for line in openmetrics.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            text.extend([line, "\n"]);
            continue;
        };
        if let Some(rest) = comment.strip_prefix("HELP ") {
            help = rest.split_once(' ').map_or("", |(_name, help)| help);
        } else if let Some((name, kind)) = comment.strip_prefix("TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                kind => ("", kind),
            };
            text.extend(["# HELP ", name, suffix, " ", help, "\n# TYPE ", name, suffix, " ", kind, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header};

    use super::*;

    fn format(accept: &[&str]) -> MetricsFormat {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT, HeaderValue::from_str(value).unwrap());
        }
        MetricsFormat::of(&headers)
    }

    #[test]
    fn openmetrics_is_served_on_request_and_text_otherwise() {
        use MetricsFormat::{OpenMetrics, Text};
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
                            application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                            application/openmetrics-text;version=0.0.1;q=0.4,\
                            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        let telegraf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,\
                        text/plain;version=0.0.4;q=0.3";
        for (accept, expected) in [
            (&[][..], Text),
            (&["*/*"], Text),
            (&[""], Text),
            (&["text/plain;version=0.0.4"], Text),
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], Text),
            (&["application/json"], Text),
            (&[prometheus_2], OpenMetrics),
            (&[prometheus_3], OpenMetrics),
            (&[telegraf], Text),
            (&["application/openmetrics-text"], OpenMetrics),
            (&["APPLICATION/OpenMetrics-Text; version=\"1.0.0\"; Q=0.3"], OpenMetrics),
            (&["application/openmetrics-text;q=0"], Text),
            (&["application/openmetrics-text;version=0.0.1"], Text),
            (&["application/openmetrics-text;q=0.3, text/plain;version=0.0.4;q=0.5"], Text),
            (&["text/plain;q=0.5", "application/openmetrics-text"], OpenMetrics),
            (&["application/*"], Text),
        ] {
            assert_eq!(format(accept), expected, "{accept:?}");
        }
    }

    #[test]
    fn families_of_the_text_format_are_named_as_their_samples() {
        let openmetrics = "# HELP a_build What runs.\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n\
                           # HELP a_things Things.\n# TYPE a_things counter\na_things_total{of=\"x # y\"} 2\n\
                           # HELP a_wait_seconds Time.\n# TYPE a_wait_seconds histogram\n# UNIT a_wait_seconds seconds\n\
                           a_wait_seconds_sum 0.5\n# HELP a_now Now.\n# TYPE a_now gauge\na_now 3\n# EOF\n";
        let text = "# HELP a_build_info What runs.\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n\
                    # HELP a_things_total Things.\n# TYPE a_things_total counter\na_things_total{of=\"x # y\"} 2\n\
                    # HELP a_wait_seconds Time.\n# TYPE a_wait_seconds histogram\na_wait_seconds_sum 0.5\n\
                    # HELP a_now Now.\n# TYPE a_now gauge\na_now 3\n";
        assert_eq!(text_format(openmetrics), text);
    }
}
