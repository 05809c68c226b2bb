//! In which form devices are exported. Built and checked by `config`.

/// The form of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// One JSON object on each line, with everything that is kept: what an import reads.
    JsonLines,
    /// One row for each device, with what a person reads: for spreadsheets.
    Csv,
    /// The same, with the cells escaped that a spreadsheet would take for formulas.
    CsvForSpreadsheet,
}
