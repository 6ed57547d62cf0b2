//! The entries of a roster, stored as text in segments that are copied whole into a frame.

use std::ops::Range;

/// No entry is added to a segment of this many bytes or more. A change moves the rest of its segment, and
/// a frame copies segment by segment. Pieces of some 1.6 KB are copied twice as fast as those of 2 to 10
/// KB, for which `memcpy` uses an instruction that is slow when source and target are aligned
/// differently.
const FULL: usize = 1536;

/// Two neighbours of at most this many bytes together become one.
const FEW: usize = FULL / 2;

/// Entries in the order of their numbers. A new entry has the highest number and goes to the end.
#[derive(Default)]
pub(super) struct Segments {
    /// No segment is empty.
    segments: Vec<Segment>,
    text_len: usize,
}

#[derive(Default)]
struct Segment {
    /// Every entry with a comma before it.
    text: String,
    entries: Vec<Entry>,
}

struct Entry {
    number: u64,
    /// The position of the next entry's comma.
    end: usize,
}

impl Segment {
    /// An entry's range in the text, without its comma.
    fn range(&self, index: usize) -> Range<usize> {
        let comma = index.checked_sub(1).map_or(0, |before| self.entries[before].end);
        comma + 1..self.entries[index].end
    }

    fn index(&self, number: u64) -> usize {
        let found = self.entries.binary_search_by_key(&number, |entry| entry.number);
        found.expect("an entry that was pushed and not removed")
    }

    fn push(&mut self, number: u64, json: &str) {
        self.text.push(',');
        self.text.push_str(json);
        self.entries.push(Entry { number, end: self.text.len() });
    }

    fn append(&mut self, next: Self) {
        let at = self.text.len();
        self.text.push_str(&next.text);
        let entries = next.entries.into_iter();
        self.entries.extend(entries.map(|entry| Entry { end: at + entry.end, ..entry }));
    }
}

impl Segments {
    /// The length of the whole list in bytes: its entries and the commas between them.
    pub(super) fn list_len(&self) -> usize {
        self.text_len.saturating_sub(1)
    }

