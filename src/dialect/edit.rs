//! Byte-range edits of a scanned JSON object: what is kept is not copied, what is kept together
//! keeps its own white space, and the result is valid JSON whatever is dropped.

use std::ops::Range;

use bytes::Bytes;

use super::rope::Rope;
use super::scan::Scan;

/// What is to change.
#[derive(Debug, Default)]
pub struct Edits {
    /// Indices of members to leave out.
    dropped: Vec<usize>,
    /// New bytes for ranges of the old body, inside of members that stay.
    replaced: Vec<(Range<usize>, Bytes)>,
    /// `"key":value` pairs for the end, joined by commas.
    added: Vec<u8>,
}

impl Edits {
    /// Whether nothing would be changed.
    pub fn is_empty(&self) -> bool {
        self.dropped.is_empty() && self.replaced.is_empty() && self.added.is_empty()
    }

    /// Leaves a member out.
    pub fn drop_member(&mut self, index: usize) {
        self.dropped.push(index);
    }

    /// Puts `bytes` where `range` was; an empty range inserts.
    pub fn replace(&mut self, range: Range<usize>, bytes: impl Into<Bytes>) {
        self.replaced.push((range, bytes.into()));
    }

    /// Adds a member; `value` is JSON.
    pub fn add(&mut self, key: &str, value: &str) {
        if !self.added.is_empty() {
            self.added.push(b',');
        }
        self.added.push(b'"');
        self.added.extend_from_slice(key.as_bytes());
        self.added.extend_from_slice(b"\":");
        self.added.extend_from_slice(value.as_bytes());
    }

    /// The edited body.
    pub fn apply(mut self, body: &Rope, scan: &Scan) -> Rope {
        if self.is_empty() {
            return body.clone();
        }
        self.replaced.sort_by_key(|(range, _)| range.start);
        let mut out = Rope::default();
        out.push(Bytes::from_static(b"{"));
        let mut first = true;
        for run in self.runs(scan) {
            if !first {
                out.push(Bytes::from_static(b","));
            }
            first = false;
            self.copy(body, run, &mut out);
        }
        if !self.added.is_empty() {
            if !first {
                out.push(Bytes::from_static(b","));
            }
            out.push(std::mem::take(&mut self.added).into());
        }
        out.push(Bytes::from_static(b"}"));
        out
    }

    /// Ranges of neighbouring members that stay.
    fn runs(&self, scan: &Scan) -> Vec<Range<usize>> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        let mut open = false;
        for (index, member) in scan.members.iter().enumerate() {
            if self.dropped.contains(&index) {
                open = false;
                continue;
            }
            match runs.last_mut() {
                Some(run) if open => run.end = member.whole.end,
                _ => runs.push(member.whole.clone()),
            }
            open = true;
        }
        runs
    }

    fn copy(&self, body: &Rope, run: Range<usize>, out: &mut Rope) {
        let mut from = run.start;
        let inside = |range: &Range<usize>| range.start >= run.start && range.end <= run.end;
        for (range, bytes) in self.replaced.iter().filter(|(range, _)| inside(range)) {
            out.push_range(body, from..range.start);
            out.push(bytes.clone());
            from = range.end;
        }
        out.push_range(body, from..run.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::scan::Scanner;

    fn edited(body: &str, change: impl Fn(&mut Edits, &Scan)) -> String {
        let mut scanner = Scanner::default();
        scanner.feed(body.as_bytes()).unwrap();
        let scan = scanner.finish().unwrap();
        let mut edits = Edits::default();
        change(&mut edits, &scan);
        let rope = Rope::from(Bytes::copy_from_slice(body.as_bytes()));
        let out = edits.apply(&rope, &scan);
        assert_eq!(out.len(), out.to_vec().len());
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn without_edits_the_body_is_the_same_bytes() {
        assert_eq!(edited(" {\"a\" : 1} ", |_, _| {}), " {\"a\" : 1} ");
    }

    #[test]
    fn members_go_stay_change_and_come() {
        let body = r#"{ "a": 1, "b" : [2], "c":3 }"#;
        assert_eq!(edited(body, |e, _| e.drop_member(1)), r#"{"a": 1,"c":3}"#);
        assert_eq!(edited(body, |e, _| e.drop_member(0)), r#"{"b" : [2], "c":3}"#);
        assert_eq!(edited(body, |e, _| e.add("d", "4")), r#"{"a": 1, "b" : [2], "c":3,"d":4}"#);
        let all = |e: &mut Edits, s: &Scan| (0..s.members.len()).for_each(|i| e.drop_member(i));
        assert_eq!(edited(body, all), "{}");
        let swap = |e: &mut Edits, s: &Scan| {
            all(e, s);
            e.add("x", "null");
            e.add("y", "{}");
        };
        assert_eq!(edited(body, swap), r#"{"x":null,"y":{}}"#);
        let inner = |e: &mut Edits, s: &Scan| {
            let at = s.get("b").unwrap().value.start + 1;
            e.replace(at..at, &b"0,"[..]);
            e.replace(s.get("a").unwrap().value.clone(), &b"\"one\""[..]);
        };
        assert_eq!(edited(body, inner), r#"{"a": "one", "b" : [0,2], "c":3}"#);
        assert_eq!(edited("{}", |e, _| e.add("d", "4")), r#"{"d":4}"#);
    }
}
