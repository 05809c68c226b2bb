//! Operations to text. Total: damaged operations give some text, never a panic, because packed payloads may come from
//! a disk.

use std::io::Write;
use std::net::Ipv4Addr;

use super::{dictionary, op};

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`
pub const TIME_LEN: usize = 24;

/// Appends the text that the operations stand for; stops at the first that cannot be.
pub fn unpack(packed: &[u8], text: &mut Vec<u8>) {
    let mut rest = packed;
    let mut last_time = 0u64;
    while let Some(next) = step(rest, &mut last_time, text) {
        rest = next;
    }
}

/// The address that stands behind the only occurrence of a dictionary piece.
pub fn ipv4_behind(packed: &[u8], wanted: u8) -> Option<Ipv4Addr> {
    let (mut rest, mut found) = (packed, None);
    while let Some((&code, behind)) = rest.split_first() {
        if code == wanted {
            if found.is_some() {
                return None;
            }
            let (&[code, a, b, c, d], _) = behind.split_first_chunk::<5>()?;
            found = (code == op::IPV4).then(|| Ipv4Addr::new(a, b, c, d));
            found?;
        }
        rest = skip(rest)?;
    }
    found
}

/// What follows one operation.
fn skip(packed: &[u8]) -> Option<&[u8]> {
    let (&code, rest) = packed.split_first()?;
    match code {
        op::LITERAL => {
            let (len, rest) = varint(rest)?;
            Some(rest.split_at_checked(usize::try_from(len).ok()?)?.1)
        }
        op::TIME => rest.get(6..),
        op::TIME_DELTA | op::INTEGER => Some(varint(rest)?.1),
        op::IPV4 => rest.get(4..),
        _piece => Some(rest),
    }
}

/// Carries out one operation and returns what follows it.
fn step<'a>(packed: &'a [u8], last_time: &mut u64, text: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (&code, rest) = packed.split_first()?;
    match code {
        op::LITERAL => {
            let (len, rest) = varint(rest)?;
            let (literal, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
            text.extend_from_slice(literal);
            Some(rest)
        }
        op::TIME => {
            let (bytes, rest) = rest.split_first_chunk::<6>()?;
            let mut wide = [0; 8];
            wide[..6].copy_from_slice(bytes);
            *last_time = u64::from_le_bytes(wide);
            write_time(*last_time, text);
            Some(rest)
        }
        op::TIME_DELTA => {
            let (delta, rest) = varint(rest)?;
            let delta = (delta >> 1) ^ (delta & 1).wrapping_neg();
            *last_time = last_time.wrapping_add(delta);
            write_time(*last_time, text);
            Some(rest)
        }
        op::IPV4 => {
            let (octets, rest) = rest.split_first_chunk::<4>()?;
            for (i, octet) in octets.iter().enumerate() {
                if i > 0 {
                    text.push(b'.');
                }
                write_integer(u64::from(*octet), text);
            }
            Some(rest)
        }
        op::INTEGER => {
            let (integer, rest) = varint(rest)?;
            write_integer(integer, text);
            Some(rest)
        }
        number => {
            let piece = dictionary::piece(usize::from(number.checked_sub(op::FIRST_PIECE)?))?;
            text.extend_from_slice(piece.as_bytes());
            Some(rest)
        }
    }
}

fn write_integer(integer: u64, text: &mut Vec<u8>) {
    write!(text, "{integer}").expect("writing to memory cannot fail");
}

/// Appends the time in the platform's form.
///
/// Done by hand because two times are most of what a lookup has to write: the calendar arithmetic is that of Howard
/// Hinnant's `civil_from_days`, and `pack` checks every result against jiff.
pub fn write_time(ms: u64, text: &mut Vec<u8>) {
    let (days, ms_of_day) = (ms / 86_400_000, ms % 86_400_000);
    // Days are counted from 1 March of the year 0, so that a leap day ends its year; eras have 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let mut form = *b"0000-00-00T00:00:00.000Z";
    put_digits(&mut form[0..4], year);
    put_digits(&mut form[5..7], month);
    put_digits(&mut form[8..10], day);
    put_digits(&mut form[11..13], ms_of_day / 3_600_000);
    put_digits(&mut form[14..16], ms_of_day / 60_000 % 60);
    put_digits(&mut form[17..19], ms_of_day / 1_000 % 60);
    put_digits(&mut form[20..23], ms_of_day % 1_000);
    text.extend_from_slice(&form);
}

fn put_digits(field: &mut [u8], mut value: u64) {
    for digit in field.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn varint(packed: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (i, &byte) in packed.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f).checked_shl(7 * i as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, &packed[i + 1..]));
        }
    }
    None
}