    /// The whole list in pieces, [`list_len`](Self::list_len) bytes together.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &str> {
        // The very first entry has no comma before it.
        let texts = self.segments.iter().map(|segment| &*segment.text).enumerate();
        texts.map(|(i, text)| if i == 0 { &text[1..] } else { text })
    }

    /// The entries one by one.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().flat_map(|segment| {
            (0..segment.entries.len()).map(|index| &segment.text[segment.range(index)])
        })
    }

    /// Adds an entry, whose number must be higher than all others.
    pub(super) fn push(&mut self, number: u64, json: &str) {
        if self.segments.last().is_none_or(|last| last.text.len() >= FULL) {
            self.segments.push(Segment::default());
        }
        let last = self.segments.last_mut().expect("there is one now");
        debug_assert!(last.entries.last().is_none_or(|entry| entry.number < number));
        last.push(number, json);
        self.text_len += 1 + json.len();
    }

    pub(super) fn get(&self, number: u64) -> &str {
        let segment = &self.segments[self.segment(number)];
        &segment.text[segment.range(segment.index(number))]
    }

    /// Replaces an entry's text in place.
    pub(super) fn replace(&mut self, number: u64, json: &str) {
        let at = self.segment(number);
        let segment = &mut self.segments[at];
        let index = segment.index(number);
        let old = segment.range(index);
        self.text_len = self.text_len - old.len() + json.len();
        for entry in &mut segment.entries[index..] {
            entry.end = entry.end - old.len() + json.len();
        }
        // Moves the rest of the segment twice; `replace_range` would copy byte by byte.
        segment.text.drain(old.clone());
        segment.text.insert_str(old.start, json);
        self.merge_around(at);
    }

    pub(super) fn remove(&mut self, number: u64) {
        let at = self.segment(number);
        let segment = &mut self.segments[at];
        let index = segment.index(number);
        let old = segment.range(index);
        let with_comma = old.start - 1..old.end;
        self.text_len -= with_comma.len();
        for entry in &mut segment.entries[index + 1..] {
            entry.end -= with_comma.len();
        }
        segment.entries.remove(index);
        segment.text.drain(with_comma);
        if segment.entries.is_empty() {
            self.segments.remove(at);
        }
        self.merge_around(at);
    }

    /// The segment of an entry.
    fn segment(&self, number: u64) -> usize {
        let after = self.segments.partition_point(|segment| segment.entries[0].number <= number);
        after - 1
    }

    /// Merges a segment with small neighbours, so that the number of segments stays proportional to the
    /// text, however many entries leave or shrink.
    fn merge_around(&mut self, at: usize) {
        for first in [at, at.saturating_sub(1)] {
            let Some([one, two]) = self.segments.get(first..first + 2) else { continue };
            if one.text.len() + two.text.len() <= FEW {
                let next = self.segments.remove(first + 1);
                self.segments[first].append(next);
            }
        }
    }

    #[cfg(test)]
    fn check(&self) {
        let lens = self.segments.iter().map(|segment| segment.text.len());
        assert_eq!(lens.sum::<usize>(), self.text_len);
        let mut before = None;
        for segment in &self.segments {
            assert_eq!(segment.entries.last().unwrap().end, segment.text.len());
            for entry in &segment.entries {
                assert!(before < Some(entry.number));
                before = Some(entry.number);
            }
        }
        assert!(self.segments.windows(2).all(|two| two[0].text.len() + two[1].text.len() > FEW));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_stay_filled_however_many_entries_leave() {
        let mut segments = Segments::default();
        let count = 10_000;
        (0..count).for_each(|number| segments.push(number, &format!("{{\"n\":{number}}}")));
        assert!(segments.segments.len() <= segments.text_len / FULL + 1);
        // All but every hundredth leave, in no particular order.
        let leaving = (0..count).map(|i| i * 7919 % count).filter(|number| number % 100 != 0);
        for (i, number) in leaving.enumerate() {
            segments.remove(number);
            if i % 97 == 0 {
                segments.check();
            }
        }
        segments.check();
        assert_eq!(segments.iter().count(), 100);
        assert!(segments.segments.len() <= 2 * segments.text_len / FEW + 1);
        let expected: Vec<_> = (0..100).map(|n| format!("{{\"n\":{}}}", n * 100)).collect();
        assert_eq!(segments.pieces().collect::<String>(), expected.join(","));
        assert_eq!(segments.list_len(), expected.join(",").len());
        (0..100).for_each(|n| segments.remove(n * 100));
        assert_eq!((segments.list_len(), segments.pieces().count()), (0, 0));
    }

    #[test]
    fn an_entry_grows_and_shrinks_in_place() {
        let mut segments = Segments::default();
        (0..3).for_each(|number| segments.push(number, "{}"));
        segments.replace(1, r#"{"text":"much longer"}"#);
        segments.check();
        assert_eq!(segments.get(1), r#"{"text":"much longer"}"#);
        assert_eq!(segments.pieces().collect::<String>(), r#"{},{"text":"much longer"},{}"#);
        segments.replace(1, "{}");
        segments.check();
        assert_eq!(segments.pieces().collect::<String>(), "{},{},{}");

        // Several entries grow beyond a segment and shrink again.
        let large = format!("{{\"text\":\"{}\"}}", "x".repeat(3 * FULL));
        for number in 0..3 {
            segments.replace(number, &large);
            segments.push(3 + number, &large);
            segments.check();
        }
        assert_eq!(segments.segments.len(), 4);
        for number in 0..6 {
            segments.replace(number, "{}");
            segments.check();
        }
        assert_eq!(segments.segments.len(), 1);
        assert_eq!(segments.pieces().collect::<String>(), "{},{},{},{},{},{}");
    }
}
