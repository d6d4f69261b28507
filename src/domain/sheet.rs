//! Recipients as CSV: what people export from spreadsheets, read with a word on every line that
//! was not taken; and written so that no cell runs as a formula.

use std::borrow::Cow;

use encoding_rs::{CoderResult, Encoding, UTF_8, WINDOWS_1252};

use super::recipient::{
    KnownField, MAX_RECIPIENTS, RawRow, RecipientRows, RowCollector, number, too_many,
};
use crate::error::{Code, Error, Result};

/// The header of a campaign's export.
pub const EXPORT_HEADER: [&str; 9] = [
    "Number",
    "Name",
    "Job Title",
    "Company",
    "Status",
    "Sent At",
    "Error",
    "Delivered At",
    "Read At",
];

/// A sheet to fill in, with five rows as an example.
pub const TEMPLATE: &str = "\
Number,Name,Job Title,Company
6281234567890,Budi Santoso,Manager,PT Maju Jaya
6281234567891,Siti Rahma,Owner,Toko Sinar
6281234567892,Agus Wijaya,Sales,CV Karya Abadi
6281234567893,Dewi Lestari,Designer,Studio Lestari
6281234567894,Eko Prasetyo,Engineer,PT Nusantara Teknik
";

/// How many columns a sheet may have.
const MAX_COLUMNS: usize = 1000;

/// How many custom fields a sheet has room for, beside the known ones.
pub const MAX_CUSTOM_COLUMNS: usize = MAX_COLUMNS - 4;

/// How many bytes a line of a sheet may have.
const MAX_LINE: usize = 1 << 20;

/// The largest sheet, once it is read as text.
const MAX_TEXT: usize = 32 << 20;

/// How many lines the delimiter is guessed from.
const SNIFFED_LINES: usize = 20;

/// A sheet that was read. The rows of `parsed` are lines, counted from 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sheet {
    /// The names of the columns; empty when the sheet has no header.
    pub headers: Vec<String>,
    /// What became of the lines.
    pub parsed: RecipientRows,
}

impl Sheet {
    /// Reads a CSV file: comma, semicolon or tab; UTF-8, UTF-16 with a mark, or Windows-1252; with a
    /// header, or with the number in the first and the name in the second column. Columns that
    /// are no known field become custom fields. `country` stands for a leading 0.
    pub fn read(bytes: &[u8], country: Option<&str>) -> Result<Self> {
        if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\xd0\xcf\x11\xe0") {
            return Err(Error::new(
                Code::FileTypeUnsupported,
                "this is a workbook: save it as CSV",
            ));
        }
        let text = decode(bytes)?;
        let (delimiter, text, mut lines) = match announced(&text) {
            Some((delimiter, rest)) => (delimiter, rest, 1),
            None => (sniff(&text), &*text, 0),
        };
        refuse_endless(text, delimiter, lines)?;
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter)
            .from_reader(text.as_bytes());
        let mut record = csv::StringRecord::new();
        let mut sheet = Self::default();
        let mut columns: Option<Vec<Column>> = None;
        let mut gathering = RowCollector::new(country, 0);
        let (mut counted, mut rows) = (0, 0);
        while reader.read_record(&mut record).map_err(Error::internal)? {
            let end = line_of(reader.position());
            let begin = line_of(record.position().unwrap_or(&csv::Position::new()));
            let skipped =
                text[begin..end].len() - text[begin..end].trim_start_matches(['\r', '\n']).len();
            let begin = begin + skipped;
            lines += line_ends(&text[counted..begin]);
            counted = begin;
            if record.iter().all(|cell| cell.trim().is_empty()) {
                continue;
            }
            let line = lines + 1;
            if columns.is_none() {
                let header = header(&record, country)?;
                let is_header = header.is_some();
                columns = Some(header.unwrap_or_else(|| {
                    vec![
                        Column::Known(KnownField::Number),
                        Column::Known(KnownField::Name),
                    ]
                }));
                if is_header {
                    sheet.headers = record.iter().map(|c| plain(c.trim()).to_owned()).collect();
                    continue;
                }
            }
            rows += 1;
            if rows > MAX_RECIPIENTS {
                return Err(too_many());
            }
            let raw = text[begin..end].trim_end();
            if end == text.len()
                && let Some(reason) = never_closed(raw, line)
            {
                gathering.reject(line, raw.lines().next().unwrap_or_default(), reason)?;
                continue;
            }
            let columns = columns.as_deref().unwrap_or_default();
            let names = names_of_unnamed(&record, columns.len());
            gathering.add(line, raw_row(&record, columns, &names))?;
        }
        sheet.parsed = gathering.parsed;
        Ok(sheet)
    }
}

