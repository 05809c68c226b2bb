//! Whole numbers as text. What formats texts takes several times as long, and each lookup and each message has some.

/// Appends the number in decimal digits.
pub fn write(mut number: u64, text: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut begin = digits.len();
    loop {
        begin -= 1;
        digits[begin] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[begin..]);
}

/// Appends an address as `a.b.c.d`.
pub fn write_ipv4(octets: [u8; 4], text: &mut Vec<u8>) {
    for (i, octet) in octets.iter().enumerate() {
        if i > 0 {
            text.push(b'.');
        }
        write(u64::from(*octet), text);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_number_is_written_in_its_digits() {
        for number in [0, 9, 10, 123, 4_096, u64::MAX] {
            let mut text = Vec::new();
            super::write(number, &mut text);
            assert_eq!(text, number.to_string().as_bytes());
        }
    }
}
