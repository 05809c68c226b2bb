//! Text in columns, and its colours (pure).

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;

const GAP: &str = "  ";

/// How a cell looks on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    Plain,
    Strong,
    Faint,
    Good,
    Bad,
}

impl Paint {
    fn code(self) -> Option<&'static str> {
        match self {
            Paint::Plain => None,
            Paint::Strong => Some("1"),
            Paint::Faint => Some("2"),
            Paint::Good => Some("32"),
            Paint::Bad => Some("31"),
        }
    }
}

/// A text in a column. Never empty, so that a program can count the columns, and without a character that steers the terminal: a
/// device can be called anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    text: String,
    paint: Paint,
    to_the_right: bool,
}

impl Cell {
    pub fn new(text: &str, paint: Paint) -> Self {
        let text = if text.is_empty() { "-".to_owned() } else { plain(text) };
        Self { text, paint, to_the_right: false }
    }

    pub fn number(number: u64) -> Self {
        Self { text: number.to_string(), paint: Paint::Plain, to_the_right: true }
    }

    pub fn at_the_right(self) -> Self {
        Self { to_the_right: true, ..self }
    }
}

/// The text with what a terminal does not show as a character spelled out: control characters, those that turn the direction of
/// writing, and those without a width, which make two different names look alike.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if system::is_unseen(c) { plain.extend(c.escape_unicode()) } else { plain.push(c) }
    }
    plain
}

/// The widths of columns: as wide as the widest cell so far.
#[derive(Debug)]
pub struct TableColumns {
    widths: Vec<usize>,
    colour: bool,
}

impl TableColumns {
    /// Columns of these widths at least.
    pub fn new(widths: &[usize], colour: bool) -> Self {
        Self { widths: widths.to_vec(), colour }
    }

    pub fn fit(&mut self, row: &[Cell]) {
        if self.widths.len() < row.len() {
            self.widths.resize(row.len(), 0);
        }
        for (width, cell) in self.widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.width());
        }
    }

    /// One row as a line, nothing behind its last cell.
    pub fn line(&self, row: &[Cell]) -> String {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let width = self.widths.get(at).copied().unwrap_or_default();
            let padding = " ".repeat(width.saturating_sub(cell.text.width()));
            let is_last = at + 1 == row.len();
            line.push_str(if at == 0 { "" } else { GAP });
            if cell.to_the_right {
                line.push_str(&padding);
            }
            match cell.paint.code().filter(|_| self.colour) {
                Some(code) => {
                    write!(line, "\u{1b}[{code}m{}\u{1b}[0m", cell.text).expect("a String takes all")
                }
                None => line.push_str(&cell.text),
            }
            if !cell.to_the_right && !is_last {
                line.push_str(&padding);
            }
        }
        line
    }

    /// All rows, aligned.
    pub fn lines(&mut self, rows: &[Vec<Cell>]) -> Vec<String> {
        rows.iter().for_each(|row| self.fit(row));
        rows.iter().map(|row| self.line(row)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(text: &str) -> Cell {
        Cell::new(text, Paint::Good)
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_on_the_screen() {
        let rows = [vec![cell("a"), cell("1"), cell("x")], vec![cell("電梯"), Cell::number(12), cell("")]];
        assert_eq!(TableColumns::new(&[], false).lines(&rows), ["a     1   x", "電梯  12  -"]);
        let mut columns = TableColumns::new(&[3], false);
        assert_eq!(columns.lines(&[vec![cell("a"), Cell::number(1)]]), ["a    1"]);
        assert_eq!(columns.lines(&[vec![cell("b"), Cell::number(10)]]), ["b    10"]);
        assert_eq!(columns.lines(&[vec![cell("c"), Cell::number(1)]]), ["c     1"], "as wide as before");
    }

    #[test]
    fn colour_takes_no_room_and_is_only_where_it_is_wanted() {
        let row = [vec![cell("on"), Cell::new("x", Paint::Plain)]];
        assert_eq!(TableColumns::new(&[4], true).lines(&row), ["\u{1b}[32mon\u{1b}[0m    x"]);
        assert_eq!(TableColumns::new(&[4], false).lines(&row), ["on    x"]);
    }

    #[test]
    fn no_name_steers_the_terminal() {
        let row = [vec![cell("a\u{1b}[2J\nb"), cell("\u{9b}1m")]];
        assert_eq!(TableColumns::new(&[], false).lines(&row), ["a\\u{1b}[2J\\u{a}b  \\u{9b}1m"]);
        for unseen in
            ['\u{202e}', '\u{2066}', '\u{200b}', '\u{200d}', '\u{feff}', '\u{2028}', '\u{ad}', '\u{e0041}']
        {
            assert_eq!(plain(&format!("a{unseen}b")), format!("a{}b", unseen.escape_unicode()));
        }
        let seen = "pump-1 ü é Ω 電梯 מעלית 🛗 e\u{301}";
        assert_eq!(plain(seen), seen, "letters of all scripts stay");
    }
}
