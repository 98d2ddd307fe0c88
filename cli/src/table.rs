//! Columns of text that fit the page: what is too long is wrapped inside its column.
//!
//! Not for boxes and lines: blanks between columns can be cut, pasted and searched.

use crate::text::{COLUMNS, Style, Tone, wrapped};

/// Between two columns.
const GAP: &str = "  ";
/// Notes are set in by this.
const NOTE_INDENT: usize = 4;
/// No column is squeezed below this.
const COLUMN_CHARS_MIN: usize = 8;

/// One cell.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell that means something.
    #[must_use]
    pub fn toned(tone: Tone, text: impl Into<String>) -> Cell {
        Cell { text: text.into(), tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell { text: text.into(), tone: Tone::Plain }
    }
}

/// A column's heading, and what happens when the page is too narrow.
#[derive(Clone, Copy, Debug)]
pub enum Column {
    /// Never narrower than its widest cell.
    Fixed(&'static str),
    /// The same, with its cells at the right edge: numbers.
    Right(&'static str),
    /// Wrapped when there is no room.
    Wraps(&'static str),
}

impl Column {
    fn heading(self) -> &'static str {
        match self {
            Column::Fixed(heading) | Column::Right(heading) | Column::Wraps(heading) => heading,
        }
    }
}

/// Rows under headings.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    /// By row: what stands below it, over the whole page.
    notes: Vec<Cell>,
    widths_min: Vec<usize>,
    has_headings: bool,
}

impl Table {
    /// A table without rows.
    #[must_use]
    pub fn new(columns: &[Column]) -> Table {
        let widths_min = vec![0; columns.len()];
        Table {
            columns: columns.to_vec(),
            rows: Vec::new(),
            notes: Vec::new(),
            widths_min,
            has_headings: true,
        }
    }

    /// The same columns again, no narrower than they were, without headings: the next page of a list.
    #[must_use]
    pub fn continued(&self) -> Table {
        Table {
            columns: self.columns.clone(),
            rows: Vec::new(),
            notes: Vec::new(),
            widths_min: self.natural_widths(),
            has_headings: false,
        }
    }

    /// Adds a row with one cell for each column.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.row_with_note(cells, Cell::default());
    }

    /// Adds a row with one cell for each column, and a note that stands below it when it is not empty.
    pub fn row_with_note(&mut self, cells: Vec<Cell>, note: Cell) {
        assert_eq!(cells.len(), self.columns.len(), "one cell for each column");
        self.rows.push(cells);
        self.notes.push(note);
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All of it, each line ended.
    #[must_use]
    pub fn render(&self, style: &Style) -> String {
        let widths = self.widths();
        let mut out = String::new();
        if self.has_headings {
            let headings: Vec<Cell> =
                self.columns.iter().map(|column| Cell::toned(Tone::Bold, column.heading())).collect();
            self.push_row(&mut out, &headings, &widths, style);
        }
        for (row, note) in self.rows.iter().zip(&self.notes) {
            self.push_row(&mut out, row, &widths, style);
            if !note.text.is_empty() {
                style.push_line(&mut out, note.tone, NOTE_INDENT, &note.text);
            }
        }
        out
    }

    fn natural_widths(&self) -> Vec<usize> {
        let widest = |n: usize| {
            let lines = self.rows.iter().flat_map(|row| row[n].text.split('\n'));
            let cells = lines.map(|line| line.chars().count());
            cells.chain([self.columns[n].heading().chars().count(), self.widths_min[n]]).max().unwrap_or(0)
        };
        (0..self.columns.len()).map(widest).collect()
    }

    /// Natural widths, taken from the widest wrapping columns until the page is wide enough.
    fn widths(&self) -> Vec<usize> {
        let mut widths = self.natural_widths();
        let gaps = GAP.len() * self.columns.len().saturating_sub(1);
        loop {
            if widths.iter().sum::<usize>() + gaps <= COLUMNS {
                return widths;
            }
            let widest = (0..widths.len())
                .filter(|&n| matches!(self.columns[n], Column::Wraps(_)) && widths[n] > COLUMN_CHARS_MIN)
                .max_by_key(|&n| widths[n]);
            match widest {
                Some(n) => widths[n] -= 1,
                None => return widths,
            }
        }
    }

    fn push_row(&self, out: &mut String, row: &[Cell], widths: &[usize], style: &Style) {
        let cells: Vec<Vec<String>> = row
            .iter()
            .zip(widths)
            .zip(&self.columns)
            .map(|((cell, &width), column)| match column {
                Column::Wraps(_) => wrapped(&cell.text, width),
                Column::Fixed(_) | Column::Right(_) => vec![cell.text.clone()],
            })
            .collect();
        for n_line in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
            let mut line = String::new();
            for (n, lines) in cells.iter().enumerate() {
                let text = lines.get(n_line).map_or("", String::as_str);
                let padding = " ".repeat(widths[n].saturating_sub(text.chars().count()));
                let painted = if text.is_empty() { String::new() } else { style.paint(row[n].tone, text) };
                if n > 0 {
                    line.push_str(GAP);
                }
                match self.columns[n] {
                    Column::Right(_) => line.push_str(&(padding + &painted)),
                    Column::Fixed(_) | Column::Wraps(_) => line.push_str(&(painted + &padding)),
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
}