/// Why the last record of a file, which begins on this line, is not read: its end is what the file
/// ended in, not what somebody wrote.
fn never_closed(raw: &str, line: usize) -> Option<String> {
    let more = line_ends(raw);
    let is_open = raw.bytes().filter(|b| *b == b'"').count() % 2 == 1;
    let last = line + more;
    (more > 0 && is_open).then(|| {
        format!(
            "a quotation mark opens here and never closes: lines {line} to {last} were not read"
        )
    })
}

/// What the cells that no header names are called, those that are not empty.
fn names_of_unnamed(record: &csv::StringRecord, named: usize) -> Vec<String> {
    (named..record.len())
        .map(|at| match record[at].trim().is_empty() {
            true => String::new(),
            false => unnamed(at),
        })
        .collect()
}

/// The cells of a record where their columns put them.
fn raw_row<'a>(
    record: &'a csv::StringRecord,
    columns: &'a [Column],
    names: &'a [String],
) -> RawRow<'a> {
    let mut row = RawRow::default();
    for (at, cell) in record.iter().enumerate() {
        match columns.get(at) {
            Some(Column::Known(KnownField::Number)) => row.number = plain_number(cell).into(),
            Some(Column::Known(known)) => *row.slot(*known) = plain(cell).into(),
            Some(Column::Custom(key)) => row.custom(key, plain(cell).into()),
            None => row.custom(&names[at - columns.len()], plain(cell).into()),
        }
    }
    row
}

/// Writes lines of a sheet. Every cell is quoted, and one that a spreadsheet would run as a formula
/// begins with an apostrophe, which [`Sheet::read`] takes away again.
pub fn lines<'a, L>(lines: impl IntoIterator<Item = L>) -> Result<Vec<u8>>
where
    L: IntoIterator<Item = &'a str>,
{
    let mut writer = csv::WriterBuilder::new()
        .flexible(true)
        .quote_style(csv::QuoteStyle::Always)
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    for line in lines {
        let cells = line.into_iter().map(|cell| match is_formula(cell) {
            true => Cow::Owned([&b"'"[..], cell.as_bytes()].concat()),
            false => Cow::Borrowed(cell.as_bytes()),
        });
        writer.write_record(cells).map_err(Error::internal)?;
    }
    writer
        .into_inner()
        .map_err(|error| Error::internal(error.to_string()))
}

