//! One cell of a CSV file (RFC 4180). Which cells a row has is not known here.

use std::borrow::Cow;

/// How texts stand in cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cells {
    Exact,
    /// What a spreadsheet would take for a formula, and might run, begins with an apostrophe.
    WithoutFormulas,
}

impl Cells {
    /// The text as a cell: in quotes where it holds what would end it.
    pub fn cell(self, text: &str) -> Cow<'_, str> {
        let escape = match self {
            Cells::WithoutFormulas if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => "'",
            Cells::WithoutFormulas | Cells::Exact => "",
        };
        if text.contains(['"', ',', '\n', '\r']) {
            format!("\"{escape}{}\"", text.replace('"', "\"\"")).into()
        } else if escape.is_empty() {
            text.into()
        } else {
            format!("{escape}{text}").into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be_and_formulas_are_escaped_on_request() {
        for (text, exact, escaped) in [
            ("=1+1", "=1+1", "'=1+1"),
            ("+1", "+1", "'+1"),
            ("-1", "-1", "'-1"),
            ("@SUM(A1)", "@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "\t=1", "'\t=1"),
            ("\r=1", "\"\r=1\"", "\"'\r=1\""),
            ("=\"a\"", "\"=\"\"a\"\"\"", "\"'=\"\"a\"\"\""),
            ("two\nlines", "\"two\nlines\"", "\"two\nlines\""),
            ("a,b", "\"a,b\"", "\"a,b\""),
            ("-a,\"b\"", "\"-a,\"\"b\"\"\"", "\"'-a,\"\"b\"\"\""),
            ("a=1", "a=1", "a=1"),
            ("", "", ""),
        ] {
            assert_eq!((&*Cells::Exact.cell(text), &*Cells::WithoutFormulas.cell(text)), (exact, escaped));
        }
    }
}
