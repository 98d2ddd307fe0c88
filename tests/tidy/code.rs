//! Rust source with its comments and literals blanked, and the words that stand in what is left.
//!
//! Not a parser: it knows just enough of Rust's lexical rules that a word in a comment or in a
//! string is never mistaken for code.

/// The text with every comment and every string or character literal replaced by blanks. Lines keep
/// their numbers.
pub(crate) fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    let mut previous = ' ';
    while let Some(first) = rest.chars().next() {
        let skipped = length_of_comment(rest).or_else(|| length_of_literal(rest, previous));
        let taken = if let Some(length) = skipped {
            let (blanked, _) = rest.split_at(length);
            code.extend(blanked.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            length
        } else {
            code.push(first);
            first.len_utf8()
        };
        previous = first;
        rest = &rest[taken..];
    }
    code
}

/// The length in bytes of the comment that `text` begins with.
fn length_of_comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    // Block comments nest.
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    Some(text.len())
}

/// The length in bytes of the literal that `text` begins with; `previous` is the character before.
fn length_of_literal(text: &str, previous: char) -> Option<usize> {
    if let Some(body) = text.strip_prefix('"') {
        return Some(1 + length_to_quote(body, '"'));
    }
    let is_word = previous.is_alphanumeric() || previous == '_';
    if text.starts_with('r') && !is_word || text.starts_with('r') && matches!(previous, 'b' | 'c') {
        let n_hashes = text[1..].bytes().take_while(|byte| *byte == b'#').count();
        if text[1 + n_hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(n_hashes));
            let body = 2 + n_hashes;
            return Some(text[body..].find(&end).map_or(text.len(), |at| body + at + end.len()));
        }
    }
    if let Some(body) = text.strip_prefix('\'') {
        // 'a' is a literal, 'a without a second quote a lifetime.
        let mut characters = body.chars();
        let first = characters.next()?;
        if first == '\\' {
            return Some(1 + length_to_quote(body, '\''));
        }
        if characters.next() == Some('\'') {
            return Some(2 + first.len_utf8());
        }
    }
    None
}

/// The length of `text` up to and with the next `quote` that no backslash stands before.
fn length_to_quote(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        if is_escaped {
            is_escaped = false;
        } else if c == '\\' {
            is_escaped = true;
        } else if c == quote {
            return at + c.len_utf8();
        }
    }
    text.len()
}

/// The code before the first `#[cfg(test)]`: what is compiled into the product.
pub(crate) fn product_only(code: &str) -> &str {
    code.find("#[cfg(test)]").map_or(code, |at| &code[..at])
}

/// The number of the line, from 1, that the byte `at` of `text` stands in.
pub(crate) fn line_number(text: &str, at: usize) -> usize {
    1 + text[..at].bytes().filter(|byte| *byte == b'\n').count()
}

/// Every identifier of the code, with the byte where it begins.
pub(crate) fn identifiers(code: &str) -> Vec<(usize, &str)> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(begin) = code[at..].find(is_part).map(|n| at + n) {
        let end = code[begin..].find(|c| !is_part(c)).map_or(code.len(), |n| begin + n);
        found.push((begin, &code[begin..end]));
        at = end;
    }
    found
}

#[test]
fn words_in_comments_and_literals_are_not_code() {
    let text = "let a = \"in // \\\" text\"; // in a comment\nlet b = 'x'; /* in /* a */ block */ let c: &'static str = r#\"raw \" text\"#; let d = b'\\''; end";
    let code = code_only(text);
    let words: Vec<&str> = identifiers(&code).into_iter().map(|(_, word)| word).collect();
    assert_eq!(words, ["let", "a", "let", "b", "let", "c", "static", "str", "let", "d", "b", "end"]);
    assert_eq!(line_number(&code, code.find("end").expect("kept")), 2);
}