/// `=`, `+`, `-` and `@` as East Asian keyboards write them; spreadsheets there run them too.
const FULL_WIDTH_FORMULA: [char; 4] = ['\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];

/// Whether a spreadsheet would run the cell. Apostrophes in front do not count, so that the one
/// that [`lines`] adds can be told from one that was there.
fn is_formula(cell: &str) -> bool {
    cell.trim_start_matches('\'')
        .starts_with(['=', '+', '-', '@', '\t', '\r', '\n'])
        || cell
            .trim_start_matches('\'')
            .starts_with(FULL_WIDTH_FORMULA)
}

/// A cell without the apostrophe that kept it from being a formula.
fn plain(cell: &str) -> &str {
    let cell = cell.trim_matches(' ');
    match cell.strip_prefix('\'') {
        Some(rest) if is_formula(rest) => rest,
        _ => cell,
    }
}

/// A number without what keeps a spreadsheet from rounding it: `'0812..` or `="0812.."`.
fn plain_number(cell: &str) -> &str {
    let cell = cell.trim();
    let formula = cell.strip_prefix("=\"").and_then(|c| c.strip_suffix('"'));
    formula.unwrap_or(cell).trim_start_matches('\'')
}

enum Column {
    Known(KnownField),
    Custom(String),
}

/// What a column without a name is called.
fn unnamed(at: usize) -> String {
    format!("Column {}", at + 1)
}

/// Reads the first line as a header. It is none when it names no known field, or holds a number.
fn header(record: &csv::StringRecord, country: Option<&str>) -> Result<Option<Vec<Column>>> {
    let known: Vec<_> = record.iter().map(|c| KnownField::of(c.trim())).collect();
    let is_number = |cell: &str| number(plain_number(cell), country).is_ok();
    if known.iter().all(Option::is_none) || record.iter().any(is_number) {
        return Ok(None);
    }
    let best = |field: KnownField| {
        let ranks = known.iter().enumerate();
        let same = ranks.filter_map(|(at, k)| k.filter(|k| k.0 == field).map(|k| (k.1, at)));
        same.min().map(|(_, at)| at)
    };
    if best(KnownField::Number).is_none() {
        return Err(Error::new(
            Code::SheetInvalid,
            "the header names no column with numbers (number, phone, whatsapp, nomor, no hp, telepon)",
        ));
    }
    let column = |(at, name): (usize, &str)| match known[at] {
        Some((field, _)) if best(field) == Some(at) => Column::Known(field),
        _ if name.trim().is_empty() => Column::Custom(unnamed(at)),
        _ => Column::Custom(plain(name.trim()).to_owned()),
    };
    Ok(Some(record.iter().enumerate().map(column).collect()))
}

/// A place in the text that csv reports.
fn line_of(position: &csv::Position) -> usize {
    usize::try_from(position.byte()).expect("the text is in memory")
}

/// How many lines end in the text: with `\n`, `\r\n` or `\r`.
fn line_ends(text: &str) -> usize {
    let bytes = text.as_bytes();
    let ends = (0..bytes.len()).filter(|&at| match bytes[at] {
        b'\n' => true,
        b'\r' => bytes.get(at + 1) != Some(&b'\n'),
        _ => false,
    });
    ends.count()
}

/// The delimiter that a first line `sep=;` announces, and what follows it.
fn announced(text: &str) -> Option<(u8, &str)> {
    let rest = text.strip_prefix("sep=")?;
    let delimiter = *rest.as_bytes().first().filter(|b| b",;\t|:".contains(b))?;
    let rest = &rest[1..];
    let end = ["\r\n", "\n", "\r"]
        .iter()
        .find(|end| rest.starts_with(**end))?;
    Some((delimiter, &rest[end.len()..]))
}

/// Guesses the delimiter: the one that most of the first lines have as often as the first has.
fn sniff(text: &str) -> u8 {
    const CANDIDATES: [u8; 3] = *b",;\t";
    let mut lines: Vec<[usize; 3]> = Vec::new();
    let (mut counts, mut quoted, mut empty) = ([0; 3], false, true);
    for byte in text.bytes().chain([b'\n']) {
        match byte {
            b'"' => quoted = !quoted,
            b'\r' | b'\n' if !quoted => {
                if !empty {
                    lines.push(counts);
                }
                (counts, empty) = ([0; 3], true);
                if lines.len() == SNIFFED_LINES {
                    break;
                }
                continue;
            }
            _ if !quoted => {
                if let Some(at) = CANDIDATES.iter().position(|c| *c == byte) {
                    counts[at] += 1;
                }
            }
            _ => {}
        }
        empty = false;
    }
    let score = |at: usize| {
        let first = lines.first().map_or(0, |counts| counts[at]);
        let same = lines.iter().filter(|c| first > 0 && c[at] == first);
        (same.count(), first, std::cmp::Reverse(at))
    };
    let best = (0..CANDIDATES.len()).max_by_key(|at| score(*at));
    CANDIDATES[best.unwrap_or(0)]
}

/// Reads the bytes as text: by their mark, as UTF-8, or else as Windows-1252, which every byte fits.
fn decode(bytes: &[u8]) -> Result<Cow<'_, str>> {
    let (marked, mark) = Encoding::for_bom(bytes).unwrap_or((UTF_8, 0));
    let bytes = &bytes[mark..];
    let encoding = match std::str::from_utf8(bytes) {
        Ok(text) if marked == UTF_8 => return Ok(text.into()),
        _ if marked == UTF_8 => WINDOWS_1252,
        _ => marked,
    };
    let mut decoder = encoding.new_decoder_without_bom_handling();
    // It may take more room as text than it took before; what is not written takes no memory.
    let most = decoder.max_utf8_buffer_length(bytes.len());
    let mut text = String::with_capacity(most.unwrap_or(MAX_TEXT).min(MAX_TEXT));
    match decoder.decode_to_string(bytes, &mut text, true) {
        (CoderResult::InputEmpty, ..) => Ok(text.into()),
        (CoderResult::OutputFull, ..) => {
            Err(Error::new(Code::FileTooLarge, "the sheet is too large"))
        }
    }
}

