//! The text of a manifest and its file, shared by the model and its diagnostics.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::location::Location;

/// A manifest's text with its place in the file system.
#[derive(Debug)]
pub(crate) struct Source {
    /// The file as messages name it: the way the caller wrote it.
    pub(crate) shown: PathBuf,
    /// The file, absolute.
    pub(crate) path: PathBuf,
    /// The text without a byte order mark.
    pub(crate) text: Box<str>,
    line_starts: OnceLock<Vec<usize>>,
}

impl Source {
    pub(crate) fn new(shown: PathBuf, text: &str) -> Self {
        // Only an empty path has no absolute form; it then stands for the current folder.
        let path = std::path::absolute(&shown).unwrap_or_else(|_| shown.clone());
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self { shown, path, text: text.into(), line_starts: OnceLock::new() }
    }

    /// The folder of the file.
    pub(crate) fn root(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// The place of a byte of the text, which begins a character.
    pub(crate) fn place(&self, offset: usize) -> Location {
        let starts = self.line_starts();
        let line = starts.partition_point(|&start| start <= offset);
        let column = 1 + self.text[starts[line - 1]..offset].chars().count();
        // The text is at most 16 MiB long.
        Location::new(line as u32, column as u32)
    }

    /// The text of a line counted from 1, without its line break; empty past the end.
    pub(crate) fn line(&self, line: u32) -> &str {
        let starts = self.line_starts();
        let index = (line as usize).saturating_sub(1);
        let Some(&start) = starts.get(index) else { return "" };
        let end = starts.get(index + 1).copied().unwrap_or(self.text.len());
        self.text[start..end].trim_end_matches(['\r', '\n'])
    }

    fn line_starts(&self) -> &[usize] {
        self.line_starts.get_or_init(|| line_starts(&self.text))
    }
}

/// Where lines begin. YAML ends a line with LF, CR LF or a CR alone.
fn line_starts(text: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let ends = bytes.iter().enumerate().filter(|&(index, byte)| match byte {
        b'\n' => true,
        b'\r' => bytes.get(index + 1) != Some(&b'\n'),
        _ => false,
    });
    std::iter::once(0).chain(ends.map(|(index, _)| index + 1)).collect()
}
