//! The write-ahead log as a file of frames, read before the database reads it.
//!
//! After a crash SQLite takes from the log what it can and drops the rest without a word: at the
//! first frame whose checksum is wrong the log ends. That is right for a commit that was under way,
//! and nothing was acknowledged of it. It is wrong where a frame was damaged later. The two can be
//! told apart (STORE-005): a commit is begun only when the one before is on the disk. So where a
//! whole commit follows one that is not whole, the latter was on the disk once, and is damaged. For
//! that nothing may be written over what is left of a commit that was cut: of two such rests one
//! could look like a commit behind the other. So whoever finds one begins a new log
//! ([`Log::has_rest`]).
//!
//! Each frame's checksum goes on from that of the frame before, which stands in that frame's header.
//! So frames behind a damaged one can still be checked, each against its neighbour.
//!
//! The format is the one SQLite documents (<https://www.sqlite.org/fileformat2.html#walformat>).

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

const FILE_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// The size of our pages.
const PAGE: usize = 4096;

/// What a log has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Log {
    /// Frames of this round of the log, damaged ones included; what is left of earlier rounds is
    /// not counted.
    pub(crate) frames: u64,
    /// Frames that SQLite will take.
    pub(crate) usable: u64,
    /// Frames of a commit that never became whole, at the end.
    pub(crate) tail: u64,
    /// Whether anything of this round lies behind the usable frames, good or not.
    pub(crate) has_rest: bool,
    /// Where there is damage: the first damaged frame, from 1, or 0 for the head of the log, and how
    /// many whole commits lie behind it.
    pub(crate) damage: Option<(u64, u64)>,
}

/// Reads a log that nobody writes. One that is not there, or is empty, has nothing.
pub(crate) fn read(path: &Path) -> io::Result<Log> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Log::default()),
        Err(error) => return Err(error),
    };
    scan(BufReader::with_capacity(1 << 20, file))
}

fn scan(mut file: impl Read) -> io::Result<Log> {
    let mut log = Log::default();
    let mut header = [0; FILE_HEADER];
    if !fill(&mut file, &mut header)? {
        return Ok(log);
    }
    let native = cfg!(target_endian = "big");
    let declared = match word(&header, 0) {
        0x377f_0682 => Some(false),
        0x377f_0683 => Some(true),
        _ => None,
    };
    let written = (word(&header, 24), word(&header, 28));
    let sum_in = |big_endian| checksum(big_endian, (0, 0), &header[..24]);
    let is_header_good = declared.is_some_and(|big_endian| sum_in(big_endian) == written);
    let big_endian = declared.filter(|_| is_header_good).unwrap_or(native);
    let computed = sum_in(big_endian);
    let page = match word(&header, 8) as usize {
        size if size.is_power_of_two() && (512..=65_536).contains(&size) => size,
        _ => PAGE,
    };
    let frame_sum = |before, frame: &[u8]| {
        let (head, content) = frame.split_at(FRAME_HEADER);
        checksum(big_endian, checksum(big_endian, before, &head[..8]), content)
    };
    let mut frame = vec![0; FRAME_HEADER + page];
    if !fill(&mut file, &mut frame)? {
        return Ok(log);
    }
    // The header is on the disk before the first frame is written. So where the first frame goes on
    // from it, it was whole once. Else the frames are those of an earlier round, written back long
    // ago, and the crash came while the next one began.
    let first_sum = stored_sum(&frame);
    let follows = |sum| frame_sum(sum, &frame) == first_sum;
    let (mut sum, salt) = if is_header_good {
        (computed, <[u8; 8]>::try_from(&header[16..24]).unwrap_or_default())
    } else if follows(written) || follows(computed) {
        let sum = if follows(written) { written } else { computed };
        (sum, <[u8; 8]>::try_from(&frame[8..16]).unwrap_or_default())
    } else {
        return Ok(log);
    };
    let mut first_bad = (!is_header_good).then_some(0);
    // Whether a commit ended at or behind the damage: whole ones after that were written when what
    // is damaged was on the disk.
    let mut has_ended = !is_header_good;
    let mut commits = 0;
    let mut number = 0;
    loop {
        number += 1;
        let own = stored_sum(&frame);
        let is_of_this_round = frame[8..16] == salt;
        let is_good = is_of_this_round && frame_sum(sum, &frame) == own;
        let is_commit = word(&frame, 4) != 0;
        log.has_rest |= first_bad.is_some() && is_of_this_round;
        if is_good {
            log.frames = number;
        }
        if first_bad.is_none() && !is_good {
            first_bad = Some(number);
        }
        match first_bad {
            None if is_commit => log.usable = number,
            Some(_) if is_good && is_commit && has_ended => commits += 1,
            _ => {}
        }
        has_ended |= first_bad.is_some() && is_of_this_round && is_commit;
        sum = own;
        if !fill(&mut file, &mut frame)? {
            break;
        }
    }
    log.damage = first_bad.filter(|_| commits > 0).map(|frame| (frame, commits));
    log.tail = log.frames.saturating_sub(log.usable);
    log.has_rest |= log.tail > 0;
    Ok(log)
}

fn stored_sum(frame: &[u8]) -> (u32, u32) {
    (word(frame, 16), word(frame, 20))
}

fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].try_into().map(u32::from_be_bytes).unwrap_or_default()
}

fn checksum(big_endian: bool, (mut a, mut b): (u32, u32), bytes: &[u8]) -> (u32, u32) {
    for pair in bytes.chunks_exact(8) {
        let word = |four: &[u8]| {
            let four = four.try_into().unwrap_or_default();
            if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
        };
        a = a.wrapping_add(word(&pair[..4])).wrapping_add(b);
        b = b.wrapping_add(word(&pair[4..])).wrapping_add(a);
    }
    (a, b)
}