/// Refuses a line with more cells or bytes than anybody's: the reader of CSV holds a line whole, with
/// a number for each of its cells.
///
/// It follows that reader: a quotation mark counts where a cell begins, and two in it are one.
fn refuse_endless(text: &str, delimiter: u8, lines_before: usize) -> Result<()> {
    enum At {
        CellBegins,
        Plain,
        Quoted,
        MarkInQuoted,
    }
    let (mut at, mut cells, mut begin) = (At::CellBegins, 1, 0);
    for (place, byte) in text.bytes().enumerate() {
        at = match (at, byte) {
            (At::Quoted, b'"') => At::MarkInQuoted,
            (At::Quoted, _) => At::Quoted,
            (At::CellBegins, b'"') | (At::MarkInQuoted, b'"') => At::Quoted,
            (_, b'\n' | b'\r') => {
                (cells, begin) = (1, place + 1);
                At::CellBegins
            }
            (_, other) if other == delimiter => {
                cells += 1;
                At::CellBegins
            }
            _ => At::Plain,
        };
        let what = if cells > MAX_COLUMNS {
            format!("more than {MAX_COLUMNS} columns")
        } else if place - begin.min(place) > MAX_LINE {
            format!("more than {MAX_LINE} bytes: is a quotation mark not closed?")
        } else {
            continue;
        };
        let line = lines_before + line_ends(&text[..begin]) + 1;
        return Err(Error::new(
            Code::SheetInvalid,
            format!("line {line} has {what}"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::recipient::{MergedRow, Recipient, RejectedRow};
    use crate::error::ErrorKind;
    use proptest::prelude::*;

    /// What was read, with the recipients as they are stored.
    #[derive(Debug, Default, PartialEq)]
    struct ReadSheet {
        headers: Vec<String>,
        parsed: SheetRows,
    }

    #[derive(Debug, Default, PartialEq)]
    struct SheetRows {
        recipients: Vec<Recipient>,
        rejected: Vec<RejectedRow>,
        merged: Vec<MergedRow>,
    }

    impl From<Sheet> for ReadSheet {
        fn from(sheet: Sheet) -> Self {
            let recipients = sheet.parsed.recipients.iter().collect::<Result<_>>();
            Self {
                headers: sheet.headers,
                parsed: SheetRows {
                    recipients: recipients.expect("recipients"),
                    rejected: sheet.parsed.rejected,
                    merged: sheet.parsed.merged,
                },
            }
        }
    }

    fn read(text: &str) -> ReadSheet {
        let sheet = Sheet::read(text.as_bytes(), Some("62"));
        sheet.expect("a sheet").into()
    }

    /// Number and name of each recipient.
    fn people(sheet: &ReadSheet) -> Vec<(&str, &str)> {
        let people = sheet.parsed.recipients.iter();
        people.map(|r| (r.number.as_str(), &*r.name)).collect()
    }

    /// Line and reason of each refused line.
    fn refused(sheet: &ReadSheet) -> Vec<(usize, &str)> {
        let refused = sheet.parsed.rejected.iter();
        refused.map(|r| (r.row, &*r.reason)).collect()
    }

    fn written(rows: &[&[&str]]) -> String {
        let bytes = lines(rows.iter().map(|row| row.iter().copied())).expect("a sheet");
        String::from_utf8(bytes).expect("text")
    }

    const TWO: [(&str, &str); 2] = [("6281234567890", "Budi"), ("6281234567891", "Ani")];

    #[test]
    fn each_delimiter_encoding_and_line_end_is_read() {
        for delimiter in [",", ";", "\t"] {
            for end in ["\n", "\r\n", "\r"] {
                for header in ["Number,Name", "No. HP,Nama", "\"WhatsApp\",\"NAME\"", ""] {
                    let text = format!("{header}{end}6281234567890,Budi{end}{end}081234567891,Ani")
                        .replace(',', delimiter);
                    let utf16 = text.encode_utf16();
                    let le: Vec<u8> = utf16.clone().flat_map(u16::to_le_bytes).collect();
                    let be: Vec<u8> = utf16.flat_map(u16::to_be_bytes).collect();
                    for bytes in [
                        text.as_bytes().to_vec(),
                        [b"\xef\xbb\xbf", text.as_bytes()].concat(),
                        [b"\xff\xfe", &*le].concat(),
                        [b"\xfe\xff", &*be].concat(),
                    ] {
                        let sheet: ReadSheet =
                            Sheet::read(&bytes, Some("62")).expect("a sheet").into();
                        assert_eq!(people(&sheet), TWO, "{bytes:?}");
                        assert_eq!(refused(&sheet), [], "{bytes:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn bytes_that_are_no_utf_8_are_windows_1252() {
        let sheet: ReadSheet = Sheet::read(b"6281234567890,Ren\xe9 \x80\x93", None)
            .expect("a sheet")
            .into();
        assert_eq!(
            people(&sheet),
            [("6281234567890", "Ren\u{e9} \u{20ac}\u{201c}")]
        );
    }

    #[test]
    fn columns_are_known_by_their_names_and_others_are_custom() {
        let sheet = read(
            "Perusahaan,Jabatan,No HP,Nama,Kota,,Telepon\n\
             PT A,CEO,081234567890,Budi,Solo,x,021123456\n\
             ,,081234567891,Ani,,,,beyond",
        );
        assert_eq!(people(&sheet), TWO);
        assert_eq!(sheet.headers[2..4], ["No HP", "Nama"]);
        let [budi, ani] = sheet.parsed.recipients.as_slice() else {
            panic!("two recipients");
        };
        assert_eq!((&*budi.company, &*budi.job_title), ("PT A", "CEO"));
        for (name, value) in [
            ("kota", "Solo"),
            ("Column 6", "x"),
            ("Telepon", "021123456"),
        ] {
            assert_eq!(budi.field(name), Some(value), "{name}");
        }
        assert_eq!(ani.field("Column 8"), Some("beyond"));
        assert_eq!(ani.fields.len(), 1);
    }

    #[test]
    fn every_refused_line_has_its_number_and_reason() {
        for end in ["\n", "\r\n", "\r"] {
            let text = [
                "",
                "number,name",
                "",
                "6281234567890,\"Budi",
                "Santoso\"",
                "6.28123E+12,Ani",
                ",",
                "",
                "6,28E+12",
                "x,Eko",
                "",
                ",Dewi",
                "0812-3456-7890,Other",
                "6281234567891.0,A",
            ]
            .join(end);
            let sheet = read(&text);
            assert_eq!(
                people(&sheet),
                [("6281234567890", &*format!("Budi{end}Santoso"))]
            );
            let reasons = refused(&sheet);
            let lines: Vec<_> = reasons.iter().map(|r| r.0).collect();
            assert_eq!(lines, [6, 9, 10, 12, 14], "{end:?} {reasons:?}");
            assert!(
                reasons[0].1.starts_with("the spreadsheet rounded"),
                "{reasons:?}"
            );
            assert_eq!(reasons[2].1, "not a phone number");
            assert_eq!(reasons[3].1, "no number");
            assert!(reasons[4].1.starts_with("written as a decimal"));
            assert_eq!(sheet.parsed.rejected[3].input, "Dewi");
            let merged: Vec<_> = sheet
                .parsed
                .merged
                .iter()
                .map(|m| (m.row, m.into))
                .collect();
            assert_eq!(merged, [(13, 4)]);
        }
    }

    #[test]
    fn what_keeps_a_spreadsheet_from_rounding_is_taken_away() {
        let sheet = read(
            "'081234567890;Budi\n\"=\"\"081234567891\"\"\";Ani\n'+6281234567892;'@eko\n081234567893;'t Hooft",
        );
        assert_eq!(
            people(&sheet),
            [
                TWO[0],
                TWO[1],
                ("6281234567892", "@eko"),
                ("6281234567893", "'t Hooft")
            ]
        );
    }

    #[test]
    fn the_delimiter_is_announced_or_the_steadiest() {
        assert_eq!(
            people(&read("sep=;\r\nnumber;name\r\n081234567890;Budi, Jr")),
            [("6281234567890", "Budi, Jr")]
        );
        assert_eq!(refused(&read("sep=|\nnumber|name\nx|Budi"))[0].0, 3);
        let sheet = read("081234567890;Budi, Jr\n081234567891;Ani");
        assert_eq!(people(&sheet), [("6281234567890", "Budi, Jr"), TWO[1]]);
        let sheet = read("\"a, b, c\";number\nx;081234567890");
        assert_eq!(sheet.parsed.recipients[0].field("a, b, c"), Some("x"));
        let sheet = read("\"a, b\";number\n\"x, y\";081234567890\n");
        assert_eq!(sheet.parsed.recipients[0].field("a, b"), Some("x, y"));
        assert_eq!(people(&read("081234567890\n081234567891")).len(), 2);
    }

    #[test]
    fn a_quote_that_never_closes_is_told_and_not_taken() {
        let sheet = read(
            "number,name\n081234567890,Budi\n081234567891,\"Ani\n081234567892,Eko\n081234567893,Dewi\n",
        );
        assert_eq!(people(&sheet), [TWO[0]]);
        let [(3, reason)] = *refused(&sheet) else {
            panic!("one refused line: {sheet:?}");
        };
        assert!(reason.ends_with("lines 3 to 5 were not read"), "{reason}");
        let inch = read("081234567890,5\" pipe\n081234567891,6\" pipe\n");
        assert_eq!(people(&inch).len(), 2);
        let both = read("081234567890,\"Bu\ndi\",5\" pipe\n081234567891,Ani\n");
        assert_eq!(people(&both), [("6281234567890", "Bu\ndi"), TWO[1]]);
    }

    #[test]
    fn what_is_no_sheet_is_refused() {
        let workbook = Sheet::read(b"PK\x03\x04rest", None).expect_err("a workbook");
        assert_eq!(workbook.kind(), ErrorKind::UnsupportedMedia);
        assert!(Sheet::read(b"Nama,Kota\nBudi,Solo", None).is_err());
        // A line with a number is no header, whatever else it says.
        assert_eq!(
            people(&read("081234567890,Nama")),
            [("6281234567890", "Nama")]
        );
        assert_eq!(read(""), ReadSheet::default());
        assert_eq!(read("\n,,\n"), ReadSheet::default());
        let rows = "6281234567890\n".repeat(100_000);
        assert!(Sheet::read(rows.as_bytes(), None).is_ok());
        assert!(Sheet::read(format!("{rows}1").as_bytes(), None).is_err());
        let refused = "1\n".repeat(10_001);
        assert!(Sheet::read(refused.as_bytes(), None).is_err());
    }

    #[test]
    fn a_line_without_end_is_refused_and_long_ones_are_not() {
        let cells = |many: usize| format!("number,name\n6281234567890,Budi{}", ",".repeat(many));
        assert_eq!(people(&read(&cells(998))).len(), 1);
        let refused = |text: &str| {
            let error = Sheet::read(text.as_bytes(), None).expect_err("refused");
            error.detail().to_owned()
        };
        assert_eq!(refused(&cells(999)), "line 2 has more than 1000 columns");
        let quoted = format!(
            "number,name\n6281234567890,\"Budi{}\"",
            ",\"\"\n".repeat(5000)
        );
        assert_eq!(people(&read(&quoted)).len(), 0, "a name that is too long");
        let open = format!("number,name\n6281234567890,\"{}", "x,\n".repeat(400_000));
        assert!(refused(&open).starts_with("line 2 has more than 1048576 bytes"));
        assert_eq!(
            refused(&format!("sep=;\nnumber;name\n{}", ";".repeat(1000))),
            "line 3 has more than 1000 columns"
        );
        let windows = [&b"number\n6281234567890,"[..], &[0x80; 12 << 20]].concat();
        assert!(Sheet::read(&windows, None).is_err());
    }

    #[test]
    fn the_template_is_a_sheet_of_five() {
        let sheet = read(TEMPLATE);
        assert_eq!(sheet.headers, EXPORT_HEADER[..4]);
        assert_eq!((people(&sheet).len(), refused(&sheet)), (5, vec![]));
    }

    #[test]
    fn written_cells_are_quoted_and_no_formula() {
        let cells = ["=1+1", "say \"hi\"", "", "a,b\nc", "-5", "'+1", "'x"];
        let out = written(&[&EXPORT_HEADER, &cells, &[""]]);
        let marked = [
            "\u{ff1d}1",
            "\u{ff0b}1",
            "\u{ff0d}1",
            "\u{ff20}a",
            "a\u{ff1d}",
        ];
        let wide = written(&[&marked]);
        assert_eq!(
            wide,
            "\"'\u{ff1d}1\",\"'\u{ff0b}1\",\"'\u{ff0d}1\",\"'\u{ff20}a\",\"a\u{ff1d}\"\r\n"
        );
        assert_eq!(plain("'\u{ff1d}1"), "\u{ff1d}1");
        assert_eq!(
            out,
            "\"Number\",\"Name\",\"Job Title\",\"Company\",\"Status\",\"Sent At\",\"Error\",\"Delivered At\",\"Read At\"\r\n\
             \"'=1+1\",\"say \"\"hi\"\"\",\"\",\"a,b\nc\",\"'-5\",\"''+1\",\"'x\"\r\n\"\"\r\n"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Sheet::read(&bytes, Some("62"));
        }

        #[test]
        fn any_table_is_read(text in "[0-9a-z,;\"\n\r\t'=+ ]{0,120}") {
            let _ = Sheet::read(text.as_bytes(), Some("62"));
        }

        #[test]
        fn no_line_is_lost(
            rows in proptest::collection::vec(("[0-9]{6,10}|x", "[a-z ]{1,5}!"), 0..20),
        ) {
            let text: String = rows.iter().map(|(n, name)| format!("{n};{name}\r\n")).collect();
            let parsed = read(&text).parsed;
            prop_assert_eq!(
                parsed.recipients.len() + parsed.rejected.len() + parsed.merged.len(),
                rows.len()
            );
        }

        #[test]
        fn what_is_written_is_read_again(
            name in "[^\\pC ]([^\\pC]{0,20}[^\\pC ])?", formula in "['=+@-]{0,3}[a-z\",;]{1,5}",
            key in "[=+@-]{0,2}x[a-z\",;]{1,5}",
        ) {
            let text = written(&[&["number", "name", &key], &["+6281234567890", &name, &formula]]);
            let sheet = read(&text);
            prop_assert_eq!(people(&sheet), [("6281234567890", name.trim())]);
            prop_assert_eq!(sheet.parsed.recipients[0].fields.get(&key), Some(&formula));
        }
    }
}
