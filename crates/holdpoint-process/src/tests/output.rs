use proptest::prelude::*;

use crate::output::{Line, LineEnd, LineSplitter, MAX_LINE, OutputSink, Stream};
use crate::tail::Tail;

/// A line as the splitter gave it.
type Piece = (Vec<u8>, bool, LineEnd);

fn split<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut keep = |line: Line<'_>| pieces.push((line.bytes.to_vec(), line.begins, line.end));
    let mut splitter = LineSplitter::default();
    chunks.into_iter().for_each(|chunk| splitter.push(chunk, &mut keep));
    splitter.finish(&mut keep);
    pieces
}

#[test]
fn proc_005_a_line_that_is_too_long_comes_in_marked_pieces() {
    use LineEnd::{Continued, Newline, Unterminated};
    let long = vec![b'x'; MAX_LINE + 1];
    let ends = |chunk: &[u8]| {
        split([chunk])
            .into_iter()
            .map(|(b, begins, end)| (b.len(), begins, end))
            .collect::<Vec<_>>()
    };
    assert_eq!(ends(b""), []);
    assert_eq!(ends(b"\n"), [(0, true, Newline)]);
    assert_eq!(ends(b"a\n\nb"), [(1, true, Newline), (0, true, Newline), (1, true, Unterminated)]);
    assert_eq!(ends(&long), [(MAX_LINE, true, Continued), (1, false, Unterminated)]);
    let exact = [&long[1..], b"\n"].concat();
    assert_eq!(ends(&exact), [(MAX_LINE, true, Continued), (0, false, Newline)]);
    let then = [&long[..], b"\nz\n"].concat();
    assert_eq!(ends(&then), [(MAX_LINE, true, Continued), (1, false, Newline), (1, true, Newline)]);
}

proptest! {
    #![proptest_config(super::cases())]

    /// Whatever the chunks, the pieces are the stream, none is too long, and each says truly
    /// how it begins and ends.
    #[test]
    fn proc_005_ev_3_lines_are_the_stream_exactly_in_bounded_pieces(
        runs in prop::collection::vec((any::<u8>(), 0..=MAX_LINE + 2), 0..6),
        newlines in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut stream: Vec<u8> =
            runs.iter().flat_map(|(byte, length)| std::iter::repeat_n(*byte, *length)).collect();
        for at in newlines.iter().filter(|_| !runs.is_empty()) {
            stream.insert(at.index(stream.len() + 1), b'\n');
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces = split(cuts.windows(2).map(|ends| &stream[ends[0]..ends[1]]));

        let mut joined = Vec::new();
        let mut continued = false;
        for (at, (bytes, begins, end)) in pieces.iter().enumerate() {
            prop_assert!(bytes.len() <= MAX_LINE);
            prop_assert!(!bytes.contains(&b'\n'));
            prop_assert_eq!(*begins, !continued);
            continued = *end == LineEnd::Continued;
            prop_assert!(!continued || bytes.len() == MAX_LINE);
            prop_assert!(*end != LineEnd::Unterminated || at + 1 == pieces.len());
            joined.extend_from_slice(bytes);
            if *end == LineEnd::Newline {
                joined.push(b'\n');
            }
        }
        prop_assert!(!continued, "the last piece ends the stream");
        prop_assert!(joined == stream);
    }

    #[test]
    fn proc_005_ev_3_the_tail_is_the_end_within_its_bounds(
        lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..40),
        max_lines in 0..10_usize,
        max_bytes in 0..60_usize,
    ) {
        let mut tail = Tail::new(max_lines, max_bytes);
        for bytes in &lines {
            tail.line(Stream::Stderr, Line { bytes, begins: true, end: LineEnd::Newline });
        }
        let kept: Vec<&[u8]> = tail.lines().map(|(_, bytes)| bytes).collect();
        prop_assert!(kept.len() <= max_lines);
        prop_assert!(kept.iter().map(|bytes| bytes.len()).sum::<usize>() <= max_bytes);
        prop_assert_eq!(tail.dropped() as usize, lines.len() - kept.len());
        for (kept, given) in kept.iter().rev().zip(lines.iter().rev()) {
            prop_assert!(given.ends_with(kept));
            prop_assert!(kept.len() == given.len() || kept.len() == max_bytes);
        }
    }
}
