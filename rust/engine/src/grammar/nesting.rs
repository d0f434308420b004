//! How deeply a text nests, so that no recursive parser is given what would overflow its stack.

/// The deepest nesting of brackets; what stands behind a backslash does not count.
pub(super) fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut escaped = false;
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' | b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::depth;

    #[test]
    fn brackets_of_every_kind_count_and_escaped_ones_do_not() {
        assert_eq!(depth("(a[b]{c})"), 2);
        assert_eq!(depth(r"\(\(\(a"), 0);
        assert_eq!(depth("a)))(("), 2);
    }
}
